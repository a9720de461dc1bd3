"""The training data's loader as the config asks for it, over a stream of samples that can start anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader

from mea_plugin.errors import InputError
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.stopping import ignore_signals
from mea_plugin.training.stream import SampleStream, SeededDataset

__all__ = ['SAMPLERS', 'check_source', 'stream_loader', 'without_signals']

SAMPLERS = (InfiniteSampler, DefaultSampler)
"""MMEngine's samplers, in whose place the stream comes."""


class _Stream(SampleStream):
    """The stream, with what MMEngine's hooks look for in a batch sampler."""

    sampler: Any = None  # DistSamplerSeedHook would give it an epoch

    def __init__(self, *args: Any, length: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._length = length

    def __len__(self) -> int:
        """Batches that MMEngine calls an epoch, for its logs."""
        return self._length


def stream_loader(loader: DataLoader[Any], ranks: Ranks, *, seed: int, start: int) -> DataLoader[Any]:
    """A loader over the same data with the same options, whose batches depend on the seed and their place alone.

    Its batches are those of a :class:`~mea_plugin.training.stream.SampleStream`, shuffled if the config's sampler
    shuffles. Making its iterator draws nothing from torch's global generator, and its worker processes ignore signals.

    Args:
        loader: As MMEngine builds it, with one of its samplers.
        ranks: Who shares the data.
        seed: The run's; the same on all ranks.
        start: Samples that all ranks together have seen.

    Raises:
        InputError: Another kind of sampler or data set, or more processes than images.
    """
    check_source(loader)
    dataset: Any = loader.dataset
    if len(dataset) < ranks.world:
        raise InputError(
            f'{ranks.world} processes share {len(dataset)} images',
            where='train_dataloader.dataset',
            do='Start fewer processes, or give more images',
        )
    stream = _Stream(
        dataset,
        loader.batch_size or 1,
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
        batch_sampler=stream,
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


def check_source(loader: DataLoader[Any]) -> None:
    """Refuse what a stream cannot stand in for.

    Raises:
        InputError: A sampler that is not MMEngine's, a batch sampler, or data without places.
    """
    if type(loader.sampler) not in SAMPLERS or loader.batch_size is None:
        raise InputError(
            f'the order of {type(loader.sampler).__name__} cannot be resumed',
            where='train_dataloader.sampler',
            do="Use dict(type='InfiniteSampler', shuffle=True), and no batch_sampler",
        )


def without_signals(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let a loader's worker processes ignore SIGINT and SIGTERM; it is given back."""
    loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)
    return loader


def _start_worker(then: Callable[[int], None] | None, number: int) -> None:
    ignore_signals()
    if then is not None:
        then(number)
