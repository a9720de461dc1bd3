"""Which trial is taken."""

from __future__ import annotations

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.study.grid import trial_cells
from mea_plugin.study.reading import load_study
from mea_plugin.study.tuning import choose_trials, mean_fidelity

METHODS = {
    'baseline': {'trials': {'x': {}, 'y': {'length': 2}}},
    'other': {'trials': {'p': {}, 'q': {'length': 2}}},
}
TUNING = {'test_sets': [{'name': 'v', 'gt': 'embedded:query'}], 'seeds': [7, 8], 'budgets': [5]}


def record(values):
    return {'test_sets': {'v': {'fidelity': {'psnr_rgb': values}}}}


def test_the_best_mean_over_seeds_wins(study_file):
    study = load_study(study_file(methods=METHODS, tuning=TUNING))
    cells = trial_cells(study)
    assert [cell.seed for cell in cells] == [7] * 4 + [8] * 4
    values = {'x': {7: [30, 32], 8: [30, 30]}, 'y': {7: [40, 20], 8: [30, 31]}, 'p': {7: [30], 8: [30]}}
    records = {
        cell: record(values[cell.trial][cell.seed]) for cell in cells if cell.trial in values and cell.trial != 'q'
    }
    (metric,) = find_metrics(['psnr_rgb'])
    found = choose_trials(study, cells, records, metric)
    assert found['psnr', 'baseline'].trial == 'x'
    assert found['psnr', 'baseline'].means == {'x': 30.5, 'y': 30.25}
    assert found['psnr', 'other'].trial == 'p'
    assert found['psnr', 'other'].means == {'p': 30, 'q': None}  # q was not finished


def test_without_any_finished_trial_nothing_is_chosen(study_file):
    study = load_study(study_file(methods=METHODS, tuning=TUNING))
    (metric,) = find_metrics(['psnr_rgb'])
    assert choose_trials(study, trial_cells(study), {}, metric) == {}


def test_a_value_that_is_missing_is_no_zero():
    assert mean_fidelity(record([1, 3]), 'psnr_rgb') == 2
    assert mean_fidelity(record([1, None]), 'psnr_rgb') != mean_fidelity(record([1, None]), 'psnr_rgb')
