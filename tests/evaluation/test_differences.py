"""Who is compared with whom, and when a model is called better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mea_plugin.evaluation.differences import compare_models, compared_pairs
from mea_plugin.evaluation.statistics import holm, paired_difference
from mea_plugin.metrics.catalogue import find_metrics


@pytest.mark.parametrize(
    ('surrogates', 'baselines', 'victim', 'seeds', 'pairs'),
    [
        (['a', 'b', 'c'], ['bi'], 'victim', {}, [('b', 'a'), ('c', 'a'), ('c', 'b')]),
        (['a'], ['bi', 'nn'], 'victim', {}, [('a', 'bi'), ('a', 'nn')]),
        ([], ['bi'], 'victim', {}, [('victim', 'bi')]),
        ([], ['bi', 'nn'], None, {}, [('nn', 'bi')]),
        ([], ['bi'], None, {}, []),
        (['a0', 'a1', 'b0', 'b1'], ['bi'], 'victim', {'a': ['a0', 'a1'], 'b': ['b0', 'b1']}, [('b', 'a')]),
        (['a0', 'a1', 'c'], [], 'victim', {'a': ['a0', 'a1']}, [('a', 'c')]),
    ],
)
def test_who_is_compared(surrogates, baselines, victim, seeds, pairs):
    assert compared_pairs(surrogates, baselines, victim, seeds) == pairs


def values(**models):
    return {name: {'psnr_y': list(row)} for name, row in models.items()}


RNG = np.random.default_rng(0)
BASE = RNG.uniform(20, 40, 30)


def test_better_is_written_where_the_images_decide_it():
    found = compare_models(
        'fidelity',
        values(a=BASE, b=BASE + RNG.normal(0.3, 0.1, 30), c=BASE + RNG.normal(0, 0.5, 30)),
        find_metrics(['psnr_y', 'ssim_y']),
        [('b', 'a'), ('a', 'b'), ('c', 'a'), ('d', 'a')],
        {},
    )
    assert [(one.first, one.second, one.verdict) for one in found] == [
        ('b', 'a', 'better'),
        ('a', 'b', 'worse'),
        ('c', 'a', 'undecided'),
    ]
    assert [one.p_holm for one in found] == holm([one.found.p for one in found])
    assert found[0].found.low > 0


def test_where_lower_is_better_the_sign_turns():
    (metric,) = find_metrics(['spectrum_error'])
    rows = {
        name: {'spectrum_error': list(row)} for name, row in (('a', BASE), ('b', BASE + 1 + RNG.normal(0, 0.1, 30)))
    }
    (found,) = compare_models('quality', rows, [metric], [('b', 'a')], {})
    assert (found.verdict, found.found.mean > 0) == ('worse', True)


def test_what_only_holds_before_the_correction_is_undecided():
    rows = values(a=BASE, b=BASE + RNG.normal(0.2, 0.45, 30))
    rows.update({f'x{index}': {'psnr_y': list(BASE + RNG.normal(0, 0.5, 30))} for index in range(12)})
    pairs = [('b', 'a'), *((f'x{index}', 'a') for index in range(12))]
    found = compare_models('own', rows, find_metrics(['psnr_y']), pairs, {})
    assert found[0].found.verdict == 'better'
    assert found[0].p_holm > 0.05
    assert found[0].verdict == found[0].to_json()['verdict'] == 'undecided'


def test_groups_are_compared_over_seeds_and_images():
    rows = values(a0=BASE, a1=BASE + 0.1, a2=BASE - 0.1, b0=BASE + 1, b1=BASE + 1.2, b2=BASE + 0.9)
    seeds = {'a': ['a0', 'a1', 'a2'], 'b': ['b0', 'b1', 'b2']}
    (found,) = compare_models('fidelity', rows, find_metrics(['psnr_y']), [('b', 'a')], seeds)
    grouped = [np.array([rows[name]['psnr_y'] for name in names]) for names in (seeds['b'], seeds['a'])]
    assert found.found == paired_difference(*grouped)
    content = found.to_json()
    assert (content['over'], content['seeds'], content['count']) == ('seeds and images', 3, 30)
    assert content['mean'] == pytest.approx(np.mean([1, 1.2, 0.9]) - 0.0, abs=1e-6)
    del rows['a2']
    assert compare_models('fidelity', rows, find_metrics(['psnr_y']), [('b', 'a')], seeds) == []


def test_json_has_null_where_there_is_no_number():
    (found,) = compare_models('fidelity', values(a=[math.inf], b=[30]), find_metrics(['psnr_y']), [('b', 'a')], {})
    content = found.to_json()
    assert content == {
        **{'kind': 'fidelity', 'metric': 'psnr_y', 'first': 'b', 'second': 'a', 'over': 'images', 'count': 0},
        **{'seeds': 1, 'mean': None, 'interval': None, 'p': None, 'p_holm': None, 'verdict': 'undecided'},
    }
