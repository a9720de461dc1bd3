"""How far query images are from those that a victim was trained on: a Frechet distance on wavelet statistics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.data.texture import PATCH, patch_features

__all__ = ['distance_of_features', 'domain_distance', 'frechet_distance', 'image_features']

PATCHES = 16


def domain_distance(queries: Iterable[np.ndarray], training: Iterable[np.ndarray], *, seed: int = 0) -> float:
    """The domain distance of query images to a victim's training images (its inputs).

    Features of random patches are standardised by mean and standard deviation of the training images' patches, and

        d^2 = |m_q - m_t|^2 + tr(C_q + C_t - 2 (C_q C_t)^(1/2))

    is the squared Frechet distance of the two Gaussians fitted to them; ``d`` is given. 0: nothing tells the two apart;
    1: a shift by about one standard deviation of one feature.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, for the distance. Its features
    are those of an Inception network; these are energies of wavelet bands and means of colours, which need no weights
    and are what the paper's penalty looks at.

    Args:
        queries: uint8 ``(H, W, 3)``, RGB, as the victim is asked; of any sizes.
        training: Likewise.
        seed: Of the patches' places.

    Raises:
        InputError: An image is smaller than a patch, or there are too few images for a covariance.
    """
    return distance_of_features(image_features(queries, seed=seed), image_features(training, seed=seed))


def distance_of_features(queries: np.ndarray, training: np.ndarray) -> float:
    """:func:`domain_distance` of what :func:`image_features` gives."""
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    standard = [(one - mean) / np.where(deviation > 0, deviation, 1) for one in (queries, training)]
    return frechet_distance(*standard)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The Frechet distance of Gaussians fitted to two sets of features, ``(n, features)`` each."""
    means = first.mean(axis=0) - second.mean(axis=0)
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # tr((C1 C2)^(1/2)) is that of the symmetric (C1^(1/2) C2 C1^(1/2))^(1/2).
    inner = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum()
    return float(np.sqrt(max(0.0, means @ means + np.trace(one) + np.trace(other) - 2 * inner)))


def image_features(images: Iterable[np.ndarray], *, seed: int = 0, where: str = '') -> np.ndarray:
    """The features of random patches of images: float64 ``(16 images, 10)``, patch after patch.

    Args:
        images: uint8 ``(H, W, 3)``, RGB.
        seed: Of the patches' places.
        where: The option that names the images, for errors.

    Raises:
        InputError: As :func:`domain_distance`.
    """
    generator = np.random.default_rng(seed)
    found = []
    for image in images:
        height, width = image.shape[:2]
        if min(height, width) < PATCH:
            what = f'an image of {width}x{height} pixels is smaller than a patch of {PATCH}'
            raise InputError(what, where=where, do='Leave out trained_on, or give larger images')
        tops = generator.integers(0, height - PATCH + 1, PATCHES)
        lefts = generator.integers(0, width - PATCH + 1, PATCHES)
        patches = [image[top : top + PATCH, left : left + PATCH] for top, left in zip(tops, lefts, strict=True)]
        found.append(patch_features(np.asarray(patches, np.float64)))
    if len(found) < 2:
        what = f'the number of images is {len(found)}, too few for a distribution'
        raise InputError(what, where=where, do='Leave out trained_on, or give more images')
    return np.concatenate(found)
