"""The block of cells that a mean over configurations is taken of."""

from __future__ import annotations

import itertools

import numpy as np

from mea_plugin.study.pooling import largest_block


def test_one_gap_costs_one_configuration_and_not_the_seeds_of_all():
    seeds = {name: [0, 1, 2] for name in 'abcdef'}
    assert largest_block(seeds) == (list('abcdef'), [0, 1, 2])
    assert largest_block({**seeds, 'c': [0]}) == (list('abdef'), [0, 1, 2])
    assert largest_block({**seeds, 'c': []}) == (list('abdef'), [0, 1, 2])


def test_seeds_that_few_have_are_given_up():
    assert largest_block({'a': [0, 1], 'b': [0], 'c': [0]}) == (['a', 'b', 'c'], [0])
    assert largest_block({'a': [0, 1], 'b': [0, 2], 'c': [0, 3]}) == (['a', 'b', 'c'], [0])


def test_among_equal_blocks_the_one_with_more_seeds():
    assert largest_block({'a': [0, 1], 'b': [0]}) == (['a'], [0, 1])
    assert largest_block({'a': [1], 'b': [0]}) == (['b'], [0])


def test_without_cells_there_is_none():
    assert largest_block({}) == ([], [])
    assert largest_block({'a': []}) == ([], [])


def test_no_block_without_a_gap_is_larger():
    rng = np.random.default_rng(0)
    for _ in range(50):
        seeds = {name: [seed for seed in range(4) if rng.random() < 0.7] for name in range(6)}
        names, block = largest_block(seeds)
        assert all(set(block) <= set(seeds[name]) for name in names)
        sizes = [
            size * sum(set(some) <= set(of) for of in seeds.values())
            for size in range(1, 5)
            for some in itertools.combinations(range(4), size)
        ]
        assert len(names) * len(block) == max(sizes)
