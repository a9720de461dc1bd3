"""PSNR where two images differ most: a mean over the image hides a failure in a corner."""

from __future__ import annotations

import math

from scipy.ndimage import uniform_filter1d

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import Planes, check_same_size
from mea_plugin.metrics.psnr_ssim import Y, to_db
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['METRICS', 'PATCH', 'plane_worst_patch_psnr']

PATCH = 32


def plane_worst_patch_psnr(first: Planes, second: Planes) -> float:
    """The lowest PSNR on Y of all 32 x 32 patches, at every position; NaN for images smaller than a patch.

    ``10 log10(255^2 / max_p mean_p (a - b)^2)``, the means by a running sum: linear in the pixels.
    """
    check_same_size(first, second)
    errors = first.y - second.y
    errors *= errors
    height, width = errors.shape
    if min(height, width) < PATCH:
        return math.nan
    half = PATCH // 2
    # scipy's even window starts half its size before the position that it is written to
    errors = uniform_filter1d(errors, PATCH, axis=0)[half : height - half + 1]
    errors = uniform_filter1d(errors, PATCH, axis=1)[:, half : width - half + 1]
    return to_db(float(errors.max()))


def _make(name: str, _: WeightSource) -> Metric:
    return Metric(
        name=name,
        title='Worst-patch PSNR',
        unit='dB',
        digits=2,
        better='higher',
        kind='pair',
        channel='y',
        protocol=(
            f'lowest PSNR, {Y}, of all {PATCH}x{PATCH} patches at every position inside the border, peak 255; '
            f'infinite for equal images, not defined below {PATCH} pixels'
        ),
        measure=plane_worst_patch_psnr,
    )


METRICS: dict[str, Maker] = {'worst_patch_psnr': _make}
