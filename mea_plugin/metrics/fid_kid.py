"""FID and KID: how far the features of two sets of images are from each other, by torch-fidelity's formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mea_plugin.core.packages import lacking, to_install
from mea_plugin.metrics.features import ImageFeatures
from mea_plugin.metrics.inception import WEIGHTS, InceptionExtractor, shared_extractor
from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['METRICS', 'SEED', 'SUBSETS', 'SUBSET_SIZE', 'fid', 'kid', 'remark']

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020


def fid(images: ImageFeatures, references: ImageFeatures) -> float:
    """Frechet inception distance: that of two normal distributions with the sets' means and covariances.

    ``|m_1 - m_2|^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2))``, from Heusel et al., *GANs Trained by a Two Time-Scale
    Update Rule Converge to a Local Nash Equilibrium*, NeurIPS 2017, equation 6. It is biased upwards, the more so the
    fewer images there are; with no more images than features the covariances do not have full rank.

    Returns:
        The distance; NaN where a set has fewer than 2 images.
    """
    _check_comparable(images, references)
    if min(images.count, references.count) < 2:
        return math.nan
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first, second = ({'mu': each.mean(), 'sigma': each.covariance()} for each in (images, references))
    # Rounding may leave less than nothing for equal sets.
    return max(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID], 0.0)


def kid(
    images: ImageFeatures,
    references: ImageFeatures,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> float:
    """Kernel inception distance: the unbiased squared maximum mean discrepancy, averaged over subsets.

    With ``k(x, y) = (x y / d + 1)^3`` on features of ``d`` numbers and ``n`` images of each set,
    ``sum_{i != j} (k(x_i, x_j) + k(y_i, y_j)) / (n (n - 1)) - 2 sum_{i, j} k(x_i, y_j) / n^2``, from Binkowski et al.,
    *Demystifying MMD GANs*, ICLR 2018. Values a little below 0 occur for equal distributions. The subsets are those
    that torch-fidelity draws from the same rows with the same seed.

    Args:
        images: One set.
        references: The other.
        subsets: How many subsets are drawn.
        subset_size: How many images of each set a subset has; where a set has fewer, that many.
        seed: Of the draws.

    Returns:
        The distance; NaN where a set has fewer than 2 images.
    """
    _check_comparable(images, references)
    size = min(subset_size, images.count, references.count)
    if size < 2:
        return math.nan
    from torch_fidelity.metric_kid import kernel_mmd

    if images.count == references.count == size:  # every subset would be both whole sets
        return float(kernel_mmd(images.rows(range(size)), references.rows(range(size))))
    draws = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        first, second = (each.rows(draws.choice(each.count, size, replace=False)) for each in (images, references))
        values.append(kernel_mmd(first, second))
    return float(np.mean(values))


def remark(images: int, references: int, *, features: int = InceptionExtractor.size) -> str:
    """What a reader of FID and KID must know about sets of some sizes.

    Args:
        images: How many images one set has.
        references: How many the other has.
        features: How many numbers stand for an image.
    """
    text = f'FID and KID of {images} images against {references}'
    fewest = min(images, references)
    if fewest <= features:
        text += f'; FID is biased upwards: its covariances of {features} features lack full rank'
    if fewest < SUBSET_SIZE:
        text += f'; KID takes {fewest} images of each set, not {SUBSET_SIZE}'
    return text


def _check_comparable(images: ImageFeatures, references: ImageFeatures) -> None:
    first, second = images.extractor.fingerprint, references.extractor.fingerprint
    if first != second:
        raise ValueError(f'the features are of two networks, {first} and {second}; take both sets with one extractor')


_INCEPTION = (
    f'features of the last pooling layer (2048) of the Inception-v3 of 2015-12-05 ({WEIGHTS}) in torch-fidelity, which '
    'resizes whole images to 299x299 as TensorFlow 1 does'
)
_PROTOCOLS = {
    'fid': (
        f'Frechet distance of {_INCEPTION}; biased upwards, the more the fewer images: compare values of equal counts '
        'only, and with 2048 images or fewer the covariances lack full rank (Heusel et al., NeurIPS 2017)'
    ),
    'kid': (
        f'squared MMD, unbiased, kernel (x y / 2048 + 1)^3, of {_INCEPTION}; mean of {SUBSETS} subsets (seed {SEED}) '
        f'of {SUBSET_SIZE} images of each set, or of as many as the smaller set has; not multiplied by 100 or 1000 '
        '(Binkowski et al., ICLR 2018)'
    ),
}


def _make(name: str, sources: WeightSource) -> Metric:
    extractor: InceptionExtractor | None = None
    missing = ''
    if lacking('torch_fidelity'):
        missing = f'torch-fidelity: {to_install("torch_fidelity")}'
    elif path := sources.get(WEIGHTS):
        extractor = shared_extractor(path)
    else:
        missing = sources.advice(WEIGHTS)
    measure: Any = {'fid': fid, 'kid': kid}[name]
    return Metric(
        name=name,
        title=name.upper(),
        unit='',
        digits={'fid': 2, 'kid': 5}[name],
        better='lower',
        kind='set',
        protocol=_PROTOCOLS[name],
        measure=measure,
        missing=missing,
        extractor=extractor,
    )


METRICS: dict[str, Maker] = {'fid': _make, 'kid': _make}
