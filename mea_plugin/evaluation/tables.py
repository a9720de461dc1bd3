"""The tables of an evaluation, out of the content of its evaluation.json (format 2)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mea_plugin.evaluation.markup import to_csv, to_latex, to_markdown
from mea_plugin.evaluation.remarks import IMAGE_LEGEND, difference_legend, left_out, mean_legend, setting
from mea_plugin.evaluation.statistics import paired_difference
from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = [
    'KINDS',
    'Cell',
    'Column',
    'Table',
    'all_tables',
    'differences',
    'image_table',
    'table',
    'to_csv',
    'to_latex',
    'to_markdown',
]

KINDS = {
    'fidelity': 'fidelity (how close to the victim)',
    'quality': 'task quality (how close to the ground truth)',
    'own': 'the answers by themselves',
}
"""What a test set's comparisons are called, and what they mean."""

_TARGET = 'task quality (how close to the images of the target folder)'
_ARROWS = {'higher': '↑', 'lower': '↓'}
_KINDS_OF_METRICS = {'fidelity': ('pair', 'set'), 'quality': ('pair', 'set'), 'own': ('single', 'model')}


def all_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """Every table of an evaluation: means, then differences, for each test set and kind that there is."""
    tables = []
    for test_set in evaluation['test_sets']:
        name, compared = test_set['name'], {one['kind'] for one in test_set['differences']}
        tables += [table(evaluation, name, kind) for kind in KINDS if test_set[kind]]
        tables += [differences(evaluation, name, kind) for kind in KINDS if kind in compared]
    return tables


def table(evaluation: Mapping[str, Any], set_name: str, kind: str, *, metrics: Sequence[str] | None = None) -> Table:
    """The means of every model, and of every group of seeds.

    Bold is the surrogate (or group of seeds) that is better than every other one, by the verdicts on their differences
    (:mod:`mea_plugin.evaluation.differences`); where one is undecided, none is. Victim and baselines are not in that
    contest.

    Args:
        evaluation: The content of evaluation.json.
        set_name: Which test set.
        kind: ``fidelity``, ``quality`` or ``own``.
        metrics: Names of the columns; by default all that were measured, or should have been.

    Raises:
        KeyError: There is no such test set.
    """
    test_set = _find_set(evaluation, set_name)
    comparisons: Mapping[str, Any] = test_set[kind]
    known = evaluation['protocol']['metrics']
    names = [name for name in (metrics or _columns(known, comparisons, kind)) if name in known]
    rivals = _rivals(evaluation, comparisons)
    rows = []
    for model, members in _rows(evaluation, comparisons):
        cells = [Cell(model if len(members) == 1 else f'{model} ({len(members)} seeds)', name=model)]
        for metric in names:
            is_best = model in rivals and _beats_all(model, rivals, test_set['differences'], kind, metric)
            cells.append(_cell([comparisons[name] for name in members], metric, known[metric], is_best))
        rows.append(cells)
    header = [Column('model', 'model', is_number=False)]
    header += [
        Column(name, _title(known[name]), has_interval=any(row[index].interval for row in rows))
        for index, name in enumerate(names, start=1)
    ]
    return Table(
        _slug(set_name, kind),
        f'{set_name}, {_heading(kind, comparisons)}',
        header,
        rows,
        notes=list(left_out(comparisons, names, known)),
        setting=setting(evaluation, test_set),
        legend=list(
            mean_legend(
                test_set,
                [known[name] for name in names],
                intervals=any(column.has_interval for column in header),
                rivals=len(rivals) > 1,
                seeds=any(row[0].text != row[0].name for row in rows),
            )
        ),
    )


def image_table(evaluation: Mapping[str, Any], set_name: str, kind: str) -> Table:
    """The values of every image and model; without metrics of whole sets.

    Raises:
        KeyError: There is no such test set.
    """
    test_set = _find_set(evaluation, set_name)
    comparisons: Mapping[str, Any] = test_set[kind]
    known = evaluation['protocol']['metrics']
    models = [one['name'] for one in evaluation['models'] if one['name'] in comparisons]
    images = dict.fromkeys(chain.from_iterable(comparisons[model]['images'] for model in models))
    measured = {metric for model in models for values in comparisons[model]['images'].values() for metric in values}
    names = [name for name in known if name in measured]
    header = [Column('image', 'image', is_number=False), Column('model', 'model', is_number=False)]
    rows = [
        [Cell(image), Cell(model), *(_image_cell(comparisons[model], image, name, known[name]) for name in names)]
        for image in images
        for model in models
        if image in comparisons[model]['images']
    ]
    return Table(
        _slug(set_name, kind, 'images'),
        f'{set_name}, {_heading(kind, comparisons)}: per image',
        header + [Column(name, _title(known[name])) for name in names],
        rows,
        setting=setting(evaluation, test_set),
        legend=[IMAGE_LEGEND],
    )


def differences(evaluation: Mapping[str, Any], set_name: str, kind: str) -> Table:
    """The paired differences, with intervals, p-values and verdicts.

    Raises:
        KeyError: There is no such test set.
    """
    test_set = _find_set(evaluation, set_name)
    known = evaluation['protocol']['metrics']
    found = [one for one in test_set['differences'] if one['kind'] == kind]
    header = [
        Column('metric', 'metric', is_number=False),
        Column('first', 'model', is_number=False),
        Column('second', 'against', is_number=False),
        Column('difference', 'difference', has_interval=True),
        Column('p', 'p', is_detail=True),
        Column('p_holm', 'p (Holm)'),
        Column('images', 'images'),
        Column('seeds', 'seeds', is_detail=True),
        Column('verdict', 'the model is', is_number=False),
    ]
    rows = [_difference(one, known[one['metric']]) for one in found]
    return Table(
        _slug(set_name, kind, 'differences'),
        f'{set_name}, {KINDS[kind]}: differences',
        header,
        rows,
        setting=setting(evaluation, test_set),
        legend=list(difference_legend(found)),
    )


def _find_set(evaluation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for test_set in evaluation['test_sets']:
        if test_set['name'] == name:
            return test_set
    raise KeyError(f'no test set is called {name!r}')


def _heading(kind: str, comparisons: Mapping[str, Any]) -> str:
    """What a kind means; without a value per image, quality is the likeness of whole sets."""
    only_sets = kind == 'quality' and not any(one['images'] for one in comparisons.values())
    return _TARGET if only_sets else KINDS[kind]


def _columns(known: Mapping[str, Any], comparisons: Mapping[str, Any], kind: str) -> Iterator[str]:
    """The metrics that were measured, or would have been had they not been missing."""
    for name, metric in known.items():
        is_wanted = bool(metric['missing']) and metric['kind'] in _KINDS_OF_METRICS[kind]
        if is_wanted or any(name in one['mean'] for one in comparisons.values()):
            yield name


def _rows(evaluation: Mapping[str, Any], comparisons: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Names of rows and the models they are made of: models in their order, each group after its last member."""
    groups = {
        group: members for group, members in _seeds(evaluation).items() if all(name in comparisons for name in members)
    }
    for model in (one['name'] for one in evaluation['models'] if one['name'] in comparisons):
        yield model, [model]
        for group in [group for group, members in groups.items() if model in members]:
            groups[group] = [name for name in groups[group] if name != model]
            if not groups[group]:
                yield group, _seeds(evaluation)[group]


def _seeds(evaluation: Mapping[str, Any]) -> dict[str, list[str]]:
    return {group: list(members) for group, members in (evaluation.get('seeds') or {}).items() if len(members) > 1}


def _rivals(evaluation: Mapping[str, Any], comparisons: Mapping[str, Any]) -> list[str]:
    """Who can be the best: surrogates, and groups of seeds in place of their members."""
    groups = _seeds(evaluation)
    grouped = set(chain.from_iterable(groups.values()))
    singles = [one['name'] for one in evaluation['models'] if one['role'] == 'surrogate']
    rivals = [name for name in singles if name not in grouped and name in comparisons]
    return rivals + [group for group, members in groups.items() if all(name in comparisons for name in members)]


def _beats_all(name: str, rivals: Sequence[str], found: Sequence[Mapping[str, Any]], kind: str, metric: str) -> bool:
    verdicts = {
        (one['first'], one['second']): one['verdict']
        for one in found
        if one['kind'] == kind and one['metric'] == metric
    }
    others = [rival for rival in rivals if rival != name]
    return bool(others) and all(
        verdicts.get((name, other)) == 'better' or verdicts.get((other, name)) == 'worse' for other in others
    )


def _cell(members: Sequence[Mapping[str, Any]], metric: str, protocol: Mapping[str, Any], is_best: bool) -> Cell:
    """One number; of a group of seeds, over seeds and images."""
    if not all(metric in member['mean'] for member in members):
        return Cell('n/a' if protocol['missing'] else '-')
    if len(members) == 1:
        mean, interval = members[0]['mean'][metric], members[0]['interval'].get(metric)
    else:
        mean, interval = _mean_over_seeds(members, metric)
    if mean is None:
        if not any(member['identical'].get(metric) for member in members):
            return Cell('n/a')
        mean = math.inf
    low, high = interval or (None, None)
    return Cell(value=mean, low=low, high=high, digits=protocol['digits'], is_best=is_best)


def _image_cell(model: Mapping[str, Any], image: str, metric: str, protocol: Mapping[str, Any]) -> Cell:
    values = model['images'][image]
    if metric not in values:
        return Cell('-')
    if values[metric] is not None:
        return Cell(value=values[metric], digits=protocol['digits'])
    if not model['identical'].get(metric):
        return Cell('n/a')
    # The file does not say which of several it is.
    return Cell('inf or n/a') if model['undefined'].get(metric) else Cell(value=math.inf)


def _mean_over_seeds(members: Sequence[Mapping[str, Any]], metric: str) -> tuple[float | None, Any]:
    means = [member['mean'][metric] for member in members]
    images = members[0]['images']
    if not any(metric in values for values in images.values()):  # of the whole set
        return (None if None in means else math.fsum(means) / len(means)), None
    values = [[member['images'][image].get(metric) for image in images] for member in members]
    found = paired_difference(np.array(values, np.float64), np.zeros(len(images)))
    return (found.mean if found.count else None), found.bounds


def _difference(one: Mapping[str, Any], metric: Mapping[str, Any]) -> list[Cell]:
    low, high = one['interval'] or (None, None)
    difference = Cell('n/a')
    if one['mean'] is not None:  # differences are smaller than what they are of
        difference = Cell(value=one['mean'], low=low, high=high, digits=metric['digits'] + 1, is_signed=True)
    texts = [Cell(_title(metric), name=one['metric']), Cell(one['first']), Cell(one['second'])]
    counts = [Cell(value=one['count'], digits=0), Cell(value=one['seeds'], digits=0)]
    return [*texts, difference, _p(one['p']), _p(one['p_holm']), *counts, Cell(one['verdict'])]


def _p(value: float | None) -> Cell:
    if value is None:
        return Cell('n/a')
    return Cell('<0.0001' if value < 0.0001 else '', value=value, digits=4)


def _title(metric: Mapping[str, Any]) -> str:
    unit = f' ({metric["unit"]})' if metric['unit'] else ''
    return f'{metric["title"]}{unit} {_ARROWS[metric["better"]]}'


def _slug(*parts: str) -> str:
    return '-'.join(re.sub(r'[^\w.-]+', '-', part).strip('-.') or 'x' for part in parts)
