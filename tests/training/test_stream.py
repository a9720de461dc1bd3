"""The endless stream of samples: shared out over ranks, the same with any number of workers, resumable anywhere."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mea_plugin.training.stream import SampleStream, SeededDataset


class Draws(Dataset):
    """Samples that show their index and what they draw from each generator."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.name = 'draws'

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        drawn = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
        return torch.tensor([index, *drawn], dtype=torch.float64)


def indices(count, batches, **options):
    stream = SampleStream(range(count), seed=5, **options)
    return [[index for _, index in batch] for batch in islice(stream, batches)]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 40))
def test_ranks_share_what_one_process_sees(count, size, world, start):
    alone = indices(count, 6, batch_size=world * size, start=start)
    ranks = [indices(count, 6, batch_size=size, rank=rank, world=world, start=start) for rank in range(world)]
    assert alone == [[index for rank in ranks for index in rank[step]] for step in range(6)]


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 30))
def test_a_later_start_is_the_same_stream(count, size, skipped):
    whole = indices(count, skipped + 3, batch_size=size)
    assert indices(count, 3, batch_size=size, start=skipped * size) == whole[skipped:]


def test_every_epoch_is_another_permutation():
    epochs = indices(50, 3, batch_size=50)
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert indices(50, 1, batch_size=50, shuffle=False) == [list(range(50))]
    other = [index for _, index in next(iter(SampleStream(range(50), 50, seed=6)))]
    assert other != epochs[0]


def loaded(batches, *, start=0, workers=0, count=7):
    dataset = SeededDataset(Draws(count), seed=3)
    stream = SampleStream(dataset, 2, seed=3, start=start)
    loader = DataLoader(dataset, batch_sampler=stream, num_workers=workers, generator=torch.Generator())
    return torch.stack(list(islice(loader, batches)))


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_do_not_change_the_samples(workers):
    assert torch.equal(loaded(9), loaded(9, workers=workers))


def test_samples_continue_where_the_stream_starts():
    assert torch.equal(loaded(9)[4:], loaded(5, start=8))


def test_draws_differ_between_positions_and_generators():
    drawn = loaded(9)[..., 1:].flatten()
    assert len(set(drawn.tolist())) == drawn.numel()


def test_the_training_s_own_generators_do_not_move():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    loaded(3)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected  # noqa: NPY002


def test_other_attributes_are_the_data_set_s():
    dataset = SeededDataset(Draws(3), seed=0)
    assert dataset.name == 'draws'
    assert len(dataset) == 3
    with pytest.raises(AttributeError):
        dataset.missing  # noqa: B018
