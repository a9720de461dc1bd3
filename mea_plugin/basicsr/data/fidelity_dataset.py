"""Validation images with both references: the victim's response for fidelity, the ground truth for task quality."""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.utils import img2tensor
from torch.utils.data import Dataset

from mea_plugin.core.images import read_rgb
from mea_plugin.query_sets.fidelity_pairs import list_fidelity_pairs

__all__ = ['FidelityDataset']


class FidelityDataset(Dataset):
    """Queries with the victim's responses and, where there is one, the ground truth: for validation.

    Files belong together by name; in a query set (``tools/query.py``), by the names that its queries had. A ground
    truth is cut at its right and bottom edge to the response's size, as ``PairedImageDataset`` cuts it.

    Args:
        opt: ``dataroot_lq``, ``dataroot_victim``, ``dataroot_gt`` (optional): folders of images; ``scale``.

    Raises:
        InputError: The folders do not pair.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        folders = {'lq': opt['dataroot_lq'], 'victim': opt['dataroot_victim'], 'gt': opt.get('dataroot_gt')}
        self.pairs = list_fidelity_pairs(folders, where=f'datasets.{opt["name"]}')

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``lq``, ``victim``, ``gt``: float32 ``(3, h, w)``, RGB, 0 to 1; and their paths.

        ``lq_path`` ends in the pair's name, which saved images are named by.
        """
        pair = self.pairs[index]
        paths = {'lq_path': str(pair.query.with_name(f'{pair.name}{pair.query.suffix}'))}
        images = {'lq': read_rgb(pair.query), 'victim': read_rgb(pair.victim)}
        height, width = images['victim'].shape[:2]
        paths['victim_path'] = str(pair.victim)
        if pair.gt is not None:
            images['gt'] = read_rgb(pair.gt)[:height, :width]
            paths['gt_path'] = str(pair.gt)
        return {**{key: _to_tensor(image) for key, image in images.items()}, **paths}


def _to_tensor(image: np.ndarray) -> Any:
    return img2tensor(image.astype(np.float32) / 255.0, bgr2rgb=False, float32=True)
