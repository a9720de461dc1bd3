"""From the results of cells to statements about methods: paired over seeds and images, corrected for their number."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mea_plugin.evaluation.statistics import PairedDifference, holm, paired_difference
from mea_plugin.metrics.metric import Metric
from mea_plugin.study.finished import CONFIGURATION, Configuration, Results
from mea_plugin.study.options import Comparison
from mea_plugin.study.pooling import largest_block

__all__ = ['compare', 'correct', 'judge', 'over_seeds', 'queries_needed', 'seconds_of']

_DIGITS = 4
_LEVEL = 0.05


def over_seeds(values: np.ndarray, metric: Metric) -> PairedDifference:
    """The mean of values over seeds and images, with the interval and test of a mean that is zero.

    Seeds and images are crossed, as :func:`~mea_plugin.evaluation.statistics.paired_difference` has it. With the same
    seed, two methods have drawn the same query images and begin with the same weights, so the differences of such pairs
    are taken first, and those are the values here.

    One seed says nothing of what another would give: its mean has no interval, no p-value and no verdict.

    Args:
        values: ``(seeds, images)``.
        metric: Says which sign is better.
    """
    found = paired_difference(values, np.zeros(values.shape[1]), better=metric.better)
    if len(values) > 1:
        return found
    return replace(found, low=math.nan, high=math.nan, p=math.nan, verdict='undecided')


def compare(results: Results, comparisons: Sequence[Comparison], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Judge each comparison at each configuration and over all of them, as JSON.

    For seed ``s`` and image ``i`` the difference is ``d[s, i] = method[s, i] - against[s, i]``. A configuration is won
    where the 95 % interval of its mean excludes 0 and the p-value, corrected by Holm over all configurations and
    comparisons of the study, is at most 0.05; lost likewise. Over configurations, ``d`` is averaged first, so that the
    interval is over seeds and images; the configurations are those of the study, not a sample of others. Where cells
    are missing, that mean is of the :func:`~mea_plugin.study.pooling.largest_block` without a gap.

    Args:
        results: Of the study. Seeds that one of the two methods lacks are left out.
        comparisons: In the order of tables.
        metrics: The first decides.
    """
    judged = [[_at_configurations(results, one, metric) for metric in metrics] for one in comparisons]
    for index in range(len(metrics)):
        correct([entry for one in judged for entry in one[index].values()])
    return [
        _comparison(results, one, metrics, [dict(found) for found in by_metric])
        for one, by_metric in zip(comparisons, judged, strict=True)
    ]


def correct(entries: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` to what :func:`judge` gave, in place; a verdict that it does not support is undecided."""
    for entry, p in zip(entries, holm([_nan(entry['p']) for entry in entries]), strict=True):
        entry['p_holm'] = _number(p)
        if entry['verdict'] != 'undecided' and not p <= _LEVEL:
            entry['verdict'] = 'undecided'


def _at_configurations(results: Results, comparison: Comparison, metric: Metric) -> dict[Configuration, dict[str, Any]]:
    found = {}
    for configuration in results.configurations:
        seeds = _common(results, comparison, configuration)
        if seeds:
            found[configuration] = judge(_differences(results, comparison, configuration, metric, seeds), metric, seeds)
    return found


def _common(results: Results, comparison: Comparison, configuration: Configuration) -> list[int]:
    one, other = (results.seeds(configuration, name) for name in (comparison.method, comparison.against))
    return sorted(one.keys() & other.keys())


def _differences(
    results: Results, comparison: Comparison, configuration: Configuration, metric: Metric, seeds: Sequence[int]
) -> np.ndarray:
    first, second = (
        results.matrix(configuration, name, metric.name, seeds) for name in (comparison.method, comparison.against)
    )
    return first - second


def judge(values: np.ndarray, metric: Metric, seeds: Sequence[int]) -> dict[str, Any]:
    """Differences ``(seeds, images)`` as JSON: mean, interval, p and verdict."""
    found = over_seeds(values, metric)
    return {
        'mean': _number(found.mean),
        'interval': _interval(found),
        'p': found.p if math.isfinite(found.p) else None,
        'verdict': found.verdict,
        'seeds': list(seeds),
        'per_seed': [_number(float(np.nanmean(row))) for row in values],
        'left_out': found.left_out,
    }


def _comparison(
    results: Results,
    comparison: Comparison,
    metrics: Sequence[Metric],
    by_metric: Sequence[Mapping[Configuration, Any]],
) -> dict[str, Any]:
    deciding = by_metric[0]
    wanted = [
        configuration
        for configuration in results.configurations
        if {comparison.method, comparison.against} <= set(results.methods(configuration))
    ]
    verdicts = [deciding[one]['verdict'] for one in wanted if one in deciding]
    return {
        'name': comparison.name,
        'method': comparison.method,
        'against': comparison.against,
        'at': comparison.at,
        'note': comparison.note,
        'won': verdicts.count('better'),
        'lost': verdicts.count('worse'),
        'undecided': verdicts.count('undecided'),
        'missing': len(wanted) - len(verdicts),
        'incomplete': sum(
            one in deciding and len(deciding[one]['seeds']) < results.wanted_seeds(one, comparison) for one in wanted
        ),
        'pooled': _pooled(results, comparison, metrics, wanted),
        'configurations': [
            {
                **dict(zip(CONFIGURATION, configuration, strict=True)),
                'seeds_wanted': results.wanted_seeds(configuration, comparison),
                'metrics': {
                    metric.name: found[configuration]
                    for metric, found in zip(metrics, by_metric, strict=True)
                    if configuration in found
                },
                'seconds': _seconds_ratio(results, comparison, configuration),
            }
            for configuration in wanted
        ],
        'queries_needed': queries_needed(results, comparison, metrics[0]),
    }


def _pooled(
    results: Results, comparison: Comparison, metrics: Sequence[Metric], wanted: Sequence[Configuration]
) -> dict[str, Any]:
    """Over all configurations, and over those of each surrogate."""
    surrogates = list(dict.fromkeys(one[1] for one in wanted))
    scopes = {'all': list(wanted)}
    if len(surrogates) > 1:
        scopes.update({name: [one for one in wanted if one[1] == name] for name in surrogates})
    pooled = {}
    for scope, configurations in scopes.items():
        there, common = largest_block({one: _common(results, comparison, one) for one in configurations})
        if not common:
            continue
        entry: dict[str, Any] = {
            'configurations': len(there),
            'wanted': len(configurations),
            'seeds': common,
            'metrics': {},
        }
        for metric in metrics:
            values = [_differences(results, comparison, one, metric, common) for one in there]
            entry['metrics'][metric.name] = judge(np.mean(values, axis=0), metric, common)
        ratios = [_seconds_ratio(results, comparison, one) for one in there]
        known = [ratio for ratio in ratios if ratio is not None]
        entry['seconds'] = round(statistics.fmean(known), 2) if known else None
        pooled[scope] = entry
    return pooled


def seconds_of(results: Results, configuration: Configuration, method: str) -> float | None:
    """The median over seeds of what the training took: processor time where a CPU did the work, else time.

    Processor time is what training takes on one core that has nothing else to do; other work on the machine hardly
    moves it, while it may double the time that passes. So all methods of a configuration have the same of the two.
    """
    clock = _clock(results, configuration)
    known = [record['train'].get(clock) for record in results.seeds(configuration, method).values()]
    seconds = [one for one in known if one is not None]
    return statistics.median(seconds) if seconds else None


def _clock(results: Results, configuration: Configuration) -> str:
    """Processor time if every training of a configuration was on a CPU and has it."""
    records = [
        one for method in results.methods(configuration) for one in results.seeds(configuration, method).values()
    ]
    has_processor_time = all(
        one['train'].get('cpu_seconds') is not None and 'gpu' not in one.get('machine', {}) for one in records
    )
    return 'cpu_seconds' if has_processor_time else 'seconds'


def _seconds_ratio(results: Results, comparison: Comparison, configuration: Configuration) -> float | None:
    """The median over the seeds that both methods have trained on the same kind of machine."""
    clock = _clock(results, configuration)
    one, other = (results.seeds(configuration, name) for name in (comparison.method, comparison.against))
    ratios = []
    for seed in _common(results, comparison, configuration):
        if _machine(one[seed]) == _machine(other[seed]):
            taken, against = (record['train'].get(clock) for record in (one[seed], other[seed]))
            if taken and against:
                ratios.append(taken / against)
    return round(statistics.median(ratios), 3) if ratios else None


def _machine(record: Mapping[str, Any]) -> tuple[Any, Any]:
    machine = record.get('machine', {})
    return machine.get('processor'), machine.get('gpu')


def queries_needed(results: Results, comparison: Comparison, metric: Metric) -> list[dict[str, Any]]:
    """With what share of its queries the method reaches what the other reaches at each budget.

    Fidelity between two budgets is interpolated linearly in the logarithm of the budget.

    Returns:
        For each victim, surrogate, source of queries and defence, and each budget above the smallest: ``share``, or
        None where the method does not reach that fidelity at any budget; ``at_most`` is true where its smallest budget
        suffices.
    """
    sign = 1 if metric.better == 'higher' else -1
    rows = []
    keys = dict.fromkeys(_without_budget(configuration) for configuration in results.configurations)
    for victim, surrogate, queries, defence in keys:
        curves = []
        for method in (comparison.method, comparison.against):
            points = {}
            for configuration in results.configurations:
                seeds = _common(results, comparison, configuration)
                if _without_budget(configuration) == (victim, surrogate, queries, defence) and seeds:
                    values = results.matrix(configuration, method, metric.name, seeds)
                    points[configuration[3]] = sign * float(np.nanmean(values))
            curves.append(dict(sorted(points.items())))
        method_curve, other = curves
        for budget, fidelity in itertools.islice(other.items(), 1, None):
            needed, at_most = _budget_for(method_curve, fidelity)
            rows.append(
                {
                    'victim': victim,
                    'surrogate': surrogate,
                    'queries': queries,
                    'budget': budget,
                    'defence': defence,
                    'share': None if needed is None else round(needed / budget, 3),
                    'at_most': at_most,
                }
            )
    return rows


def _without_budget(configuration: Configuration) -> tuple[str, str, str, str]:
    victim, surrogate, queries, _, defence = configuration
    return victim, surrogate, queries, defence


def _budget_for(curve: Mapping[int, float], fidelity: float) -> tuple[float | None, bool]:
    """The smallest budget at which a curve reaches a fidelity, and whether it is above that from its start."""
    points = list(curve.items())
    if points and points[0][1] >= fidelity:
        return points[0][0], True
    for (low, before), (high, after) in itertools.pairwise(points):
        if before < fidelity <= after:
            part = (fidelity - before) / (after - before)
            return math.exp(math.log(low) + part * (math.log(high) - math.log(low))), False
    return None, False


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _interval(found: PairedDifference) -> list[float] | None:
    return None if found.bounds is None else [round(value, _DIGITS) for value in found.bounds]
