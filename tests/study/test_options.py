"""A study's option file: what it means, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.study.data_root import place_data
from mea_plugin.study.reading import load_study

TRIALS = {'a': {'length': 1}, 'b': {'length': 2}}


def test_without_comparisons_every_method_is_compared_with_the_first(study_file):
    study = load_study(study_file(methods={'plain': None, 'one': {'length': 2}, 'two': {}}))
    assert [(one.method, one.against) for one in study.comparisons] == [('one', 'plain'), ('two', 'plain')]


def test_results_go_below_another_output(study_file, tmp_path):
    assert load_study(study_file(results=str(tmp_path / 'docs'))).results == tmp_path / 'docs'
    moved = load_study(study_file(results=str(tmp_path / 'docs')), output=tmp_path / 'other')
    assert (moved.output, moved.results) == (tmp_path / 'other', tmp_path / 'other' / 'results')


def test_a_folder_stands_for_datasets():
    options = {
        'queries': {'a': {'images': ['datasets/x/*.png', 'mine/y'], 'shrink': 4}},
        'sets': [{'gt': 'datasets/z'}],
    }
    placed = place_data(options, Path('/data'))
    assert placed['queries']['a'] == {'images': ['/data/x/*.png', 'mine/y'], 'shrink': 4}
    assert placed['sets'] == [{'gt': '/data/z'}]
    assert options['sets'] == [{'gt': 'datasets/z'}]


@pytest.mark.parametrize(
    ('changes', 'where', 'quoted'),
    [
        ({'budget': [5]}, '', "'budget'"),
        ({'budgets': []}, 'budgets', '[]'),
        ({'budgets': 5}, 'budgets', '5'),
        ({'budgets': [5, 5]}, 'budgets', '[5, 5]'),
        ({'budgets': [0]}, 'budgets[0]', '0'),
        ({'seeds': [1.5]}, 'seeds[0]', '1.5'),
        ({'reuse': ['no_such_folder']}, 'reuse[0]', 'no_such_folder'),
        ({'victims': {}}, 'victims', '{}'),
        ({'victims': {'a.b': {'victim': {'type': 'embedded'}}}}, 'victims', "'a.b'"),
        ({'victims': {'a': {'type': 'embedded'}}}, 'victims.a', "'type'"),
        ({'victims': {'a': {'victim': {}}}}, 'victims.a.victim', 'empty'),
        (
            {'victims': {'a': {'victim': {'type': 'embedded'}, 'trained_on': {'images': 'x', 'pick': 'busiest'}}}},
            'victims.a.trained_on',
            "'pick'",
        ),
        ({'queries': {'a': {'images': {}}}}, 'queries.a.images', '{}'),
        ({'queries': {'a': {'images': 'embedded:query', 'pick': 'busy'}}}, 'queries.a.pick', "'busy'"),
        ({'queries': {'a': {'images': 'embedded:query', 'share': 0.5}}}, 'queries.a', 'share'),
        ({'queries': {'a': {'images': 'embedded:query', 'pick': 'busiest', 'share': 2}}}, 'queries.a.share', '2'),
        ({'surrogates': {'a': {'opt': 'x.yml', 'lenght': 2}}}, 'surrogates.a', "'lenght'"),
        ({'methods': {'a': {'length': 0}}}, 'methods.a.length', '0'),
        ({'methods': {'a': {'surrogates': {'other': {}}}}}, 'methods.a.surrogates', "'other'"),
        ({'methods': {'a': {'base': 'b'}, 'b': {'base': 'a'}}}, 'methods.a.base', 'based on itself'),
        ({'methods': {'a': {'base': 'c'}}}, 'methods.a.base', "'c'"),
        ({'methods': {'a': {}, 'b': {'base': 'a', 'trials': TRIALS}}}, 'methods.b', 'base'),
        ({'methods': {'a': {'trials': {'x': {'base': 'a'}}}}}, 'methods.a.trials.x', "'base'"),
        ({'methods': {'a': {'trials': TRIALS}}}, '', 'no tuning'),
        ({'comparisons': [{'method': 'penalty', 'against': 'other'}]}, 'comparisons[0].against', "'other'"),
        (
            {'comparisons': [{'method': 'penalty', 'against': 'baseline', 'at': 'noon'}]},
            'comparisons[0].at',
            "'noon'",
        ),
        ({'exclude': [{'budgets': 2}]}, 'exclude[0]', "'budgets'"),
        ({'exclude': [{'budget': 3}]}, 'exclude[0].budget', '3'),
        ({'tuning': {'test_sets': [{'name': 'v', 'gt': 'x'}], 'seeds': [7], 'budgets': [3]}}, 'tuning.budgets', '3'),
        ({'metrics': ['niqe']}, 'metrics', 'niqe'),
        ({'metrics': ['psnr']}, 'metrics', "'psnr'"),
        ({'test_sets': None}, '', "'test_sets'"),
        ({'test_sets': [{'name': 'a'}]}, 'test_sets[0]', 'a'),
    ],
)
def test_bad_options_are_named_with_their_place(study_file, changes, where, quoted):
    file = study_file(**changes)
    with pytest.raises(InputError) as caught:
        load_study(file)
    assert caught.value.where == (f'{file}: {where}' if where else str(file))
    assert quoted in caught.value.what
    assert '\n' not in str(caught.value)


def test_methods_that_are_compared_have_equally_many_trials(study_file):
    tuning = {'test_sets': [{'name': 'v', 'gt': 'embedded:query'}], 'seeds': [100]}
    methods = {'baseline': {'trials': TRIALS}, 'other': {'trials': {'a': {}}}, 'longer': {'base': 'baseline'}}
    comparisons = [{'method': 'longer', 'against': 'baseline'}]
    load_study(study_file(methods=methods, tuning=tuning, comparisons=comparisons))
    unequal = [{'method': 'other', 'against': 'baseline'}]
    with pytest.raises(InputError) as caught:
        load_study(study_file(methods=methods, tuning=tuning, comparisons=unequal))
    assert caught.value.where.endswith(': comparisons, other against baseline')
    with pytest.raises(InputError) as caught:
        load_study(study_file(methods=methods, tuning={**tuning, 'seeds': [1]}, comparisons=comparisons))
    assert caught.value.where.endswith(': tuning.seeds')
