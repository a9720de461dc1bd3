"""An image as the metrics see it: cropped, in float64, with what several metrics need computed once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import correlate1d

from mea_plugin.errors import InputError

__all__ = ['PEAK', 'SIGMA', 'WINDOW', 'Channel', 'Planes', 'blur', 'check_same_size', 'check_size', 'planes_of', 'to_y']

Channel = Literal['y', 'rgb']

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5

_GAUSSIAN = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
_GAUSSIAN /= _GAUSSIAN.sum()
_PLANES = {'y': slice(0, 1), 'rgb': slice(1, 4)}


def to_y(image: np.ndarray) -> np.ndarray:
    """Luma of an RGB image as MATLAB's ``rgb2ycbcr`` defines it (ITU-R BT.601, limited range), not rounded.

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255``

    Args:
        image: uint8 array ``(H, W, 3)``, RGB.

    Returns:
        float64 array ``(H, W)`` in [16, 235].
    """
    return image @ (np.array([65.481, 128.553, 24.966]) / PEAK) + 16.0


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
        self.whole = image
        """uint8 ``(H, W, 3)``: the image as it came, for metrics that cut no border."""
        self.image = image[border : height - border, border : width - border]
        """uint8 ``(H', W', 3)``: without its border."""

    @cached_property
    def values(self) -> np.ndarray:
        """float64 ``(4, H', W')``: Y, R, G, B."""
        return np.concatenate([to_y(self.image)[None], self.image.transpose(2, 0, 1)])

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Local mean and variance under the Gaussian window, each ``(4, H' - 10, W' - 10)``."""
        mean = blur(self.values)
        return mean, blur(self.values**2) - mean**2


def planes_of(channel: Channel) -> slice:
    """Which of :attr:`Planes.values` a channel is."""
    return _PLANES[channel]


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


def blur(values: np.ndarray) -> np.ndarray:
    """Gaussian window at every position where it fits whole: ``(C, H, W)`` to ``(C, H - 10, W - 10)``."""
    half = WINDOW // 2
    rows = correlate1d(values, _GAUSSIAN, axis=1)[:, half:-half]
    return correlate1d(rows, _GAUSSIAN, axis=2)[..., half:-half]
