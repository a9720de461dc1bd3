"""PSNR per wavelet band: at which scale, and in which direction, two images differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pywt

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import Planes, check_same_size
from mea_plugin.metrics.psnr_ssim import Y, to_db
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['BANDS', 'DETAILS', 'LEVELS', 'METRICS', 'SMALLEST', 'WAVE', 'band_psnr', 'bands_of', 'decompose']

WAVE = 'db3'
LEVELS = 2

DETAILS = ('h1', 'v1', 'd1', 'h2', 'v2', 'd2')
"""The high-frequency bands: horizontal, vertical and diagonal details, level 1 being the finest."""
BANDS = (*DETAILS, 'a2')
"""All bands: with the approximation that is left."""

_TAPS = pywt.Wavelet(WAVE).dec_len
SMALLEST = (_TAPS - 1) * 2**LEVELS
"""The fewest pixels, in height and width, for which pywt transforms to this level (``pywt.dwt_max_level``)."""


def band_psnr(first: Planes, second: Planes, bands: Sequence[str]) -> float:
    """``10 log10(255^2 / MSE)`` of the coefficients of some bands of Y; NaN for images below :data:`SMALLEST`.

    ``MSE = sum_b sum (c_b(first) - c_b(second))^2 / sum_b N_b``. The filters are orthonormal, so that white noise of
    variance ``s^2`` has ``MSE = s^2`` in every band and the peak is that of the pixels in all of them. Only
    coefficients whose filters fit whole inside the image count, as with SSIM's window: no extension at its edges,
    which would differ from band to band, has a share in the value.

    Args:
        first: An image.
        second: Another of its size.
        bands: Names out of :data:`BANDS`.
    """
    check_same_size(first, second)
    if min(first.image.shape[:2]) < SMALLEST:
        return math.nan
    coefficients = first.once(bands_of), second.once(bands_of)
    total, count = 0.0, 0
    for band in bands:
        difference = coefficients[0][band] - coefficients[1][band]
        total += float(np.square(difference).sum())
        count += difference.size
    return to_db(total / count)


def bands_of(planes: Planes) -> dict[str, np.ndarray]:
    """:func:`decompose` of an image's Y; ask for it with ``Planes.once``, so that each image is transformed once."""
    return decompose(planes.y)


def decompose(y: np.ndarray) -> dict[str, np.ndarray]:
    """The discrete wavelet transform, as ``pywt.wavedec2`` numbers it, where the filters fit whole inside the image.

    Args:
        y: float64 ``(H, W)``, at least :data:`SMALLEST` in both.

    Returns:
        By the names of :data:`BANDS`, float64 arrays; each level is half as large as the one before it, less the edges.
    """
    bands: dict[str, np.ndarray] = {}
    for level in range(1, LEVELS + 1):
        # Coefficient k reads the samples 2 k + 2 - taps to 2 k + 1. The mode shows only in those that are cut off.
        inside = tuple(slice(_TAPS // 2 - 1, size // 2) for size in y.shape)
        low, details = pywt.dwt2(y, WAVE, mode='zero')
        for direction, detail in zip('hvd', details, strict=True):
            bands[f'{direction}{level}'] = detail[inside]
        y = low[inside]
    bands[f'a{LEVELS}'] = y
    return bands


_WORDS = {'h': 'horizontal details', 'v': 'vertical details', 'd': 'diagonal details', 'a': 'approximation'}


def _psnr(bands: Sequence[str], title: str, what: str) -> Maker:
    def make(name: str, _: WeightSource) -> Metric:
        return Metric(
            name=name,
            title=title,
            unit='dB',
            digits=2,
            better='higher',
            kind='pair',
            channel='y',
            protocol=(
                f'PSNR of the {what} of the {WAVE} wavelet transform, {Y}, border cut, peak 255; coefficients whose '
                f'filters fit whole inside the image; infinite for equal images, not defined below {SMALLEST} pixels'
            ),
            measure=partial(band_psnr, bands=bands),
        )

    return make


METRICS: dict[str, Maker] = {
    'hf_psnr': _psnr(DETAILS, 'HF-PSNR', f'details of levels 1 to {LEVELS}, all at once,'),
    **{
        f'psnr_{band}': _psnr((band,), f'{band.upper()}-PSNR', f'{_WORDS[band[0]]} of level {band[1]}')
        for band in BANDS
    },
}
