"""Was a network trained on watermarked answers? A test with a p-value, from queries alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from mea_plugin.defences.invisible import SIZE, InvisibleWatermark, KeyedMark, symmetric
from mea_plugin.errors import InputError
from mea_plugin.victims import Victim

__all__ = ['FEWEST_DECOYS', 'OwnershipTest', 'verify']


@functools.cache
def _orbits() -> list[np.ndarray]:
    """A basis of the filters that are equal under flips and rotations by 90 degrees."""
    unit = np.eye(SIZE * SIZE, dtype=np.float32).reshape(-1, SIZE, SIZE)
    return list(np.unique((symmetric(unit) > 0).astype(np.float32), axis=0))


_BATCH = 8  # images asked at once
FEWEST_DECOYS = 99
"""With fewer, p could not be below 0.01."""


@dataclass(frozen=True)
class OwnershipTest:
    """What a test has found.

    Attributes:
        p: Of a network that has nothing to do with the key: the probability of a statistic as large as this.
        z: The statistic in standard deviations of the decoys' from their mean.
        images: How many the suspect was asked about.
        decoys: How many other keys were tried; ``p`` is at least ``1 / (decoys + 1)``.
    """

    p: float
    z: float
    images: int
    decoys: int

    @property
    def p_normal(self) -> float:
        """``p`` as it would be if the decoys' statistics were normal: for an order of magnitude below the smallest."""
        return NormalDist().cdf(-self.z)


def verify(
    suspect: Victim,
    victim: Victim,
    watermark: InvisibleWatermark,
    images: Iterable[np.ndarray],
    *,
    decoys: int = 999,
    seed: int = 0,
) -> OwnershipTest:
    """Test whether a suspect carries the mark of a key.

    Of the difference ``r`` of both answers, averaged over the pixels of the query, the statistic of a mark ``m`` is

        T(m) = <r, Q m> / sqrt(<m, Q m>),   over all pixels of all images,

    where ``Q`` takes away whatever is a linear filter of the query: surrogates blur and sharpen, and that would drown
    the rest. It is taken for the watermark's mark and for those of keys that nobody has used. A suspect that has not
    seen the key's answers knows it from none of the others, so its ``T`` is as likely as any other to be the largest:
    ``p = (1 + number of decoys with T at least as large) / (1 + decoys)`` is exact, whatever the suspect is like.

    Args:
        suspect: The network in question.
        victim: The owner's, without the watermark.
        watermark: That its answers had.
        images: uint8 ``(h, w, 3)``, RGB: any that both can be asked about, better not those of the suspect's training.
        decoys: How many other keys to try.
        seed: Of the decoys. Fix it, and all else, before you look: who tries several has tested several times.

    Raises:
        InputError: The scales differ, there are no images, or fewer than 99 decoys.
    """
    if suspect.scale != victim.scale:
        what = f'the suspect has scale {suspect.scale}, the victim {victim.scale}'
        raise InputError(what, do='Compare networks of one task')
    if decoys < FEWEST_DECOYS:
        raise InputError(f'decoys is {decoys}', do=f'Give at least {FEWEST_DECOYS}')
    generator = np.random.default_rng(seed)
    marks = [watermark.mark, *(KeyedMark(generator) for _ in range(decoys))]
    count, gram = 0, np.zeros((len(_orbits()) * 3 + 1,) * 2)
    filtered_residual = np.zeros((len(gram), 3))
    products, norms = np.zeros(len(marks)), np.zeros(len(marks))
    filtered = np.zeros((len(marks), len(gram), 3))
    for image, residual in _residuals(suspect, victim, images):
        count += 1
        linear = _linear(image)
        gram += linear @ linear.T
        filtered_residual += linear @ residual
        for number, mark in enumerate(marks):
            drawn = mark.draw(image, 1).reshape(-1, 3)
            products[number] += np.vdot(residual, drawn)
            norms[number] += np.vdot(drawn, drawn)
            filtered[number] += linear @ drawn
    if count == 0:
        raise InputError('there are no images to ask about', do='Give some')
    inverse = np.linalg.pinv(gram, hermitian=True)
    products -= np.einsum('kic,ij,jc->k', filtered, inverse, filtered_residual, optimize=True)
    norms -= np.einsum('kic,ij,kjc->k', filtered, inverse, filtered, optimize=True)
    statistics = products / np.sqrt(np.maximum(norms, np.finfo(float).tiny))
    own, others = statistics[0], statistics[1:]
    p = (1 + int((others >= own).sum())) / (1 + decoys)
    deviation = float(others.std(ddof=1))
    return OwnershipTest(p, float(own - others.mean()) / deviation if deviation > 0 else 0.0, count, decoys)


def _linear(image: np.ndarray) -> np.ndarray:
    """What symmetric linear filters make of an image, and a constant: float32 ``(features, pixels)``."""
    channels = cv2.split(image.astype(np.float32) / 255)
    found = [cv2.filter2D(channel, -1, one, borderType=cv2.BORDER_REFLECT) for channel in channels for one in _orbits()]
    return np.stack([*found, np.ones_like(channels[0])]).reshape(len(found) + 1, -1)


def _residuals(
    suspect: Victim, victim: Victim, images: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, and the difference of the answers at their size, float32."""
    for batch in _batches(images):
        for image, one, other in zip(batch, suspect.query(batch), victim.query(batch), strict=True):
            difference = one.astype(np.float32) - other
            yield image, cv2.resize(difference, image.shape[1::-1], interpolation=cv2.INTER_AREA).reshape(-1, 3)


def _batches(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    iterator = iter(images)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
