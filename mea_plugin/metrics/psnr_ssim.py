"""PSNR and SSIM as super-resolution papers report them: on Y or RGB, the border cropped, in MATLAB's conventions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import PEAK, Channel, Planes, check_same_size
from mea_plugin.metrics.weight_source import WeightSource
from mea_plugin.metrics.windows import Local, local, similarity, strips

__all__ = ['METRICS', 'RGB', 'WANG', 'Y', 'local_of', 'plane_psnr', 'plane_ssim', 'psnr', 'ssim', 'to_db']


def psnr(first: np.ndarray, second: np.ndarray, *, border: int, channel: Channel = 'y') -> float:
    """Peak signal-to-noise ratio ``10 log10(255^2 / mean((a - b)^2))`` in dB; ``inf`` for equal images.

    On RGB the mean runs over all three channels at once, as in the toolboxes.

    Args:
        first: uint8 array ``(H, W, 3)``, RGB.
        second: The same.
        border: Pixels to cut at each edge; by custom the scale.
        channel: ``y`` (:func:`~mea_plugin.metrics.planes.to_y`) or ``rgb``.
    """
    return plane_psnr(Planes(first, border=border), Planes(second, border=border), channel)


def ssim(first: np.ndarray, second: np.ndarray, *, border: int, channel: Channel = 'y') -> float:
    """Structural similarity as in its authors' MATLAB code: 11 x 11 Gaussian window of sigma 1.5, K = (0.01, 0.03).

    ``mean (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))`` over the positions where the
    whole window fits, with population (co)variances; on RGB the mean of the three channels. From Wang et al., *Image
    quality assessment: from error visibility to structural similarity*, IEEE TIP 2004, section III.

    Args:
        first: uint8 array ``(H, W, 3)``, RGB.
        second: The same.
        border: Pixels to cut at each edge; by custom the scale.
        channel: ``y`` (:func:`~mea_plugin.metrics.planes.to_y`) or ``rgb``.
    """
    return plane_ssim(Planes(first, border=border), Planes(second, border=border), channel)


def plane_psnr(first: Planes, second: Planes, channel: Channel) -> float:
    """:func:`psnr` of prepared images."""
    check_same_size(first, second)
    values = first.channel(channel), second.channel(channel)
    total = 0.0
    for plane_a, plane_b in zip(*values, strict=True):
        for rows in strips(*plane_a.shape):
            difference = np.subtract(plane_a[rows], plane_b[rows], dtype=np.float64)
            difference *= difference
            total += float(difference.sum())
    return to_db(total / values[0].size)


def plane_ssim(first: Planes, second: Planes, channel: Channel) -> float:
    """:func:`ssim` of prepared images."""
    check_same_size(first, second)
    ssim_of_planes, _ = similarity(first.once(local_of, channel), second.once(local_of, channel))
    return float(ssim_of_planes.mean())


def local_of(planes: Planes, channel: Channel) -> Local:
    """Local statistics of an image; ask for them with :meth:`~mea_plugin.metrics.planes.Planes.once`."""
    return local(planes.channel(channel))


def to_db(error: float) -> float:
    """``10 log10(255^2 / error)`` of a mean squared error in grey levels; ``inf`` for none."""
    return 10 * math.log10(PEAK**2 / error) if error > 0 else math.inf


Y = 'on Y of ITU-R BT.601, limited range, as MATLAB rgb2ycbcr, not rounded'
RGB = 'on R, G and B'
WANG = '11x11 Gaussian window of sigma 1.5 where it fits whole, K = (0.01, 0.03) (Wang et al., IEEE TIP 2004)'


def _psnr(channel: Channel, how: str) -> Maker:
    def make(name: str, _: WeightSource) -> Metric:
        return Metric(
            name=name,
            title=f'{channel.upper()}-PSNR',
            unit='dB',
            digits=2,
            better='higher',
            kind='pair',
            channel=channel,
            protocol=f'PSNR {how}, peak 255, border cut; infinite for equal images',
            measure=partial(plane_psnr, channel=channel),
        )

    return make


def _ssim(channel: Channel, how: str) -> Maker:
    def make(name: str, _: WeightSource) -> Metric:
        return Metric(
            name=name,
            title=f'{channel.upper()}-SSIM',
            unit='',
            digits=4,
            better='higher',
            kind='pair',
            channel=channel,
            protocol=f'SSIM {how}, border cut; {WANG}',
            measure=partial(plane_ssim, channel=channel),
        )

    return make


METRICS: dict[str, Maker] = {
    'psnr_y': _psnr('y', Y),
    'ssim_y': _ssim('y', Y),
    'psnr_rgb': _psnr('rgb', f'{RGB}, of their joint mean squared error'),
    'ssim_rgb': _ssim('rgb', f'{RGB}, the mean of the three'),
}
