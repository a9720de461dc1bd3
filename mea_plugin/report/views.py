"""What the page says, as plain values for its templates: tables with their cells, tiles, remarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mea_plugin.evaluation.table import Table
from mea_plugin.evaluation.tables import differences, table
from mea_plugin.report.sources import Results, Source

__all__ = [
    *('KINDS', 'SetView', 'Tile', 'lead', 'plural', 'set_views', 'tiles'),
]

KINDS = {'fidelity': 'to the victim', 'quality': 'to the ground truth', 'own': 'by itself'}
"""The kinds of scores, and how they are headed."""

_TILES = 6
_FEW = 16


@dataclass(frozen=True)
class Tile:
    """One number that stands out."""

    title: str
    value: str
    unit: str = ''
    rest: str = ''


@dataclass(frozen=True)
class SetView:
    """One test set.

    Attributes:
        anchor: Its id in the page.
        title: Its name.
        tables: Of means.
        differences: Tables of paired differences.
        figures: Of both.
        is_short: Few enough differences to be seen at once; they and the figures are folded otherwise.
    """

    anchor: str
    title: str
    tables: list[Table]
    differences: list[Table]
    figures: list[Any]
    is_short: bool


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


def set_views(index: int, source: Source, figures: Mapping[str, list[Any]], *, named: bool) -> list[SetView]:
    """An evaluation's test sets.

    Args:
        index: Its place among all.
        source: The evaluation.
        figures: Those of each test set, by its name.
        named: Whether the evaluation's name stands in the titles, because there are several.
    """
    evaluation = source.evaluation
    views: list[SetView] = []
    for test_set in evaluation['test_sets']:
        name = test_set['name']
        tables = [table(evaluation, name, kind) for kind in KINDS if test_set[kind]]
        compared = {one['kind'] for one in test_set['differences']}
        apart = [differences(evaluation, name, kind) for kind in KINDS if kind in compared]
        is_short = len(test_set['differences']) <= _FEW and len(evaluation['test_sets']) == 1
        title = f'{source.name}: {name}' if named else name
        views.append(
            SetView(f'set-{index}-{len(views)}', title, tables, apart, figures.get(name, []), is_short and not named)
        )
    return views
