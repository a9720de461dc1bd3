"""The features of a set of images, taken one image at a time, in memory that does not grow with their number."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from mea_plugin.core.files import hash_array
from mea_plugin.metrics.feature_cache import FeatureCache

__all__ = ['Extractor', 'ImageFeatures']

_BLOCK = 256


class Extractor(Protocol):
    """Makes a row of numbers of an image.

    Attributes:
        size: How many numbers.
        fingerprint: Hash of everything that they depend on besides the image.
    """

    size: int

    @property
    def fingerprint(self) -> str:
        """See above."""

    def extract(self, image: np.ndarray) -> np.ndarray:
        """The features of a uint8 image ``(H, W, 3)``, RGB: float32 ``(size,)``."""


class ImageFeatures:
    """The features of the images that were added: their number, mean, covariance and rows.

    The rows lie in a temporary file. What is told of them does not depend on the order in which the images came: rows
    are numbered by their images' hashes. Any number of threads may add.

    Args:
        extractor: What makes features of images.
        cache: A folder where features are kept by content for other sets and later runs; None: nowhere.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, extractor: Extractor, cache: Path | None = None) -> None:
        self.extractor = extractor
        self.count = 0
        """How many images were added."""
        self._cache = None if cache is None else FeatureCache(cache)
        self._record = np.dtype([('hash', '>u8'), ('row', '<f4', (extractor.size,))])
        self._file = _temporary_file(cache)
        self._lock = threading.Lock()

    def add(self, image: np.ndarray) -> None:
        """Take one image into the set.

        Args:
            image: uint8 ``(H, W, 3)``, RGB.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}; convert it first')
        digest = hash_array(image)
        record = np.empty(1, self._record)
        record['hash'] = int(digest[:16], 16)
        with self._lock:
            record['row'] = self._row(digest, image)
            os.pwrite(self._file.fileno(), record.tobytes(), self.count * self._record.itemsize)
            self.count += 1
            for known in ('_order', '_mean', '_covariance'):
                self.__dict__.pop(known, None)

    def _row(self, digest: str, image: np.ndarray) -> np.ndarray:
        row = None if self._cache is None else self._cache.get(digest, self.extractor.fingerprint)
        if row is None or row.shape != (self.extractor.size,):
            row = self.extractor.extract(image)
            if self._cache is not None:
                self._cache.put(digest, self.extractor.fingerprint, row)
        return row

    def rows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The features of some images, float32 ``(len(indices), size)``.

        Args:
            indices: Numbers from 0 to ``count - 1``, in the order of the images' hashes.
        """
        records = np.empty(len(indices), self._record)
        for place, index in enumerate(self._order[np.asarray(indices, int)]):
            records[place] = self._read(int(index), 1)[0]
        return records['row'].astype(np.float32, copy=False)

    def mean(self) -> np.ndarray:
        """The mean of the features, float64 ``(size,)``; NaN for no image."""
        return self._mean

    def covariance(self) -> np.ndarray:
        """The covariance ``sum (x - m)(x - m)^T / (count - 1)``, float64 ``(size, size)``; NaN for fewer than 2."""
        return self._covariance

    def close(self) -> None:
        """Give the files back."""
        self._file.close()
        if self._cache is not None:
            self._cache.close()

    def _read(self, start: int, count: int) -> np.ndarray:
        size = self._record.itemsize
        return np.frombuffer(os.pread(self._file.fileno(), count * size, start * size), self._record)

    def _blocks(self) -> Iterator[np.ndarray]:
        """All rows in their order, float64, some at a time."""
        for start in range(0, self.count, _BLOCK):
            yield self.rows(range(start, min(start + _BLOCK, self.count))).astype(np.float64)

    @cached_property
    def _order(self) -> np.ndarray:
        """The places in the file by the images' hashes."""
        starts = range(0, self.count, _BLOCK)
        hashes = [self._read(start, min(_BLOCK, self.count - start))['hash'] for start in starts]
        return np.argsort(np.concatenate(hashes), kind='stable') if hashes else np.empty(0, int)

    @cached_property
    def _mean(self) -> np.ndarray:
        if not self.count:
            return np.full(self.extractor.size, np.nan)
        return sum((block.sum(axis=0) for block in self._blocks()), np.zeros(self.extractor.size)) / self.count

    @cached_property
    def _covariance(self) -> np.ndarray:
        size = self.extractor.size
        if self.count < 2:
            return np.full((size, size), np.nan)
        # In a second pass, around the mean: the difference of two large sums would lose digits.
        total = np.zeros((size, size))
        for block in self._blocks():
            centred = block - self._mean
            total += centred.T @ centred
        return total / (self.count - 1)


def _temporary_file(folder: Path | None) -> IO[bytes]:
    """A file without a name, in a folder if it can be: the system's for temporary files may lie in memory."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
