"""What is remembered of an image: a hash and a thumbnail of the whole, and hashes of places that a crop has, too."""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ['THUMBNAIL', 'TOKENS', 'Fingerprint', 'distances', 'fingerprint', 'image_hash', 'tokens']

THUMBNAIL = 64
"""Values of a thumbnail: 8 x 8."""

TOKENS = 32
"""At most so many of an image are remembered."""

_CELL = 4  # pixels; a place is 4 x 4 of these cells
_REACH = 2 * _CELL
_NEIGHBOURHOOD = 9  # pixels: the strongest point of these is a place
_WEAKEST = np.float32(2)  # grey levels: what noise makes is no place
_WEIGHTS = (1 << np.arange(64, dtype=np.uint64)).astype(np.uint64)


class _Work(threading.local):
    """A thread's arrays of an image's size: to allocate them for each image would take longer than to fill them."""

    def __init__(self) -> None:
        self._make((0, 0))

    def _make(self, shape: tuple[int, ...]) -> None:
        self.values, self.fine, self.coarse, self.response = (np.empty(shape, np.float32) for _ in range(4))
        self.mask = np.empty(shape, np.uint8)

    def of(self, shape: tuple[int, ...]) -> _Work:
        """Those for images of a size; what they hold is of no meaning."""
        if self.values.shape != shape:
            self._make(shape)
        return self


_WORK = _Work()


class Fingerprint(NamedTuple):
    """What is remembered of an image.

    Attributes:
        whole: :func:`image_hash`.
        thumbnail: Luma's mean over 8 x 8 cells: uint8 ``(64,)``.
        parts: :func:`tokens`.
    """

    whole: np.uint64
    thumbnail: np.ndarray
    parts: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """The fingerprint of an image.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(luma, (8, 8), interpolation=cv2.INTER_AREA).ravel()
    return Fingerprint(image_hash(luma), thumbnail, tokens(luma))


def image_hash(luma: np.ndarray) -> np.uint64:
    """64 bits that resizing, compression and a little noise hardly change: whether luma rises from cell to cell.

    Source: the "difference hash" of image search, N. Krawetz, 2013.

    Args:
        luma: uint8 or float32 ``(H, W)``.
    """
    small = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.uint64(_WEIGHTS[(small[:, 1:] > small[:, :-1]).ravel()].sum())


def distances(hashes: np.ndarray, one: np.uint64, work: np.ndarray | None = None) -> np.ndarray:
    """How many bits of each hash, uint64 ``(n,)``, differ from those of ``one``; ``work``: a like array to write to."""
    differing = np.bitwise_xor(hashes, one, out=work)
    if hasattr(np, 'bitwise_count'):  # NumPy 2
        return np.asarray(np.bitwise_count(differing))
    return np.asarray(_bits()[differing.view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.uint8))


@functools.cache
def _bits() -> np.ndarray:
    """How many bits each number of 16 bits has."""
    return np.array([bin(value).count('1') for value in range(1 << 16)], np.uint8)


def tokens(luma: np.ndarray) -> np.ndarray:
    """Hashes of up to 32 places of an image; a crop has those that lie inside it.

    Places are where a difference of Gaussians is strongest in its neighbourhood; 24 bits say how the means of 4 x 4
    cells around it compare with their neighbours. Of all places, those with the smallest hashes of these bits are kept,
    so that image and crop keep the same ones (min-wise sampling, Broder, On the resemblance and containment of
    documents, 1997).

    Args:
        luma: uint8 ``(H, W)``.

    Returns:
        uint64 ``(n,)``, each once; none where the image is flat or smaller than 18 pixels.
    """
    height, width = luma.shape
    if min(height, width) < 2 * _REACH + 2:
        return np.empty(0, np.uint64)
    inner = slice(_REACH, -_REACH)
    work = _WORK.of(luma.shape)
    np.copyto(work.values, luma)
    fine = cv2.GaussianBlur(work.values, (0, 0), 1.0, dst=work.fine)
    coarse = cv2.GaussianBlur(fine, (0, 0), 1.7, dst=work.coarse)
    response = cv2.absdiff(fine, coarse, dst=work.response)
    strongest = cv2.dilate(response, np.ones((_NEIGHBOURHOOD, _NEIGHBOURHOOD), np.uint8), dst=work.fine)
    # OpenCV's comparisons are several times quicker than NumPy's on masks of a whole image.
    is_place = cv2.compare(response, np.maximum(strongest, _WEAKEST, out=work.fine), cv2.CMP_GE, dst=work.mask)
    places = cv2.findNonZero(is_place[inner, inner])
    if places is None:
        return np.empty(0, np.uint64)
    columns, rows = places.reshape(-1, 2).T + _REACH
    cells = cv2.blur(coarse, (_CELL, _CELL), anchor=(0, 0), dst=work.values)
    steps = np.arange(-_REACH, _REACH, _CELL)
    values = cells[(rows[:, None, None] + steps[:, None]), (columns[:, None, None] + steps)]
    bits = np.concatenate(
        [
            (values[:, :, 1:] > values[:, :, :-1]).reshape(len(rows), -1),
            (values[:, 1:] > values[:, :-1]).reshape(len(rows), -1),
        ],
        axis=1,
    )
    found = np.unique(mixed(bits @ _WEIGHTS[: bits.shape[1]]))
    return found[:TOKENS]


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 values shuffled one to one: splitmix64's finaliser (Steele et al., OOPSLA 2014)."""
    values = values.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(values ^ (values >> np.uint64(31)))
