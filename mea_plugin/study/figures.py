"""A study's figures, out of what its study.json holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mea_plugin.report.figures.style import (
    INK,
    PAGE,
    QUIET,
    Style,
    difference_bar,
    drawing,
    grid_of_axes,
    label_of,
    legend,
    style_for,
)
from mea_plugin.study.tradeoff import by_defence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['by_budget', 'by_distance', 'by_time', 'forest', 'study_figures']

Study = Mapping[str, Any]

_ROW = 0.2  # inches


def study_figures(study: Study) -> dict[str, Figure]:
    """All figures that the study has the points for, by name."""
    found: dict[str, Figure] = {}
    if any(one['configurations'] for one in study['comparisons']):
        found['comparisons'] = forest(study)
    if len({one['budget'] for one in study['configurations']}) > 1:
        found['budget'] = by_budget(study)
    if any(of['seconds'] for one in study['configurations'] for of in one['methods'].values()):
        found['time'] = by_time(study)
    if len({one['distance'] for one in study['configurations']} - {None}) > 1:
        found['distance'] = by_distance(study)
    if study.get('defences') and study['defences']['attackers']:
        found['defences'] = by_defence(study)
    return found


@drawing
def by_budget(study: Study) -> Figure:
    """Fidelity by the number of queries, a panel per victim, surrogate and source of queries, a line per method."""
    return _panels(
        study, ('victim', 'surrogate', 'queries', 'defence'), lambda one, _: one['budget'], 'queries', is_log=True
    )


@drawing
def by_time(study: Study) -> Figure:
    """Fidelity by seconds of training, a panel per configuration, a point per method."""
    axes = ('victim', 'surrogate', 'queries', 'budget', 'defence')
    label = 'seconds of training'  # the trivial model has none, and its distance would hide those between methods
    return _panels(study, axes, lambda _, of: of['seconds'], label, is_log=False, with_trivial=False)


@drawing
def by_distance(study: Study) -> Figure:
    """Fidelity by domain distance, a panel per victim, surrogate and budget, a line per method."""
    return _panels(
        study,
        ('victim', 'surrogate', 'budget', 'defence'),
        lambda one, _: one['distance'],
        'domain distance',
        is_log=False,
    )


@drawing
def forest(study: Study) -> Figure:
    """Differences and their intervals, a panel per comparison, a row per configuration, and over all of them.

    Filled where a verdict was given, hollow where the difference is undecided.
    """
    metric = next(iter(study['metrics']))
    about = study['metrics'][metric]
    comparisons = [one for one in study['comparisons'] if one['configurations']]
    rows = list(dict.fromkeys(_name(one) for of in comparisons for one in of['configurations']))
    figure, axes = grid_of_axes(len(comparisons), 3, PAGE, 0.75 + _ROW * (len(rows) + 1), sharey=True, sharex=True)
    for axis, comparison in zip(axes, comparisons, strict=False):
        axis.axvline(0, color=INK, linewidth=0.8)
        for one in comparison['configurations']:
            if metric in one['metrics']:
                found = one['metrics'][metric]
                difference_bar(axis, rows.index(_name(one)), found)
        if 'all' in comparison['pooled']:
            pooled = comparison['pooled']['all']['metrics'][metric]
            difference_bar(axis, len(rows), pooled, marker='D', colour=INK)
        axis.set_title(label_of(comparison['name']))
        axis.set_yticks(range(len(rows) + 1), [*rows, 'all'])
        axis.tick_params(axis='y', length=0)
        axis.tick_params(axis='x', labelbottom=True)  # sharing hides them above a row that may have fewer panels
        axis.set_ylim(len(rows) + 0.6, -0.6)
        axis.grid(axis='x')
        axis.spines['left'].set_visible(False)
        axis.set_xlabel(f'{about["title"]}, first - second ({about["unit"]})' if about['unit'] else about['title'])
    return figure


def _name(one: Mapping[str, Any]) -> str:
    asked = f'{one["queries"]} {one["budget"]}' + (f', {one["defence"]}' if one.get('defence') else '')
    return f'{one["victim"]}, {one["surrogate"]}, {asked}'


def _panels(
    study: Study,
    keys: Sequence[str],
    place: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None],
    label: str,
    *,
    is_log: bool,
    with_trivial: bool = True,
) -> Figure:
    """Panels of the deciding metric; ``place`` is where a method's mean of a configuration stands."""
    metric = next(iter(study['metrics']))
    about = study['metrics'][metric]
    panels: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for one in study['configurations']:
        panels.setdefault(tuple(one[key] for key in keys if one.get(key) not in (None, '')), []).append(one)
    methods = study['methods']
    figure, axes = grid_of_axes(len(panels), 3, PAGE, 2.0)
    for axis, (name, configurations) in zip(axes, panels.items(), strict=False):
        for method in methods:
            points = sorted(_points(configurations, method, metric, place), key=lambda point: point[0])
            _line(axis, points, method, style_for(method, methods, None))
        trivial = {one['trivial']['fidelity'][metric] for one in configurations if one['trivial']} - {None}
        if trivial and with_trivial:
            title = configurations[0]['trivial']['name']
            axis.axhline(min(trivial), color=QUIET, linewidth=0.8, linestyle=(0, (1.2, 1.2)), label=title)
        victim, *rest = name
        axis.set_title(f'{label_of(victim)}\n{label_of(", ".join(map(str, rest)))}')
        if is_log:
            _log_axis(axis, sorted({one['budget'] for one in configurations}))
        axis.grid()
        axis.set_xlabel(label)
        axis.set_ylabel(f'{about["title"]} ({about["unit"]})' if about['unit'] else about['title'])
    names = [*methods, *{one['trivial']['name'] for one in study['configurations'] if one['trivial']}]
    legend(figure, axes, names, columns=7)
    return figure


def _points(
    configurations: Iterable[Mapping[str, Any]],
    method: str,
    metric: str,
    place: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None],
) -> Iterable[tuple[float, Mapping[str, Any]]]:
    for one in configurations:
        found = one['methods'].get(method)
        if found is not None and found['fidelity'][metric]['mean'] is not None:
            at = place(one, found)
            if at is not None:
                yield at, found['fidelity'][metric]


def _line(axis: Axes, points: Sequence[tuple[float, Mapping[str, Any]]], method: str, style: Style) -> None:
    if not points:
        return
    places = [at for at, _ in points]
    axis.plot(
        places,
        [found['mean'] for _, found in points],
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash,
        label=label_of(method),
    )


def _log_axis(axis: Axes, budgets: Sequence[int]) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_xscale('log')
    axis.set_xticks(budgets, [str(budget) for budget in budgets])
    axis.xaxis.set_minor_locator(NullLocator())
