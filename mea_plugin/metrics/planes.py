"""An image as the metrics see it: cropped, in float64, with what several metrics need computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.metrics.windows import WINDOW

__all__ = ['PEAK', 'Y_WEIGHTS', 'Channel', 'Planes', 'check_same_size', 'check_size', 'to_y']

Channel = Literal['y', 'rgb']

PEAK = 255.0
Y_WEIGHTS = (65.481 / PEAK, 128.553 / PEAK, 24.966 / PEAK)
"""What R, G and B count in Y."""

_T = TypeVar('_T')


def to_y(image: np.ndarray) -> np.ndarray:
    """Luma of an RGB image as MATLAB's ``rgb2ycbcr`` defines it (ITU-R BT.601, limited range), not rounded.

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255``

    Args:
        image: uint8 array ``(H, W, 3)``, RGB.

    Returns:
        float64 array ``(H, W)`` in [16, 235].
    """
    y = image[..., 0] * Y_WEIGHTS[0]
    y += image[..., 1] * Y_WEIGHTS[1]
    y += image[..., 2] * Y_WEIGHTS[2]
    y += 16
    return y


class Planes:
    """One image as the metrics see it.

    Args:
        image: uint8 array ``(H, W, 3)``, RGB.
        border: Pixels to cut at each edge.

    Raises:
        InputError: Less than SSIM's 11 x 11 window remains.
    """

    def __init__(self, image: np.ndarray, *, border: int) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}; convert it first')
        check_size(image.shape, border=border)
        height, width = image.shape[:2]
        self.border = border
        self.whole = image
        """uint8 ``(H, W, 3)``: the image as it came, for metrics that cut no border."""
        self.image = image[border : height - border, border : width - border]
        """uint8 ``(H', W', 3)``: without its border."""

        self._kept: dict[Hashable, Any] = {}

    @cached_property
    def y(self) -> np.ndarray:
        """float64 ``(H', W')``: Y of :func:`to_y`."""
        return to_y(self.image)

    def channel(self, channel: Channel) -> np.ndarray:
        """float64 ``(1, H', W')`` of Y, or uint8 ``(3, H', W')`` of R, G and B."""
        return self.y[None] if channel == 'y' else self.image.transpose(2, 0, 1)

    def once(self, compute: Callable[..., _T], *arguments: Hashable) -> _T:
        """``compute(self, *arguments)``, computed at the first call and kept as long as this image.

        An image is measured by several metrics, against several others, by several threads. Two threads that come
        first at once both compute it: the same value, so that this costs time and never correctness.
        """
        key = (compute, *arguments)
        if key not in self._kept:
            self._kept[key] = compute(self, *arguments)
        return self._kept[key]


def check_size(shape: tuple[int, ...], *, border: int, where: str | Path = '') -> None:
    """Check that an image is large enough to be measured.

    Raises:
        InputError: Less than SSIM's window remains once the border is cut.
    """
    if min(shape[:2]) - 2 * border < WINDOW:
        raise InputError(
            f'{shape[1]}x{shape[0]} pixels are too few: SSIM needs {WINDOW}x{WINDOW} inside a border of {border}',
            where=where,
            do=f'Use images of at least {WINDOW + 2 * border}x{WINDOW + 2 * border} pixels',
        )


def check_same_size(first: Planes, second: Planes) -> None:
    """Raise ``ValueError`` if two images differ in size."""
    if first.image.shape != second.image.shape:
        sizes = [f'{planes.image.shape[1]}x{planes.image.shape[0]}' for planes in (first, second)]
        raise ValueError(f'cannot compare {sizes[0]} with {sizes[1]} pixels; give two images of one size')
