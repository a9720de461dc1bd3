"""``PairedImageDataset`` that decodes each image once: query sets are small, and decoding is most of their cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, imfrombytes, img2tensor

__all__ = ['CachedPairedImageDataset']


class CachedPairedImageDataset(PairedImageDataset):
    """BasicSR's ``PairedImageDataset``, item for item and random number for random number, with decoded images kept.

    Images stay in memory as uint8 until ``cache_mb`` are full (each worker process has its own); the rest is read as
    usual. Crops are cut before they become float32.

    Args:
        opt: The options of ``PairedImageDataset``, and ``cache_mb`` (default 1024). ``color``, ``mean`` and ``std``
            work as there, without the cache.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.file_client: Any = None
        self._free = int(opt.get('cache_mb', 1024)) << 20
        self._cache: dict[tuple[str, str], np.ndarray] = {}  # in an LMDB, lq and gt have the same key

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``lq``, ``gt``: float32 ``(3, h, w)``, RGB, 0 to 1; ``lq_path``, ``gt_path``."""
        if self.opt['phase'] != 'train' or self.opt.get('color') == 'y' or not (self.mean is None and self.std is None):
            return super().__getitem__(index)
        paths = self.paths[index]
        gt, lq = (self._image(paths[f'{kind}_path'], kind) for kind in ('gt', 'lq'))
        gt, lq = paired_random_crop(gt, lq, self.opt['gt_size'], self.opt['scale'], paths['gt_path'])
        # augment flips in place, and a crop is a view of what is cached.
        crops = augment([gt.copy(), lq.copy()], self.opt['use_hflip'], self.opt['use_rot'])
        gt, lq = img2tensor([crop.astype(np.float32) / 255.0 for crop in crops], bgr2rgb=True, float32=True)
        return {'lq': lq, 'gt': gt, **paths}

    def _image(self, path: str, kind: str) -> np.ndarray:
        """uint8 ``(H, W, 3)``, BGR as OpenCV has it."""
        image = self._cache.get((kind, path))
        if image is None:
            if self.file_client is None:
                self.file_client = FileClient(self.io_backend_opt.pop('type'), **self.io_backend_opt)
            image = imfrombytes(self.file_client.get(path, kind))
            if image.nbytes <= self._free:
                self._free -= image.nbytes
                self._cache[kind, path] = image
        return image
