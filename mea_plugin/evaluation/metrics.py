"""PSNR and SSIM as super-resolution papers report them: on Y or RGB, the border cropped, in MATLAB's conventions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import correlate1d

from mea_plugin.errors import InputError

__all__ = ['CHANNELS', 'Channel', 'Planes', 'Score', 'check_size', 'compare', 'psnr', 'ssim', 'to_y']

Channel = Literal['y', 'rgb']
CHANNELS: tuple[Channel, ...] = ('y', 'rgb')

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03

_C1, _C2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
_GAUSSIAN = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
_GAUSSIAN /= _GAUSSIAN.sum()
_PLANES = {'y': slice(0, 1), 'rgb': slice(1, 4)}


@dataclass(frozen=True)
class Score:
    """How close two images are: PSNR in dB (``inf`` for equal images) and SSIM (1 for equal images)."""

    psnr: float
    ssim: float


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
    """One image as the metrics see it: cropped, Y and RGB in float64; SSIM's local moments are computed once.

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
        image = image[border : height - border, border : width - border]
        self.values = np.concatenate([to_y(image)[None], image.transpose(2, 0, 1)])
        """float64 ``(4, H', W')``: Y, R, G, B."""

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Local mean and variance under the Gaussian window, each ``(4, H' - 10, W' - 10)``."""
        mean = _blur(self.values)
        return mean, _blur(self.values**2) - mean**2


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


def compare(first: Planes, second: Planes) -> dict[Channel, Score]:
    """PSNR and SSIM of two images, on each of :data:`CHANNELS`."""
    _check_same_size(first, second)
    errors, similarities = _squared_errors(first, second), _similarities(first, second)
    return {
        channel: Score(_to_db(errors[_PLANES[channel]].mean()), float(similarities[_PLANES[channel]].mean()))
        for channel in CHANNELS
    }


def psnr(first: np.ndarray, second: np.ndarray, *, border: int, channel: Channel = 'y') -> float:
    """Peak signal-to-noise ratio ``10 log10(255^2 / mean((a - b)^2))`` in dB; ``inf`` for equal images.

    On RGB the mean runs over all three channels at once, as in the toolboxes.

    Args:
        first: uint8 array ``(H, W, 3)``, RGB.
        second: The same.
        border: Pixels to cut at each edge; by custom the scale.
        channel: ``y`` (:func:`to_y`) or ``rgb``.
    """
    planes = Planes(first, border=border), Planes(second, border=border)
    _check_same_size(*planes)
    return _to_db(_squared_errors(*planes)[_PLANES[channel]].mean())


def ssim(first: np.ndarray, second: np.ndarray, *, border: int, channel: Channel = 'y') -> float:
    """Structural similarity as in its authors' MATLAB code: 11 x 11 Gaussian window of sigma 1.5, K = (0.01, 0.03).

    ``mean (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))`` over the positions where the
    whole window fits, with population (co)variances; on RGB the mean of the three channels. From Wang et al., *Image
    quality assessment: from error visibility to structural similarity*, IEEE TIP 2004, section III.

    Args:
        first: uint8 array ``(H, W, 3)``, RGB.
        second: The same.
        border: Pixels to cut at each edge; by custom the scale.
        channel: ``y`` (:func:`to_y`) or ``rgb``.
    """
    planes = Planes(first, border=border), Planes(second, border=border)
    _check_same_size(*planes)
    return float(_similarities(*planes)[_PLANES[channel]].mean())


def _check_same_size(first: Planes, second: Planes) -> None:
    if first.values.shape != second.values.shape:
        sizes = [f'{planes.values.shape[2]}x{planes.values.shape[1]}' for planes in (first, second)]
        raise ValueError(f'cannot compare {sizes[0]} with {sizes[1]} pixels; give two images of one size')


def _blur(values: np.ndarray) -> np.ndarray:
    """Gaussian window at every position where it fits whole."""
    half = WINDOW // 2
    rows = correlate1d(values, _GAUSSIAN, axis=1)[:, half:-half]
    return correlate1d(rows, _GAUSSIAN, axis=2)[..., half:-half]


def _squared_errors(first: Planes, second: Planes) -> np.ndarray:
    """Mean squared error of Y, R, G and B, ``(4,)``."""
    difference = first.values - second.values
    return np.einsum('chw,chw->c', difference, difference) / difference[0].size


def _similarities(first: Planes, second: Planes) -> np.ndarray:
    """Mean SSIM of Y, R, G and B, ``(4,)``."""
    (mean_a, variance_a), (mean_b, variance_b) = first.moments, second.moments
    product = mean_a * mean_b
    covariance = _blur(first.values * second.values) - product
    numerator = (2 * product + _C1) * (2 * covariance + _C2)
    denominator = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return (numerator / denominator).mean(axis=(1, 2))


def _to_db(error: float) -> float:
    return 10 * math.log10(PEAK**2 / error) if error > 0 else math.inf
