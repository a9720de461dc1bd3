"""What is measured of image patches, to say what kind of images they are: wavelet energies, and means of colours."""

from __future__ import annotations

import numpy as np
import pywt

from mea_plugin.metrics.planes import Y_WEIGHTS

__all__ = ['FEATURES', 'PATCH', 'patch_features']

FEATURES = 10
"""How many numbers."""

PATCH = 24
"""The side of a patch, in pixels."""

_LEVELS = 2
_WAVE = 'haar'  # short enough for two levels of a small patch without much of its border
_FLOOR = 0.25  # energy of rounding to whole grey levels, roughly: flat patches do not differ by their noise


def patch_features(patches: np.ndarray) -> np.ndarray:
    """What is measured of patches.

    Args:
        patches: float64 ``(n, size, size, 3)``, RGB, grey levels from 0 to 255.

    Returns:
        ``(n, 10)``: logarithms of the mean squares of the horizontal, vertical and diagonal bands of two levels of
        luma; then luma's mean and the logarithm of its standard deviation, and the means of B - Y and of R - Y.
    """
    luma = patches @ np.asarray(Y_WEIGHTS)
    bands = pywt.wavedec2(luma, _WAVE, mode='periodization', level=_LEVELS, axes=(1, 2))
    energies = [np.log((band**2).mean(axis=(1, 2)) + _FLOOR) for level in bands[1:] for band in level]
    means = [luma.mean(axis=(1, 2)), np.log(luma.std(axis=(1, 2)) + 1)]
    colours = [(patches[..., channel] - luma).mean(axis=(1, 2)) for channel in (2, 0)]
    return np.stack([*energies, *means, *colours], axis=1)
