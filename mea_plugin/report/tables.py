"""The tables of an evaluation, out of the content of its evaluation.json (format 2)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mea_plugin.report.markup import to_csv, to_latex, to_markdown
from mea_plugin.report.table import Cell, Column, Table
from mea_plugin.statistics import paired_difference

__all__ = [
    'KINDS',
    'Cell',
    'Column',
    'Table',
    'all_tables',
    'differences',
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
_FEWEST = 6  # images that can decide anything


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

    Bold is the surrogate (or group of seeds) that is better than every other one, by the verdicts on their differences;
    where those are undecided, none is. Victim and baselines are not in that contest.

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
    notes = [_conditions(evaluation, test_set), *_few(rows, test_set['count'])]
    notes += [*_contest(rows, rivals), *_groups(rows)]
    notes += [*_benchmark(test_set), *_left_out(comparisons, names, known), *_missing(names, known)]
    title = f'{set_name}, {_heading(kind, comparisons)}'
    return Table(_slug(set_name, kind), title, header, rows, notes)


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
        Column('second', 'compared with', is_number=False),
        Column('difference', 'difference', has_interval=True),
        Column('p', 'p'),
        Column('p_holm', 'p (Holm)'),
        Column('images', 'images'),
        Column('seeds', 'seeds'),
        Column('verdict', 'the model is', is_number=False),
    ]
    rows = [_difference(one, known[one['metric']]) for one in found]
    notes = ['Mean difference over the same images [95 % confidence interval], in the unit of the metric.']
    notes.append(
        'A verdict is given where the interval excludes zero and the paired test agrees (p at most 0.05): over images '
        'by sign-flip permutation, over seeds and images by a t-test on both. Holm: corrected for all comparisons of '
        'this table.'
    )
    if any(one['over'] == 'images' and one['count'] < _FEWEST for one in found):
        notes.append(f'Fewer than {_FEWEST} images of one seed decide nothing, whatever their values are.')
    title = f'{set_name}, {KINDS[kind]}: differences'
    return Table(_slug(set_name, kind, 'differences'), title, header, rows, notes)


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
    difference = (
        Cell('n/a') if one['mean'] is None else Cell(value=one['mean'], low=low, high=high, digits=metric['digits'])
    )
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


def _conditions(evaluation: Mapping[str, Any], test_set: Mapping[str, Any]) -> str:
    scale, border = evaluation['protocol']['scale'], evaluation['protocol']['border']
    cropped = f'{_count(border, "pixel")} cropped at each edge' if border else 'nothing cropped'
    means = 'mean over images [95 % confidence interval]'
    return f'{_count(test_set["count"], "image")}, x{scale}; {cropped}; {means}; ↑ higher is better, ↓ lower is.'


def _few(rows: Sequence[Sequence[Cell]], count: int) -> Iterator[str]:
    if count < _FEWEST and any(cell.interval for row in rows for cell in row):
        yield f'Intervals of fewer than {_FEWEST} images cover the mean less often than 95 % of the time.'


def _contest(rows: Sequence[Sequence[Cell]], rivals: Sequence[str]) -> Iterator[str]:
    if len(rivals) < 2:
        return
    if any(cell.is_best for row in rows for cell in row):
        yield 'Bold: better than every other surrogate, by differences whose intervals exclude zero.'
    else:
        yield 'Nothing is bold: in no metric is one surrogate decidedly better than every other (see the differences).'


def _groups(rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    if any(row[0].text.endswith(' seeds)') for row in rows):
        yield 'Rows of several seeds: mean over seeds and images, and an interval that holds for both.'


def _benchmark(test_set: Mapping[str, Any]) -> Iterator[str]:
    benchmark = test_set.get('benchmark')
    if benchmark and not benchmark['is_real']:
        yield f'These are not the images of {benchmark["name"]} as published: {"; ".join(benchmark["notes"])}.'


def _left_out(comparisons: Mapping[str, Any], names: Sequence[str], known: Mapping[str, Any]) -> Iterator[str]:
    """What a mean over fewer images than announced must not keep to itself."""
    for model, one in comparisons.items():
        for name in names:
            title, count = known[name]['title'], _count(len(one['images']), 'image')
            if identical := one['identical'].get(name):
                rest = '' if one['mean'][name] is None else '; left out of the mean'
                equal = 'equals its reference' if identical == 1 else 'equal their references'
                yield f'{model}, {title}: {identical} of {count} {equal} (infinite){rest}.'
            if undefined := one['undefined'].get(name):
                yield f'{model}, {title}: not defined on {undefined} of {count}.'


def _missing(names: Sequence[str], known: Mapping[str, Any]) -> Iterator[str]:
    for name in names:
        if missing := known[name]['missing']:
            yield f'{known[name]["title"]}: n/a ({missing})'


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def _slug(*parts: str) -> str:
    return '-'.join(re.sub(r'[^\w.-]+', '-', part).strip('-.') or 'x' for part in parts)
