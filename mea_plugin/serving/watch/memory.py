"""The last queries of all customers in bounded memory, and which of them a new one repeats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes
from mea_plugin.serving.watch.fingerprints import THUMBNAIL, TOKENS, Fingerprint, distances, mixed

__all__ = ['Memory']

_NEAR = 10  # bits of 64 that the same image, compressed or a little changed, may differ by
_ALIKE = 4.0  # grey levels, root mean square, that its thumbnail may: smooth images have similar hashes
_SHARED = 6  # tokens that a part of an image shares with it at least
_WAYS = 4  # queries that are known per token; older ones are forgotten first
_FORMAT = 1


class Memory:
    """A ring of queries, and a table from tokens to them.

    Args:
        capacity: How many queries are remembered, 1 or more; about 1.1 KB each at 100,000.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        buckets = 1 << max(4, int(np.ceil(np.log2(capacity * TOKENS / 2))))
        self._count = 0
        self._hashes, self._work = np.zeros(capacity, np.uint64), np.zeros(capacity, np.uint64)
        self._thumbnails = np.zeros((capacity, THUMBNAIL), np.uint8)
        self._customers = np.full(capacity, -1, np.int64)
        self._tags = np.zeros((buckets, _WAYS), np.uint32)
        self._queries = np.full((buckets, _WAYS), -1, np.int64)

    def __len__(self) -> int:
        return min(self._count, self._capacity)

    def seen(self, customer: int, image: Fingerprint) -> bool:
        """Whether a customer has asked before about nearly this image, one that it is a part of, or a part of it."""
        known = slice(len(self))
        is_near = distances(self._hashes[known], image.whole, self._work[known]) <= _NEAR
        near = np.flatnonzero(is_near & (self._customers[known] == customer))
        differences = self._thumbnails[near].astype(np.float32) - image.thumbnail
        if len(near) and (differences**2).mean(axis=1).min() <= _ALIKE**2:
            return True
        buckets, tags = self._places(customer, image.parts)
        queries = self._queries[buckets]
        is_kept = queries >= max(0, self._count - self._capacity)
        matches = queries[(self._tags[buckets] == tags[:, None]) & is_kept]
        return bool(len(matches) and np.unique(matches, return_counts=True)[1].max() >= _SHARED)

    def add(self, customer: int, image: Fingerprint) -> None:
        """Remember a query; the oldest one is forgotten if need be."""
        place = self._count % self._capacity
        self._hashes[place], self._thumbnails[place], self._customers[place] = image.whole, image.thumbnail, customer
        buckets, tags = self._places(customer, image.parts)
        oldest = self._queries[buckets].argmin(axis=1)
        self._tags[buckets, oldest], self._queries[buckets, oldest] = tags, self._count
        self._count += 1

    def content(self) -> dict[str, np.ndarray]:
        """A copy of everything, for :meth:`write`."""
        numbers = {'format': _FORMAT, 'capacity': self._capacity, 'count': self._count}
        found = {name: np.asarray(value) for name, value in numbers.items()}
        return {**found, **{name: array.copy() for name, array in self._arrays().items()}}

    @staticmethod
    def write(path: Path, content: dict[str, np.ndarray]) -> None:
        """Write a copy to a file that appears whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **content)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, capacity: int) -> Memory:
        """Read a file of :meth:`write`.

        Raises:
            InputError: It is damaged, or of another capacity.
        """
        memory = cls(capacity)
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            if int(stored['format']) != _FORMAT:
                raise ValueError('another format')
            if int(stored['capacity']) != capacity:
                what = f'it is of {int(stored["capacity"])} queries, not {capacity}'
                raise InputError(what, where=path, do='Remove the file, or give it its capacity')
            for name, array in memory._arrays().items():
                if stored[name].shape != array.shape or stored[name].dtype != array.dtype:
                    raise ValueError(name)
                array[:] = stored[name]
            memory._count = int(stored['count'])
        except InputError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have many
            reason = type(error).__name__
            what = f'the memory of queries is damaged ({reason})'
            raise InputError(what, where=path, do='Remove the file, or set on_corrupt: empty') from None
        return memory

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            'hashes': self._hashes,
            'thumbnails': self._thumbnails,
            'customers': self._customers,
            'tags': self._tags,
            'queries': self._queries,
        }

    def _places(self, customer: int, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bucket and tag of each token; those of one customer have nothing to do with another's."""
        own = mixed(parts ^ mixed(np.array([customer], np.int64).view(np.uint64)))
        return (own % np.uint64(len(self._tags))).astype(np.int64), (own >> np.uint64(32)).astype(np.uint32)
