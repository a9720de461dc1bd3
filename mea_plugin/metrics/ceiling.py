"""What noise of one grey level, which nobody sees, does to an answer: a ceiling for agreement with a victim."""

from __future__ import annotations

import numpy as np

from mea_plugin.core.files import hash_array
from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.psnr_ssim import Y, plane_psnr
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['METRICS', 'noisy', 'plane_ceiling_gap']


def noisy(image: np.ndarray) -> np.ndarray:
    """An image plus Gaussian noise with a standard deviation of one grey level, rounded and clipped.

    The noise is drawn from the image's content, so that an image has the same ceiling in every run.

    Args:
        image: uint8 array ``(H, W, 3)``.

    Returns:
        The same type and shape.
    """
    noise = np.random.default_rng(int(hash_array(image), 16)).standard_normal(image.shape)
    noise += image
    return noise.round().clip(0, 255).astype(np.uint8)


def plane_ceiling_gap(image: Planes, reference: Planes) -> float:
    """How many dB an answer lies below :func:`noisy` of the reference, both as Y-PSNR against the reference.

    0 for an answer as close to the reference as noise of one grey level, ``-inf`` for one that equals it.
    """
    return reference.once(_ceiling_of) - plane_psnr(image, reference, 'y')


def _ceiling_of(reference: Planes) -> float:
    return plane_psnr(Planes(noisy(reference.whole), border=reference.border), reference, 'y')


def _make(name: str, _: WeightSource) -> Metric:
    return Metric(
        name=name,
        title='Gap to ceiling',
        unit='dB',
        digits=2,
        better='lower',
        kind='pair',
        channel='y',
        protocol=(
            "PSNR of the victim's answer plus Gaussian noise of one grey level on R, G and B, rounded, clipped and "
            f"seeded by the answer's content, minus PSNR of the model's answer, both against the victim's answer, {Y}, "
            'border cut; 0: as close as that noise; minus infinity for equal images'
        ),
        measure=plane_ceiling_gap,
        fidelity_only=True,
    )


METRICS: dict[str, Maker] = {'ceiling_gap': _make}
