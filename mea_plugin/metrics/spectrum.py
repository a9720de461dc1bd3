"""Radial power spectra: how much detail of each size an image holds, wherever it lies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import rfft2

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import Y_WEIGHTS, Planes, check_same_size, to_y
from mea_plugin.metrics.psnr_ssim import Y
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['FLOOR', 'METRICS', 'plane_spectrum_error', 'radial_spectrum']

FLOOR = sum(weight**2 for weight in Y_WEIGHTS) / 12
"""Power, in squared grey levels, that rounding R, G and B to 8 bits gives to every frequency of Y."""


def radial_spectrum(image: np.ndarray, *, rings: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The power of an image's Y at each spatial frequency, averaged over all directions.

    ``P(r) = 10 log10 mean |F(u, v)|^2`` over the frequencies ``(u, v)`` that are nearest to the ring of radius ``r``,
    with ``F`` the orthonormal Fourier transform: white noise of variance ``s^2`` has ``10 log10 s^2`` everywhere.
    Powers below :data:`FLOOR` count as it, so that a flat image has a spectrum too. The azimuthal integration of
    Durall, Keuper and Keuper, *Watch your Up-Convolution*, CVPR 2020, eq. (4), without their normalisation.

    Args:
        image: uint8 array ``(H, W, 3)``, RGB.
        rings: Rings between 0 and the highest frequency along an axis; at most, and by default, half the shorter side.
            Images of different sizes have the same radii under the same number.

    Returns:
        Radii in cycles per pixel, from 0 to 0.5, and decibels; float64 ``(rings + 1,)`` each.
    """
    most = min(image.shape[:2]) // 2
    if rings is not None and not 1 <= rings <= most:
        raise ValueError(f'{rings} rings are not between 1 and {most}, half the shorter side of the image')
    rings = rings or most
    return np.arange(rings + 1) / (2 * rings), _decibels(to_y(image), rings)


def plane_spectrum_error(first: Planes, second: Planes) -> float:
    """Mean over the rings of ``|P_first(r) - P_second(r)|`` in dB; see :func:`radial_spectrum`."""
    check_same_size(first, second)
    return float(np.abs(first.once(_spectrum_of) - second.once(_spectrum_of)).mean())


def _spectrum_of(planes: Planes) -> np.ndarray:
    return _decibels(planes.y, min(planes.y.shape) // 2)


def _decibels(y: np.ndarray, rings: int) -> np.ndarray:
    ring, weight, total = _rings(y.shape[0], y.shape[1], rings)
    transform = rfft2(y, norm='ortho')
    power = (transform.real**2 + transform.imag**2) * weight
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=rings + 1)[: rings + 1]
    return 10 * np.log10(np.maximum(sums / total, FLOOR))


# The images of a set share a few sizes.
@lru_cache(maxsize=4)
def _rings(height: int, width: int, rings: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ring of each frequency of a half-spectrum, what each column counts, and what each ring holds.

    Frequencies beyond the last ring, towards the corners, have higher numbers.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.rint(frequencies * (2 * rings)).astype(np.intp)
    # A real image's spectrum is symmetric: a column stands for two, but the first and an even width's last.
    weight = np.full(width // 2 + 1, 2.0)
    weight[0] = 1
    if width % 2 == 0:
        weight[-1] = 1
    total = np.bincount(ring.ravel(), np.broadcast_to(weight, ring.shape).ravel())[: rings + 1]
    return ring, weight, total


def _make(name: str, _: WeightSource) -> Metric:
    return Metric(
        name=name,
        title='Spectrum error',
        unit='dB',
        digits=3,
        better='lower',
        kind='pair',
        channel='y',
        protocol=(
            f'mean absolute difference of the power spectra {Y}, border cut, no window, averaged over rings one '
            "frequency step of the shorter side wide, up to 0.5 cycles per pixel, in dB; powers below rounding's "
            f'({FLOOR:.4f}) count as it (azimuthal integration of Durall et al., CVPR 2020)'
        ),
        measure=plane_spectrum_error,
    )


METRICS: dict[str, Maker] = {'spectrum_error': _make}
