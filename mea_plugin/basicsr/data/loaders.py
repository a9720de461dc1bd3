"""Loaders for BasicSR's data sets: endless and exactly resumable for training, as they are for validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from torch.utils.data import DataLoader

from mea_plugin.training.ranks import Ranks
from mea_plugin.training.stopping import ignore_signals
from mea_plugin.training.stream import SampleStream, SeededDataset, check_share

__all__ = ['train_loader', 'validation_loaders']


def train_loader(opt: Mapping[str, Any], ranks: Ranks, *, seen: int) -> tuple[DataLoader[Any], int]:
    """The loader of the training set; it never ends.

    BasicSR's own starts anew with each epoch and cannot start within one, and what its data sets draw at random depends
    on what their worker processes did before.

    Args:
        opt: All options.
        ranks: Who shares the samples.
        seen: Samples that all ranks together have trained on already.

    Returns:
        The loader, and the iterations per epoch, by BasicSR's count.

    Raises:
        InputError: There are more ranks than images.
    """
    options = opt['datasets']['train']
    dataset = _build(options)
    check_share(dataset, ranks.world, 'datasets.train')
    devices = 1 if opt['dist'] else max(opt['num_gpu'], 1)  # DataParallel cuts one batch into pieces
    batch, workers = (devices * int(options[key]) for key in ('batch_size_per_gpu', 'num_worker_per_gpu'))
    if options.get('prefetch_mode') == 'cpu':  # BasicSR's thread would draw from the training's generators
        workers = max(workers, 1)
    seed = int(opt['manual_seed'])
    seeded = SeededDataset(dataset, seed)
    loader: DataLoader[Any] = DataLoader(
        seeded,
        batch_sampler=SampleStream(seeded, batch, seed=seed, rank=ranks.rank, world=ranks.world, start=seen),
        num_workers=workers,
        pin_memory=bool(options.get('pin_memory', False)),
        worker_init_fn=ignore_signals,
        generator=torch.Generator().manual_seed(seed),  # else its making would move the global one
    )
    samples = len(dataset) * options.get('dataset_enlarge_ratio', 1)
    return loader, math.ceil(samples / (batch * ranks.world))


def validation_loaders(opt: Mapping[str, Any]) -> list[DataLoader[Any]]:
    """BasicSR's own loaders of the validation sets, in the order of the option file."""
    loaders = []
    for phase, options in opt['datasets'].items():
        if phase.split('_')[0] == 'val':
            dataset = _build(options)
            loaders.append(build_dataloader(dataset, options, num_gpu=opt['num_gpu'], dist=opt['dist'], sampler=None))
    return loaders


def _build(options: Mapping[str, Any]) -> Any:
    """A data set with its images in the order of their names; BasicSR takes them as the file system lists them.

    That differs between machines, and after a copy: ranks would share samples, and a resumed run would see others.
    """
    dataset = build_dataset(options)
    paths = getattr(dataset, 'paths', None)
    if isinstance(paths, list):
        paths.sort(key=str)
    return dataset
