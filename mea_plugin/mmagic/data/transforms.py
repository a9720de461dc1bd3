"""Transforms for MMagic's pipelines: images decoded once, and channels in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmagic.datasets.transforms import LoadImageFromFile
from mmcv.transforms import BaseTransform

__all__ = ['LoadCachedImageFromFile', 'RandomChannelOrder']


class LoadCachedImageFromFile(LoadImageFromFile):
    """MMagic's ``LoadImageFromFile`` with decoded images kept: query sets are small, and decoding them is slow.

    Args:
        cache_mb: Memory for uint8 images, per process and transform; the rest is read as usual.
        kwargs: As ``LoadImageFromFile``: key, color_type, channel_order, ...
    """

    def __init__(self, cache_mb: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._free = cache_mb << 20
        self._images: dict[str, np.ndarray] = {}

    def _load_image(self, filename: str) -> np.ndarray:
        image = self._images.get(filename)
        if image is None:
            image = super()._load_image(filename)
            if image.nbytes <= self._free:
                self._free -= image.nbytes
                self._images[filename] = image
        return image.copy()  # MMagic's Flip works in place


class RandomChannelOrder(BaseTransform):
    """Put the colour channels of several images into one random order.

    For victims that treat the three channels alike: then the reordered response is the response to the reordered query,
    and a few photographs show a surrogate many more colours. Ask the victim about one reordered image first.

    Args:
        keys: The images, uint8 or float ``(H, W, 3)``, that get the same order.
    """

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reorder."""
        order = np.random.permutation(3)  # noqa: NPY002 - MMEngine seeds the global generator
        for key in self.keys:
            results[key] = np.ascontiguousarray(results[key][..., order])
        return results
