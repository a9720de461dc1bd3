"""Was a network trained on watermarked answers? A test with a p-value, from queries alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.defences.invisible import SIZE, InvisibleWatermark, KeyedMark, symmetric
from mea_plugin.victims import Victim

__all__ = ['FEWEST_DECOYS', 'OwnershipTest', 'verify', 'verify_all']


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
    """Test whether one suspect carries the mark of a key; see :func:`verify_all`."""
    return verify_all({'suspect': suspect}, victim, watermark, images, decoys=decoys, seed=seed)['suspect']


def verify_all(
    suspects: Mapping[str, Victim],
    victim: Victim,
    watermark: InvisibleWatermark,
    images: Iterable[np.ndarray],
    *,
    decoys: int = 999,
    seed: int = 0,
) -> dict[str, OwnershipTest]:
    """Test whether suspects carry the mark of a key; the marks are drawn once for all of them.

    Of the difference ``r`` of both answers, averaged over the pixels of the query, the statistic of a mark ``m`` is

        T(m) = <r, Q m> / sqrt(<m, Q m>),   over all pixels of all images,

    where ``Q`` takes away whatever is a linear filter of the query: surrogates blur and sharpen, and that would drown
    the rest. It is taken for the watermark's mark and for those of keys that nobody has used. A suspect that has not
    seen the key's answers knows it from none of the others, so its ``T`` is as likely as any other to be the largest:
    ``p = (1 + number of decoys with T at least as large) / (1 + decoys)`` is exact, whatever the suspect is like.

    Args:
        suspects: The networks in question, by name.
        victim: The owner's, without the watermark.
        watermark: That its answers had.
        images: uint8 ``(h, w, 3)``, RGB: any that all can be asked about, better not those of a suspect's training.
        decoys: How many other keys to try.
        seed: Of the decoys. Fix it, and all else, before you look: who tries several has tested several times.

    Raises:
        InputError: The scales differ, there are no images, or fewer than 99 decoys.
    """
    for name, suspect in suspects.items():
        if suspect.scale != victim.scale:
            what = f'{name} has scale {suspect.scale}, the victim {victim.scale}'
            raise InputError(what, do='Compare networks of one task')
    if decoys < FEWEST_DECOYS:
        raise InputError(f'decoys is {decoys}', where='decoys', do=f'Give at least {FEWEST_DECOYS}')
    generator = np.random.default_rng(seed)
    marks = [watermark.mark, *(KeyedMark(generator) for _ in range(decoys))]
    features = len(_orbits()) * 3 + 1
    count, gram = 0, np.zeros((features, features))
    products, filtered_residuals = np.zeros((len(suspects), len(marks))), np.zeros((len(suspects), features, 3))
    norms, filtered = np.zeros(len(marks)), np.zeros((len(marks), features, 3))
    for image, residuals in _residuals(suspects.values(), victim, images):
        count += 1
        linear = _linear(image)
        gram += linear @ linear.T
        filtered_residuals += linear @ residuals
        flat = residuals.reshape(len(suspects), -1)
        for number, mark in enumerate(marks):
            drawn = mark.draw(image, 1).reshape(-1, 3)
            products[:, number] += flat @ drawn.ravel()
            norms[number] += np.vdot(drawn, drawn)
            filtered[number] += linear @ drawn
    if count == 0:
        raise InputError('there are no images to ask about', where='images', do='Give some')
    inverse = np.linalg.pinv(gram, hermitian=True)
    products -= np.einsum('kic,ij,sjc->sk', filtered, inverse, filtered_residuals, optimize=True)
    norms -= np.einsum('kic,ij,kjc->k', filtered, inverse, filtered, optimize=True)
    statistics = products / np.sqrt(np.maximum(norms, np.finfo(float).tiny))
    return {name: _test(row, count) for name, row in zip(suspects, statistics, strict=True)}


def _test(statistics: np.ndarray, images: int) -> OwnershipTest:
    """From the statistics of the key, which is the first, and of the decoys."""
    own, others = statistics[0], statistics[1:]
    p = (1 + int((others >= own).sum())) / len(statistics)
    deviation = float(others.std(ddof=1))
    return OwnershipTest(p, float(own - others.mean()) / deviation if deviation > 0 else 0.0, images, len(others))


def _linear(image: np.ndarray) -> np.ndarray:
    """What symmetric linear filters make of an image, and a constant: float32 ``(features, pixels)``."""
    channels = cv2.split(image.astype(np.float32) / 255)
    found = [cv2.filter2D(channel, -1, one, borderType=cv2.BORDER_REFLECT) for channel in channels for one in _orbits()]
    return np.stack([*found, np.ones_like(channels[0])]).reshape(len(found) + 1, -1)


def _residuals(
    suspects: Iterable[Victim], victim: Victim, images: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, and the differences of the answers at their size: float32 ``(suspects, pixels, 3)``."""
    networks = list(suspects)
    for batch in _batches(images):
        own = victim.query(batch)
        answers = [suspect.query(batch) for suspect in networks]
        for number, (image, answer) in enumerate(zip(batch, own, strict=True)):
            size = image.shape[1::-1]
            differences = [
                cv2.resize(each[number].astype(np.float32) - answer, size, interpolation=cv2.INTER_AREA)
                for each in answers
            ]
            yield image, np.stack(differences).reshape(len(networks), -1, 3)


def _batches(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    iterator = iter(images)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
