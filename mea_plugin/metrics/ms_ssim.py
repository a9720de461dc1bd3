"""Multi-scale SSIM as its authors compute it, and TensorFlow too.

Not through pytorch-msssim: before it halves an image of odd width or height it pads it with black, on both sides, and
BSD100's images are odd in both. Where every scale is even the two agree.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import Channel, Planes, check_same_size
from mea_plugin.metrics.psnr_ssim import RGB, WANG, Y, local_of
from mea_plugin.metrics.weight_source import WeightSource
from mea_plugin.metrics.windows import WINDOW, Local, local, similarity

__all__ = ['EXPONENTS', 'METRICS', 'SMALLEST', 'halve', 'plane_ms_ssim', 'scales_of']

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST = WINDOW * 2 ** (len(EXPONENTS) - 1)
"""The fewest pixels, in height and width, that the authors' code takes."""


def plane_ms_ssim(first: Planes, second: Planes, channel: Channel) -> float:
    """Multi-scale structural similarity; NaN for images with a side below :data:`SMALLEST`.

    ``prod_j cs_j^w_j * ssim_5^w_5`` over the scales ``j = 1 ... 4``, each half as large as the one before it: ``ssim``
    and its part ``cs`` without the luminance are means over a scale (:mod:`~mea_plugin.metrics.windows`), below 0
    they count as 0, and ``w`` is :data:`EXPONENTS`. On RGB the mean of the three channels.

    From Wang, Simoncelli and Bovik, *Multi-scale structural similarity for image quality assessment*, Asilomar
    Conference on Signals, Systems and Computers 2003, with the exponents of section 3.2; numerically their
    ``msssim.m`` and ``tf.image.ssim_multiscale``.
    """
    check_same_size(first, second)
    if min(first.image.shape[:2]) < SMALLEST:
        return math.nan
    scales = zip(first.once(scales_of, channel), second.once(scales_of, channel), strict=True)
    *finer, (ssim, _) = (similarity(*scale) for scale in scales)
    factors = np.array([*(contrast for _, contrast in finer), ssim]).clip(0)
    return float(np.prod(factors ** np.array(EXPONENTS)[:, None], axis=0).mean())


def scales_of(planes: Planes, channel: Channel) -> list[Local]:
    """The five scales of an image, the finest first; ask for them with ``Planes.once``."""
    scales = [planes.once(local_of, channel)]
    while len(scales) < len(EXPONENTS):
        scales.append(local(halve(scales[-1].values)))
    return scales


def halve(values: np.ndarray) -> np.ndarray:
    """The means of 2 x 2 pixels, ``(C, H, W)`` to float64 ``(C, ceil(H / 2), ceil(W / 2))``.

    An odd last row or column is averaged with itself: MATLAB's ``imfilter`` mirrors the image there.
    """
    _, height, width = values.shape
    if height % 2 or width % 2:
        values = np.pad(values, [(0, 0), (0, height % 2), (0, width % 2)], mode='edge')
    means = np.add(values[:, ::2, ::2], values[:, ::2, 1::2], dtype=np.float64)
    means += values[:, 1::2, ::2]
    means += values[:, 1::2, 1::2]
    means /= 4
    return means


def _ms_ssim(channel: Channel, how: str) -> Maker:
    def make(name: str, _: WeightSource) -> Metric:
        return Metric(
            name=name,
            title=f'{channel.upper()}-MS-SSIM',
            unit='',
            digits=4,
            better='higher',
            kind='pair',
            channel=channel,
            protocol=(
                f'MS-SSIM {how}, border cut; 5 scales with the exponents {", ".join(map(str, EXPONENTS))}, halved by '
                'the mean of 2x2 pixels, an odd last row or column repeated, negative means counted as 0 (Wang et al., '
                f'Asilomar 2003; as their msssim.m and tf.image.ssim_multiscale); not defined below {SMALLEST} pixels; '
                f'{WANG}'
            ),
            measure=partial(plane_ms_ssim, channel=channel),
        )

    return make


METRICS: dict[str, Maker] = {
    'ms_ssim_y': _ms_ssim('y', Y),
    'ms_ssim_rgb': _ms_ssim('rgb', f'{RGB}, the mean of the three'),
}
