"""The order in which training sees its samples: endless, shared out over ranks, and resumable at any place."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mea_plugin.core.errors import InputError
from mea_plugin.training.random_state import preserved

__all__ = ['SampleStream', 'SeededDataset', 'Ticket', 'batches_of', 'check_share', 'shut_down']

Ticket = tuple[int, int]
"""A sample's position in the joint stream of all ranks, and its index in the data set."""


class SampleStream(Sampler[list[Ticket]]):
    """A batch sampler over the data set again and again, each time in another order, that can start anywhere at once.

    The stream is one for all ranks: position ``p`` is sample ``order_e[p mod n]`` with ``e = p div n`` and ``order_e``
    a permutation drawn from ``(seed, e)``. Batch ``t`` of rank ``r`` of ``W``, with batches of ``B``, is the positions
    ``start + (t W + r) B`` to ``start + (t W + r + 1) B - 1``. So the ranks see different samples, and together those
    of one process with batches of ``W B``.

    Args:
        dataset: What is sampled from; its length is all that is used.
        batch_size: Samples per batch and rank.
        seed: Decides the orders; the same on all ranks.
        rank: Number of this process.
        world: Number of processes.
        shuffle: Whether to permute at all.
        start: Samples that all ranks together have seen already.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        start: int = 0,
    ) -> None:
        self._count = len(dataset)
        self.batch_size, self.seed, self.rank, self.world, self.shuffle = batch_size, seed, rank, world, shuffle
        self.start = start
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Iterator[list[Ticket]]:
        position = self.start + self.rank * self.batch_size
        while True:
            yield [(place, self._index(place)) for place in range(position, position + self.batch_size)]
            position += self.world * self.batch_size

    def _index(self, position: int) -> int:
        epoch, offset = divmod(position, self._count)
        if not self.shuffle:
            return offset
        if epoch != self._epoch:
            words = np.random.SeedSequence((self.seed, epoch)).generate_state(2)
            generator = torch.Generator().manual_seed(int(words[0]) << 32 | int(words[1]))
            self._epoch, self._order = epoch, torch.randperm(self._count, generator=generator)
        return int(self._order[offset])


def check_share(dataset: Sized, world: int, where: str) -> None:
    """Refuse a run of which some process would see only images that others see at the same time.

    Raises:
        InputError: There are more processes than images.
    """
    if len(dataset) < world:
        raise InputError(
            f'{world} processes would share {len(dataset)} images',
            where=where,
            do='Start fewer processes, or give more images',
        )


@contextmanager
def batches_of(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """A loader's batches; its worker processes are gone when the body is left, however that comes."""
    iterator = iter(loader)
    try:
        yield iterator
    finally:
        shut_down(iterator)


def shut_down(iterator: Any) -> None:
    """End a loader's worker processes, if it has any.

    Left to itself, an iterator lives as long as the traceback of the error that ended the training.
    """
    end = getattr(iterator, '_shutdown_workers', None)  # there is no public name for it
    if end is not None:
        end()


class SeededDataset(Dataset[Any]):
    """A data set whose samples' random numbers (crops, flips, partners) depend on seed and position, and nothing else.

    The global generators of Python, numpy and torch are seeded for each sample; outside a worker process they are put
    back. A loader over it and a :class:`SampleStream` gives the same batches with any number of workers, and after a
    resume. Other attributes are those of the data set.

    Args:
        dataset: Any map-style data set.
        seed: Decides the random numbers; the same on all ranks.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, ticket: Ticket) -> Any:
        position, index = ticket
        if get_worker_info() is not None:
            self._seed(position)
            return self.dataset[index]
        with preserved():
            self._seed(position)
            return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':  # pickling looks before there is anything
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def _seed(self, position: int) -> None:
        words = np.random.SeedSequence((self.seed, position)).generate_state(4)
        random.seed(int(words[0]) << 32 | int(words[1]))
        np.random.seed(words)  # noqa: NPY002 - the toolboxes' transforms draw from the global generators
        # Not torch.manual_seed, which would remember a seed for the GPUs with every call.
        torch.default_generator.manual_seed(int(words[2]) << 31 | int(words[3]))
