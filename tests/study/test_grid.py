"""Cells of a study: which, in which order, and with which options."""

from __future__ import annotations

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.study.grid import Cell, draw, study_cells, surrogate_section, trial_cells
from mea_plugin.study.reading import load_study


def test_seed_by_seed_every_point_of_the_grid(study_file):
    cells = study_cells(load_study(study_file()))
    assert len(cells) == len(set(cells)) == 2 * 2 * 2
    assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4
    assert cells[0].id == 'bicubic.psnr.photographs-2.baseline.s0'
    assert cells[0].axes == {
        'victim': 'bicubic',
        'surrogate': 'psnr',
        'queries': 'photographs',
        'budget': 2,
        'method': 'baseline',
        'seed': 0,
    }


def test_what_is_excluded_matches_every_axis_that_is_named(study_file):
    cells = study_cells(load_study(study_file(exclude=[{'budget': 2, 'method': ['penalty']}, {'seed': 1}])))
    assert [(cell.budget, cell.method) for cell in cells] == [(2, 'baseline'), (5, 'baseline'), (5, 'penalty')]
    with pytest.raises(InputError) as caught:
        study_cells(load_study(study_file(exclude=[{'victim': 'bicubic'}])))
    assert caught.value.where.endswith(': exclude')


def test_a_larger_budget_adds_to_a_smaller_one():
    names = [f'{index:03d}' for index in range(50)]
    small, large = draw(names, 5, seed=3), draw(reversed(names), 20, seed=3)
    assert len(small) == 5
    assert small == sorted(small)
    assert set(small) < set(large)
    assert draw(names, 5, seed=4) != small
    assert draw(names, 50, seed=1) == names


def test_methods_are_laid_over_each_other(study_file):
    methods = {
        'first': {
            'override': {'train': {'a': 1}},
            'surrogates': {'psnr': {'train': {'b': 2}}},
            'length': 2,
            'trials': {'x': {'override': {'train': {'c': 3}}}, 'y': {'length': 3}},
        },
        'second': {'base': 'first', 'override': {'train': {'d': 4}}, 'length': 0.5},
    }
    tuning = {'test_sets': [{'name': 'v', 'gt': 'embedded:query'}], 'seeds': [7], 'budgets': [5]}
    study = load_study(study_file(methods=methods, tuning=tuning))
    cell = Cell('bicubic', 'psnr', 'photographs', 5, 'second', 1)
    section = surrogate_section(study, cell, 'x')
    assert section['override'] == [{'train': {'a': 1}}, {'train': {'b': 2}}, {'train': {'c': 3}}, {'train': {'d': 4}}]
    assert section['length'] == pytest.approx(0.004 * 2 * 0.5)
    assert section['seed'] == 1
    assert surrogate_section(study, cell, 'y')['length'] == pytest.approx(0.004 * 2 * 3 * 0.5)
    trials = trial_cells(study)
    assert [(one.method, one.trial, one.seed, one.budget) for one in trials] == [
        ('first', 'x', 7, 5),
        ('first', 'y', 7, 5),
    ]
    assert trials[0].id == 'bicubic.psnr.photographs-5.first.s7.trial-x'
    assert surrogate_section(study, trials[1])['length'] == pytest.approx(0.004 * 2 * 3)


def test_a_method_that_cannot_be_tuned_is_refused(study_file):
    methods = {'baseline': {'trials': {'x': {}, 'y': {'length': 2}}}}
    tuning = {'test_sets': [{'name': 'v', 'gt': 'embedded:query'}], 'seeds': [7], 'budgets': [5]}
    study = load_study(study_file(methods=methods, tuning=tuning, exclude=[{'budget': 5}]))
    with pytest.raises(InputError) as caught:
        trial_cells(study)
    assert caught.value.where.endswith(': tuning')
    assert 'photographs-2.baseline.s0' in caught.value.what
