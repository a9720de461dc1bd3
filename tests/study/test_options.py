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
    ('changes', 'text'),
    [
        ({'budget': [5]}, "unknown option 'budget'"),
        ({'budgets': []}, 'budgets is'),
        ({'budgets': [5, 5]}, 'each once'),
        ({'budgets': [0]}, 'budgets is 0'),
        ({'seeds': [1.5]}, 'seeds is 1.5'),
        ({'reuse': ['no_such_folder']}, 'no_such_folder has no cells'),
        ({'victims': {'a.b': {'victim': {'type': 'embedded'}}}}, 'has a dot'),
        ({'victims': {'a': {'type': 'embedded'}}}, "unknown option 'type'"),
        ({'queries': {'a': {'images': 3}}}, 'images is 3'),
        ({'queries': {'a': {'images': 'embedded:query', 'pick': 'busy'}}}, 'busiest'),
        ({'queries': {'a': {'images': 'embedded:query', 'share': 0.5}}}, 'share goes with pick'),
        ({'queries': {'a': {'images': 'embedded:query', 'pick': 'busiest', 'share': 2}}}, 'share is 2'),
        ({'methods': {'a': {'length': 0}}}, 'length is 0'),
        ({'methods': {'a': {'surrogates': {'other': {}}}}}, "no surrogate 'other'"),
        ({'methods': {'a': {'base': 'b'}, 'b': {'base': 'a'}}}, 'based on itself'),
        ({'methods': {'a': {'base': 'c'}}}, "no method 'c'"),
        ({'methods': {'a': {'trials': TRIALS}}}, 'no tuning'),
        ({'comparisons': [{'method': 'penalty', 'against': 'other'}]}, "no method 'other'"),
        ({'comparisons': [{'method': 'penalty', 'against': 'baseline', 'at': 'noon'}]}, "at is 'noon'"),
        ({'exclude': [{'budgets': 2}]}, "unknown option 'budgets'"),
        ({'exclude': [{'budget': 3}]}, 'no budget 3'),
        ({'metrics': ['niqe']}, 'no value per image'),
        ({'metrics': ['psnr']}, 'psnr'),
        ({'test_sets': None}, "'test_sets' is missing"),
    ],
)
def test_bad_options_are_one_line(study_file, changes, text):
    file = study_file(**changes)
    with pytest.raises(InputError) as caught:
        load_study(file)
    assert text in str(caught.value)
    assert str(file) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_methods_that_are_compared_have_equally_many_trials(study_file):
    tuning = {'test_sets': [{'name': 'v', 'gt': 'embedded:query'}], 'seeds': [100]}
    methods = {'baseline': {'trials': TRIALS}, 'other': {'trials': {'a': {}}}, 'longer': {'base': 'baseline'}}
    comparisons = [{'method': 'longer', 'against': 'baseline'}]
    load_study(study_file(methods=methods, tuning=tuning, comparisons=comparisons))
    with pytest.raises(InputError, match='other has 1 trials, baseline has 2'):
        load_study(study_file(methods=methods, tuning=tuning, comparisons=[{'method': 'other', 'against': 'baseline'}]))
    with pytest.raises(InputError, match='seed 1 is one of the study'):
        load_study(study_file(methods=methods, tuning={**tuning, 'seeds': [1]}, comparisons=comparisons))
