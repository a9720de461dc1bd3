"""What the page says, as plain values for its templates: tables with their cells, tiles, remarks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mea_plugin.report.sources import Results, Source
from mea_plugin.report.tables import Table, table

__all__ = [
    *('KINDS', 'Cell', 'Drawing', 'SetView', 'TableView', 'Tile'),
    *('from_table', 'kinds_of', 'lead', 'plural', 'set_views', 'tiles'),
]

KINDS = {'fidelity': 'to the victim', 'quality': 'to the ground truth', 'own': 'of the answers alone'}
"""The kinds of scores, and how they are headed."""

_TILES = 6
_WITH_INTERVAL = re.compile(r'(?P<value>\S.*?) (?P<interval>\[[^\[\]]*\])')


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a class for its style, whether it stands out, an interval behind it."""

    text: str
    kind: str = ''
    strong: bool = False
    interval: str = ''


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it; the first cell of a row is its heading."""

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """A figure: what it shows, and its SVG."""

    title: str
    svg: str


@dataclass(frozen=True)
class Tile:
    """One number that stands out."""

    title: str
    value: str
    unit: str = ''
    rest: str = ''


@dataclass(frozen=True)
class SetView:
    """One test set: its tables, what to know of it, its figures."""

    title: str
    warnings: list[str]
    remarks: list[str]
    tables: list[TableView]
    figures: list[Drawing]


def plural(count: int, one: str, more: str = '') -> str:
    """``1 image``, ``2 images``."""
    return f'{count} {one if count == 1 else more or one + "s"}'


def lead(results: Results) -> list[str]:
    """A sentence or two for each evaluation, and one for each flatness measurement."""
    lines = []
    for source in results.sources:
        evaluation = source.evaluation
        roles = {role: [m for m in evaluation['models'] if m['role'] == role] for role in ('victim', 'surrogate')}
        scale = evaluation['protocol']['scale']
        images = plural(sum(one['count'] for one in evaluation['test_sets']), 'image')
        sets = plural(len(evaluation['test_sets']), 'test set')
        what = plural(len(roles['surrogate']), 'surrogate') if roles['surrogate'] else 'Models'
        whose = f' of {roles["victim"][0]["title"]}' if roles['victim'] else ''
        name = f'{source.name}: ' if len(results.sources) > 1 else ''
        line = f'{name}{what}{whose}{f", x{scale}" if scale > 1 else ""}, measured on {sets} ({images}).'
        if source.extraction and source.extraction.queries is not None:
            line += f' Trained on the answers to {plural(source.extraction.queries, "query", "queries")}.'
        lines.append(line)
    for measured in results.flatness:
        trajectories = plural(len(measured['trajectories']), 'training run')
        lines.append(f'{measured["name"]}: flatness of the minima of {trajectories}.')
    return lines


def tiles(results: Results) -> list[Tile]:
    """The first metric's fidelity of each surrogate on the first test set, or quality where there is no victim."""
    found = []
    for source in results.sources:
        evaluation = source.evaluation
        test_set = next(iter(evaluation['test_sets']), None)
        kind = 'fidelity' if test_set and test_set['fidelity'] else 'quality'
        for model in evaluation['models']:
            scores = test_set[kind].get(model['name']) if test_set and model['role'] == 'surrogate' else None
            metric = next((name for name, mean in scores['mean'].items() if mean is not None), None) if scores else None
            if scores and test_set and metric in evaluation['protocol']['metrics']:
                prefix = f'{source.name}, ' if len(results.sources) > 1 else ''
                found.append(_tile(prefix, evaluation, test_set, kind, model['name'], str(metric)))
    return found if len(found) <= _TILES else []


def _tile(
    prefix: str, evaluation: dict[str, Any], test_set: dict[str, Any], kind: str, model: str, metric: str
) -> Tile:
    described = evaluation['protocol']['metrics'][metric]
    digits = described['digits']
    scores = test_set[kind]
    parts = [f'{described["title"]}, {test_set["name"]}']
    if interval := scores[model]['interval'].get(metric):
        parts.append(f'95 % interval {interval[0]:.{digits}f} to {interval[1]:.{digits}f}')
    for other in evaluation['models']:
        mean = scores.get(other['name'], {'mean': {}})['mean'].get(metric)
        if other['role'] == 'baseline' and mean is not None:
            parts.append(f'{other["name"]} {mean:.{digits}f}')
    value = f'{scores[model]["mean"][metric]:.{digits}f}'
    return Tile(f'{prefix}{model}, {KINDS[kind]}', value, described['unit'], '; '.join(parts))


def kinds_of(test_set: dict[str, Any]) -> list[str]:
    """The kinds of scores that a test set has."""
    return [kind for kind in KINDS if test_set[kind]]


def set_views(source: Source, figures: dict[str, list[Drawing]], *, named: bool) -> list[SetView]:
    """An evaluation's test sets.

    Args:
        source: The evaluation.
        figures: Those of each test set, by its name.
        named: Whether the evaluation's name stands in the titles, because there are several.
    """
    views = []
    for test_set in source.evaluation['test_sets']:
        name = test_set['name']
        warnings, remarks = _benchmark(test_set.get('benchmark'))
        tables = [from_table(table(source.evaluation, name, kind)) for kind in kinds_of(test_set)]
        if test_set['differences']:
            tables.append(_differences(source.evaluation, test_set))
        title = f'{source.name}: {name}' if named else name
        views.append(SetView(title, warnings, remarks, tables, figures.get(name, [])))
    return views


def from_table(one: Table) -> TableView:
    """A table of :mod:`mea_plugin.report.tables` as the page shows it."""
    return TableView(one.title, list(one.header), [[_cell(text) for text in row] for row in one.rows], list(one.notes))


def _cell(text: str) -> Cell:
    strong = len(text) > 4 and text.startswith('**') and text.endswith('**')
    plain = text.strip('*') if strong else text
    match = _WITH_INTERVAL.fullmatch(plain)
    if match:
        return Cell(match['value'], strong=strong, interval=match['interval'])
    return Cell(plain, strong=strong)


def _benchmark(benchmark: Any) -> tuple[list[str], list[str]]:
    """Warnings and remarks: whether the folder holds the benchmark that it is called after."""
    if not isinstance(benchmark, dict):
        return [], []
    notes = [str(note) for note in benchmark.get('notes') or []]
    if benchmark.get('is_real'):
        return [], notes
    return [f'These are not the images of {benchmark.get("name")}, or not all of them.', *notes], []


def _differences(evaluation: dict[str, Any], test_set: dict[str, Any]) -> TableView:
    """Whether one model is better than another; the verdict is the file's, which knows the interval."""
    metrics = evaluation['protocol']['metrics']
    rows = []
    for one in test_set['differences']:
        metric = metrics.get(one['metric'], {'title': one['metric'], 'digits': 3, 'unit': ''})
        digits = metric['digits'] + 1
        interval = one['interval'] and '[{}]'.format(', '.join(f'{bound:+.{digits}f}' for bound in one['interval']))
        kind = KINDS.get(one['kind'], one['kind'])
        rows.append(
            [
                Cell(f'{one["first"]} \N{MINUS SIGN} {one["second"]}'),
                Cell(f'{metric["title"]} {kind}'),
                Cell('' if one['mean'] is None else f'{one["mean"]:+.{digits}f}', interval=interval or ''),
                Cell(_probability(one['p'])),
                Cell(_probability(one['p_holm'])),
                Cell(f'{one["count"]} {one["over"]}' if one['over'] == 'images' else one['over']),
                Cell(one['verdict'], kind=one['verdict'] if one['verdict'] in ('better', 'worse') else 'quiet'),
            ]
        )
    notes = [
        'Mean of the paired differences, with its 95 % bootstrap interval. "better" and "worse" say so of the first '
        'model, and only where the interval excludes zero and the test agrees; p (Holm) is corrected for all rows.'
    ]
    header = ['models', 'metric', 'difference', 'p', 'p (Holm)', 'over', 'verdict']
    return TableView(f'{test_set["name"]}: paired differences', header, rows, notes)


def _probability(value: float | None) -> str:
    if value is None:
        return ''
    return '<0.001' if value < 0.001 else f'{value:.3f}'
