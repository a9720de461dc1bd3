"""Statistics of a study on cells whose differences are planted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mea_plugin.evaluation.statistics import paired_difference
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.study.collect import compare, queries_needed, seconds_of
from mea_plugin.study.finished import Results, values_of
from mea_plugin.study.grid import Cell
from mea_plugin.study.options import Comparison

METRICS = find_metrics(['psnr_rgb', 'ssim_rgb'])
COMPARISON = Comparison(name='headline', method='both', against='baseline')


def record(values, seconds=10.0):
    half = len(values) // 2
    sets = {'a': values[:half], 'b': values[half:]}
    return {
        'test_sets': {
            name: {
                'images': [f'{name}{index}' for index in range(len(of))],
                'fidelity': {'psnr_rgb': list(of), 'ssim_rgb': [0.5 + value / 1000 for value in of]},
            }
            for name, of in sets.items()
        },
        'train': {'iterations': 10, 'seconds': seconds},
    }


def grid(effect, *, seeds=(0, 1, 2), images=16, methods=('baseline', 'both'), noise=0.05, budgets=(5, 20, 80)):
    """Cells in which ``both`` is better by ``effect(victim, budget)``; images and seeds matter far more than that."""
    rng = np.random.default_rng(0)
    places = rng.normal(0, 4, images)
    records, wanted = {}, []
    for victim, budget, seed in itertools.product(('v', 'w'), budgets, seeds):
        luck = rng.normal(0, 1)
        for method in methods:
            cell = Cell(victim, 'psnr', 'nature', budget, method, seed)
            wanted.append(cell)
            gain = effect(victim, budget) if method != 'baseline' else 0
            values = 30 + math.log(budget) + places + luck + gain + rng.normal(0, noise, images)
            records[cell] = record(values, seconds=20.0 if method != 'baseline' else 10.0)
    return Results(records, wanted)


def test_pairs_of_seeds_and_images_find_a_small_effect():
    effects = {'v': 0.3, 'w': -0.3}
    results = grid(lambda victim, budget: effects[victim] if budget > 5 else 0.0)
    (found,) = compare(results, [COMPARISON], METRICS)
    assert (found['won'], found['lost'], found['undecided'], found['missing']) == (2, 2, 2, 0)
    for one in found['configurations']:
        planted = effects[one['victim']] if one['budget'] > 5 else 0
        assert one['metrics']['psnr_rgb']['mean'] == pytest.approx(planted, abs=0.05)
        low, high = one['metrics']['psnr_rgb']['interval']
        assert low <= one['metrics']['psnr_rgb']['mean'] <= high
        assert one['seconds'] == 2
    pooled = found['pooled']['all']
    assert pooled['configurations'] == 6
    assert pooled['metrics']['psnr_rgb']['mean'] == pytest.approx(0, abs=0.03)
    assert pooled['metrics']['psnr_rgb']['verdict'] == 'undecided'


def test_the_interval_is_that_of_paired_differences():
    results = grid(lambda *_: 0.2)
    (found,) = compare(results, [COMPARISON], METRICS)
    configuration = ('v', 'psnr', 'nature', 5, '')
    first, second = (results.matrix(configuration, method, 'psnr_rgb', (0, 1, 2)) for method in ('both', 'baseline'))
    by_hand = first - second
    entry = found['configurations'][0]['metrics']['psnr_rgb']
    assert entry['mean'] == pytest.approx(by_hand.mean(), abs=1e-4)
    assert entry['per_seed'] == pytest.approx(by_hand.mean(axis=1), abs=1e-4)
    # The seeds' luck is in both methods: without pairs it would be in the interval.
    unpaired = paired_difference(first, second)
    assert entry['interval'][1] - entry['interval'][0] < 0.5 * (unpaired.high - unpaired.low)


def test_holm_corrects_over_configurations_and_comparisons():
    results = grid(lambda *_: 0.05, noise=0.15, methods=('baseline', 'both', 'third'), budgets=(5, 10, 20, 40, 80))
    alone = compare(results, [COMPARISON], METRICS)
    more = compare(results, [COMPARISON, Comparison(name='third', method='third', against='baseline')], METRICS)
    pairs = [
        (one['metrics']['psnr_rgb'], other['metrics']['psnr_rgb'])
        for one, other in zip(alone[0]['configurations'], more[0]['configurations'], strict=True)
    ]
    assert all(one['p'] == other['p'] for one, other in pairs)
    assert all(one['p'] <= one['p_holm'] <= other['p_holm'] for one, other in pairs)
    every = sorted(
        (one['metrics']['psnr_rgb'] for of in more for one in of['configurations']), key=lambda one: one['p']
    )
    corrected = np.maximum.accumulate([min(1, one['p'] * (20 - rank)) for rank, one in enumerate(every)])
    assert [one['p_holm'] for one in every] == pytest.approx(corrected, abs=1e-4)  # kept with four digits
    assert all(entry['verdict'] == 'undecided' or entry['p_holm'] <= 0.05 for pair in pairs for entry in pair)


def test_without_an_effect_little_is_decided():
    decided = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        results = grid(lambda *_: 0.0)
        for one in results.records.values():
            for of in one['test_sets'].values():
                of['fidelity']['psnr_rgb'] = list(np.asarray(of['fidelity']['psnr_rgb']) + rng.normal(0, 0.5))
        (found,) = compare(results, [COMPARISON], METRICS)
        decided += found['won'] + found['lost']
    assert decided <= 3  # of 60


def test_a_lost_cell_leaves_its_seed_out_and_is_counted():
    results = grid(lambda *_: 0.5)
    records = {cell: one for cell, one in results.records.items() if not (cell.seed == 2 and cell.budget == 5)}
    records = {cell: one for cell, one in records.items() if cell.budget != 20 or cell.method != 'both'}
    (found,) = compare(Results(records, results.wanted), [COMPARISON], METRICS)
    assert found['missing'] == 2
    seeds = [entry['metrics']['psnr_rgb']['seeds'] for entry in found['configurations'] if entry['metrics']]
    assert sorted(seeds) == [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert found['pooled']['all']['seeds'] == [0, 1]
    assert found['pooled']['all']['configurations'] == 4


def lucky(keep, rng, victims=6):
    """Methods that are alike, but for the luck of each training, which moves all images together."""
    records, wanted = {}, []
    for victim, seed in itertools.product(range(victims), (0, 1, 2)):
        for method in ('baseline', 'both'):
            cell = Cell(f'v{victim}', 'psnr', 'nature', 5, method, seed)
            wanted.append(cell)
            if keep(victim, seed):
                records[cell] = record(30 + rng.normal(0, 0.4) + rng.normal(0, 0.1, 16))
    return Results(records, wanted)


@pytest.mark.parametrize('keep', [lambda victim, seed: seed == 0, lambda victim, seed: victim > 0 or seed == 0])
def test_the_luck_of_one_seed_is_no_verdict(keep):
    decided = pooled = 0
    for seed in range(10):
        (found,) = compare(lucky(keep, np.random.default_rng(seed)), [COMPARISON], METRICS[:1])
        decided += found['won'] + found['lost']
        pooled += found['pooled']['all']['metrics']['psnr_rgb']['verdict'] != 'undecided'
        assert found['configurations'][0]['metrics']['psnr_rgb']['interval'] is None
    assert decided <= 4  # of 60
    assert pooled <= 2  # of 10


def test_a_configuration_that_lacks_seeds_is_left_out_of_the_mean_and_counted():
    results = lucky(lambda victim, seed: victim > 0 or seed == 0, np.random.default_rng(0))
    (found,) = compare(results, [COMPARISON], METRICS[:1])
    assert (found['missing'], found['incomplete']) == (0, 1)
    pooled = found['pooled']['all']
    assert (pooled['configurations'], pooled['wanted'], pooled['seeds']) == (5, 6, [0, 1, 2])
    means = [one['metrics']['psnr_rgb']['mean'] for one in found['configurations'][1:]]
    assert pooled['metrics']['psnr_rgb']['mean'] == pytest.approx(np.mean(means), abs=2e-4)
    assert {one['seeds_wanted'] for one in found['configurations']} == {3}


def test_configurations_without_a_common_seed_still_have_a_mean():
    results = lucky(lambda victim, seed: (seed == 0) == (victim == 0), np.random.default_rng(0))
    (found,) = compare(results, [COMPARISON], METRICS[:1])
    assert (found['pooled']['all']['configurations'], found['pooled']['all']['seeds']) == (5, [1, 2])


def test_queries_needed_by_the_equation():
    # Both gains log(4) dB, and fidelity is log(budget): a quarter of the queries does.
    results = grid(lambda *_: math.log(4), noise=0, budgets=(5, 20, 80))
    rows = {(row['victim'], row['budget']): row for row in queries_needed(results, COMPARISON, METRICS[0])}
    assert set(rows) == {('v', 20), ('v', 80), ('w', 20), ('w', 80)}
    curves = {
        budget: np.mean(
            [
                values_of(results.records[cell], 'psnr_rgb').mean()
                for cell in results.wanted
                if cell.budget == budget and cell.victim == 'v' and cell.method == 'baseline'
            ]
        )
        for budget in (5, 20, 80)
    }
    gained = {budget: value + math.log(4) for budget, value in curves.items()}
    low, high = (5, 20) if gained[20] >= curves[80] else (20, 80)
    part = (curves[80] - gained[low]) / (gained[high] - gained[low])
    expected = low * (high / low) ** part / 80 if part > 0 else low / 80
    assert rows['v', 80]['share'] == pytest.approx(expected, abs=2e-3)
    worse = grid(lambda *_: -9.0, noise=0)
    assert {row['share'] for row in queries_needed(worse, COMPARISON, METRICS[0])} == {None}


def test_infinite_values_are_left_out_and_counted():
    results = grid(lambda *_: 0.5)
    cell = next(cell for cell in results.wanted if cell.method == 'both')
    results.records[cell]['test_sets']['a']['fidelity']['psnr_rgb'][0] = None
    (found,) = compare(results, [COMPARISON], METRICS)
    assert found['configurations'][0]['metrics']['psnr_rgb']['left_out'] == 1
    assert found['configurations'][1]['metrics']['psnr_rgb']['left_out'] == 0


def test_seconds_are_the_median():
    results = grid(lambda *_: 0)
    configuration = results.configurations[0]
    for seconds, one in zip((9.0, 10.0, 90.0), results.seeds(configuration, 'baseline').values(), strict=True):
        one['train']['seconds'] = seconds
    assert seconds_of(results, configuration, 'baseline') == 10


def times(results, method):
    """What the trainings of one method in the first configuration took."""
    return [one['train'] for one in results.seeds(results.configurations[0], method).values()]


def ratio_of(results):
    (found,) = compare(results, [COMPARISON], METRICS[:1])
    return found['configurations'][0]['seconds']


def test_time_that_passed_is_not_compared_with_processor_time():
    results = grid(lambda *_: 0)  # 20 s against 10 s
    for one in times(results, 'both'):
        one['cpu_seconds'] = 9.0
    assert ratio_of(results) == 2
    for one in times(results, 'baseline'):
        one['cpu_seconds'] = 6.0
    assert ratio_of(results) == 1.5
    for method in ('both', 'baseline'):
        for one in results.seeds(results.configurations[0], method).values():
            one['machine'] = {'processor': 'p', 'gpu': 'g'}
    assert ratio_of(results) == 2


def test_seconds_of_different_machines_have_no_ratio():
    results = grid(lambda *_: 0)
    for seed, one in results.seeds(results.configurations[0], 'both').items():
        one['machine'] = {'processor': f'p{seed}'}
    others = results.seeds(results.configurations[0], 'baseline')
    for one in others.values():
        one['machine'] = {'processor': 'another'}
    assert ratio_of(results) is None
    others[1]['machine'] = {'processor': 'p1'}
    others[1]['train']['seconds'] = 5.0
    assert ratio_of(results) == 4
