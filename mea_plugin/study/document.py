"""What a study has found, as the content of study.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mea_plugin.core.files import hash_json
from mea_plugin.metrics.metric import Metric
from mea_plugin.study.collect import compare, over_seeds, seconds_of
from mea_plugin.study.finished import CONFIGURATION, Configuration, Results
from mea_plugin.study.job import StudyRun
from mea_plugin.study.matrix import attackers_losses
from mea_plugin.study.options import StudyFile
from mea_plugin.study.references import References, mean_of
from mea_plugin.study.reproduce import FORMAT

__all__ = ['study_document']


def study_document(run: StudyRun, references: References, command: Sequence[str]) -> dict[str, Any]:
    """Everything that tables and figures show, as plain values.

    Args:
        run: Finished cells.
        references: What stands beside them.
        command: What was typed.
    """
    study = run.shared.study
    metrics = study.measured
    results = Results(run.records, run.wanted)
    records = [*run.records.values(), *run.trials.values()]
    return {
        'format': FORMAT,
        'name': study.name,
        'command': list(command),
        'options': study.content,
        'machines': _distinct(record['machine'] for record in records),
        'packages': _distinct(record['packages'] for record in records),
        'cells': {'wanted': len(run.wanted), 'finished': len(run.records), 'trials': len(run.trials)},
        'failures': [{'id': one.id, 'reason': one.reason} for one in run.failures],
        'metrics': {
            one.name: {
                'title': one.title,
                'unit': one.unit,
                'better': one.better,
                'digits': one.digits,
                'protocol': one.protocol,
            }
            for one in metrics
        },
        'methods': list(study.methods),
        'test_sets': _test_sets(records, run),
        'distances': [
            {'victim': victim, 'queries': queries, 'distance': value, 'floor': references.floors[victim]}
            for victim, distances in references.distances.items()
            for queries, value in distances.items()
        ],
        'tuning': [
            {'surrogate': one.surrogate, 'method': one.method, 'taken': one.trial, 'means': one.means}
            for one in run.choices.values()
        ],
        'configurations': [_configuration(results, one, metrics, references) for one in results.configurations],
        'comparisons': compare(results, study.comparisons, metrics),
        'defences': _defences(results, study, metrics, references),
    }


def _defences(
    results: Results, study: StudyFile, metrics: Sequence[Metric], references: References
) -> dict[str, Any] | None:
    """What defences take; nothing in a study without that axis."""
    if not study.defences:
        return None
    customers = [
        {
            'victim': victim,
            'defence': defence,
            'quality': {metric.name: _rounded(mean_of(one['test_sets'], metric.name)) for metric in metrics},
            'seconds': one['seconds'],
        }
        for victim, defences in references.customers.items()
        for defence, one in defences.items()
    ]
    return {
        'undefended': study.undefended,
        'customers': customers,
        'attackers': attackers_losses(
            results, study.undefended, metrics, {one: study.unadapted(one) for one in study.methods}
        ),
    }


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 4)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({hash_json(value): value for value in values}.values())


def _test_sets(records: Sequence[Mapping[str, Any]], run: StudyRun) -> dict[str, int]:
    """How many images each test set has."""
    for record in run.records.values():
        return {name: len(one['images']) for name, one in record['test_sets'].items()}
    return {}


def _configuration(
    results: Results,
    configuration: Configuration,
    metrics: Sequence[Metric],
    references: References,
) -> dict[str, Any]:
    victim, _, queries, _, _ = configuration
    methods = {}
    for method in results.methods(configuration):
        seeds = sorted(results.seeds(configuration, method))
        if seeds:
            methods[method] = {
                'seeds': seeds,
                'seconds': seconds_of(results, configuration, method),
                'fidelity': {one.name: _mean(results, configuration, method, one, seeds) for one in metrics},
            }
    return {
        **dict(zip(CONFIGURATION, configuration, strict=True)),
        'distance': references.distances.get(victim, {}).get(queries),
        'trivial': _trivial(references.trivial[victim], metrics),
        'methods': methods,
    }


def _mean(
    results: Results, configuration: Configuration, method: str, metric: Metric, seeds: Sequence[int]
) -> dict[str, Any]:
    found = over_seeds(results.matrix(configuration, method, metric.name, seeds), metric)
    interval = None if found.bounds is None else [round(value, 4) for value in found.bounds]
    return {'mean': None if found.mean != found.mean else round(found.mean, 4), 'interval': interval}


def _trivial(trivial: Mapping[str, Any], metrics: Sequence[Metric]) -> dict[str, Any]:
    means = {metric.name: mean_of(trivial['test_sets'], metric.name) for metric in metrics}
    return {'name': trivial['name'], 'fidelity': {name: _rounded(mean) for name, mean in means.items()}}
