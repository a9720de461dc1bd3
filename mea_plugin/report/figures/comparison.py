"""Models compared: means with their intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mea_plugin.report.figures.style import (
    COLUMN,
    GRID,
    INK,
    PAGE,
    QUIET,
    Style,
    difference_bar,
    drawing,
    grid_of_axes,
    label_of,
    style_for,
    styles_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['differences', 'means']

_ROW, _PAIR = 0.19, 0.3  # inches


@drawing
def means(
    evaluation: Mapping[str, Any],
    set_name: str,
    kind: str,
    *,
    metrics: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None,
) -> Figure:
    """A panel per metric: the mean of every model and its interval.

    A mean that is infinite, or not defined, is written and not drawn.

    Args:
        evaluation: The content of evaluation.json.
        set_name: Which test set.
        kind: ``fidelity``, ``quality`` or ``own``.
        metrics: Names; by default all that were measured.
        styles: By model; by default those of :func:`styles_of`.
    """
    comparisons = _find_set(evaluation, set_name)[kind]
    known = evaluation['protocol']['metrics']
    names = list(metrics or [name for name in known if any(name in one['mean'] for one in comparisons.values())])
    models = [one['name'] for one in evaluation['models'] if one['name'] in comparisons]
    styles = styles or styles_of(evaluation['models'])
    figure, axes = grid_of_axes(len(names), 4, _width(names), 0.55 + _ROW * len(models), sharey=True)
    for axis, metric in zip(axes, names, strict=False):
        for row, model in enumerate(models):
            _mean(axis, row, comparisons[model], metric, style_for(model, models, styles))
        axis.set_title(_title(known[metric]))
        axis.set_yticks(range(len(models)), [label_of(model) for model in models])
        axis.tick_params(axis='y', length=0)
        axis.set_ylim(len(models) - 0.4, -0.6)
        axis.grid(axis='x')
        axis.spines['left'].set_visible(False)
        _few_ticks(axis)
    return figure


@drawing
def differences(
    evaluation: Mapping[str, Any], set_name: str, kind: str, *, metrics: Sequence[str] | None = None
) -> Figure:
    """A forest plot, a panel per metric: paired differences, their intervals, and zero.

    Filled where a verdict was given, hollow where the difference is undecided.

    Args:
        evaluation: The content of evaluation.json.
        set_name: Which test set.
        kind: ``fidelity``, ``quality`` or ``own``.
        metrics: Names; by default all that were compared in.
    """
    known = evaluation['protocol']['metrics']
    found = [one for one in _find_set(evaluation, set_name)['differences'] if one['kind'] == kind]
    names = list(metrics or dict.fromkeys(one['metric'] for one in found))
    pairs = list(dict.fromkeys((one['first'], one['second']) for one in found))
    figure, axes = grid_of_axes(len(names), 4, _width(names), 0.72 + _PAIR * len(pairs), sharey=True)
    for axis, metric in zip(axes, names, strict=False):
        axis.axvline(0, color=INK, linewidth=0.8)
        for one in found:
            if one['metric'] == metric and one['mean'] is not None:
                difference_bar(axis, pairs.index((one['first'], one['second'])), one)
        axis.set_title(_title(known[metric]))
        axis.set_yticks(range(len(pairs)), [f'{label_of(first)}\n- {label_of(second)}' for first, second in pairs])
        axis.tick_params(axis='y', length=0)
        axis.set_ylim(len(pairs) - 0.4, -0.6)
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, -0.15 * high), max(high, -0.15 * low))  # both sides of zero are seen
        axis.set_xlabel('better →' if known[metric]['better'] == 'higher' else '← better', color=QUIET)
        axis.grid(axis='x')
        axis.spines['left'].set_visible(False)
        _few_ticks(axis)
    return figure


def _find_set(evaluation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(test_set for test_set in evaluation['test_sets'] if test_set['name'] == name)


def _mean(axis: Axes, row: int, one: Mapping[str, Any], metric: str, style: Style) -> None:
    value = one['mean'].get(metric)
    if value is None:
        if metric in one['mean']:
            text = 'inf (equal images)' if one['identical'].get(metric) else 'not defined'
            axis.text(0.5, row, text, transform=axis.get_yaxis_transform(), color=QUIET, ha='center', va='center')
        return
    interval = one['interval'].get(metric)
    if interval:
        axis.plot(interval, [row, row], color=style.colour, solid_capstyle='butt')
    axis.plot([value], [row], color=style.colour, marker=style.marker, markersize=4, linestyle='none')


def _width(panels: Sequence[str]) -> float:
    return PAGE if len(panels) > 1 else COLUMN


def _few_ticks(axis: Axes) -> None:
    axis.locator_params(axis='x', nbins=4)
    axis.tick_params(axis='x', color=GRID)


def _title(metric: Mapping[str, Any]) -> str:
    arrow = {'higher': '↑', 'lower': '↓'}[metric['better']]
    unit = f' ({metric["unit"]})' if metric['unit'] else ''
    return f'{metric["title"]}{unit} {arrow}'
