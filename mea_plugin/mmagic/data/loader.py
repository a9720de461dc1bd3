"""The training data's loader as the config asks for it, over a stream of samples that can start anywhere."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, IterableDataset, Sampler

from mea_plugin.core.errors import InputError
from mea_plugin.training.random_state import preserved
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.stopping import ignore_signals
from mea_plugin.training.stream import SampleStream, SeededDataset, Ticket, check_share

__all__ = ['stream_loader', 'without_signals']

_REPLACED = (InfiniteSampler, DefaultSampler)


class _Stream(SampleStream):
    """The stream, with what MMEngine's hooks look for in a batch sampler."""

    sampler: Any = None  # DistSamplerSeedHook would give it an epoch

    def __init__(self, *args: Any, length: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._length = length

    def __len__(self) -> int:
        """Batches that MMEngine calls an epoch, for its logs."""
        return self._length


class _Replay(Sampler[list[Ticket]]):
    """Another sampler's batches, again and again, without the first so many: they are counted, and not loaded.

    What it draws from global generators depends on the seed and the batch's number alone.
    """

    sampler: Any = None

    def __init__(self, loader: DataLoader[Any], ranks: Ranks, *, seed: int, skip: int) -> None:
        self._batches: Any = loader.batch_sampler
        self._sampler: Any = loader.sampler if loader.batch_size else getattr(self._batches, 'sampler', None)
        self._ranks, self._seed, self._skip = ranks, seed, skip

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Ticket]]:
        for number, batch in enumerate(self._all()):
            if number >= self._skip:
                place = (number * self._ranks.world + self._ranks.rank) << 20
                yield [(place + offset, index) for offset, index in enumerate(batch)]

    def _all(self) -> Iterator[list[int]]:
        number = 0
        for epoch in itertools.count():
            if hasattr(self._sampler, 'set_epoch'):
                self._sampler.set_epoch(epoch)
            with self._seeded(number):
                batches = iter(self._batches)
            first = number
            while True:
                with self._seeded(number):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch
                number += 1
            if number == first:
                return

    @contextmanager
    def _seeded(self, number: int) -> Iterator[None]:
        words = np.random.SeedSequence((self._seed, number)).generate_state(2)
        with preserved():
            random.seed(int(words[0]))
            np.random.seed(words)  # noqa: NPY002 - the one that samplers draw from
            torch.default_generator.manual_seed(int(words[1]))
            yield


def stream_loader(loader: DataLoader[Any], ranks: Ranks, *, seed: int, start: int, skip: int) -> DataLoader[Any]:
    """A loader over the same data with the same options, whose batches depend on the seed and their place alone.

    In place of MMEngine's samplers it has a :class:`~mea_plugin.training.stream.SampleStream`, shuffled if they
    shuffle, which starts at once anywhere. Another sampler, or batch sampler, is kept, and its first batches are
    counted without being loaded. Making the loader's iterator draws nothing from torch's global generator, and its
    worker processes leave signals to their parent.

    Args:
        loader: As MMEngine builds it.
        ranks: Who shares the data.
        seed: The run's; the same on all ranks.
        start: Samples that all ranks together have seen.
        skip: Batches that each rank has seen.

    Raises:
        InputError: Data without places (an ``IterableDataset``), or more processes than images.
    """
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        raise InputError(
            'the place in an IterableDataset cannot be found again',
            where='train_dataloader.dataset',
            do='Use a data set with an index',
        )
    check_share(dataset, ranks.world, 'train_dataloader.dataset')
    batches: Sampler[list[Ticket]] = _Replay(loader, ranks, seed=seed, skip=skip)
    if type(loader.sampler) in _REPLACED and loader.batch_size:
        batches = _Stream(
            dataset,
            loader.batch_size,
            seed=seed,
            rank=ranks.rank,
            world=ranks.world,
            shuffle=bool(getattr(loader.sampler, 'shuffle', False)),
            start=start,
            length=len(loader),
        )
    options: dict[str, Any] = {}
    if getattr(loader, 'pin_memory_device', ''):  # asking for none is a warning in newer versions of torch
        options['pin_memory_device'] = loader.pin_memory_device
    return DataLoader(
        SeededDataset(dataset, seed),
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator().manual_seed(seed),
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
        **options,
    )


def without_signals(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let a loader's worker processes leave signals to their parent; it is given back."""
    loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)
    return loader


def _start_worker(then: Callable[[int], None] | None, number: int) -> None:
    ignore_signals()
    if then is not None:
        then(number)
