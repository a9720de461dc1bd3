"""Curves: over training, over the budget, over spatial frequency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mea_plugin.report.curves import Curve
from mea_plugin.report.figures.style import (
    COLUMN,
    PAGE,
    QUIET,
    Style,
    drawing,
    grid_of_axes,
    label_of,
    legend,
    log_scale,
    style_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['Point', 'Reference', 'fidelity_by_budget', 'power_spectra', 'training_curves']

_RANGE = 30  # positive values that span more than this many times are shown by their logarithms
_FEW = 30  # points that are few enough to be marked


class Point(NamedTuple):
    """A mean at a budget, with its interval where there is one."""

    budget: int
    mean: float
    low: float = math.nan
    high: float = math.nan


class Reference(NamedTuple):
    """A value that does not depend on the budget, such as a baseline's."""

    name: str
    value: float


@drawing
def training_curves(
    runs: Mapping[str, Mapping[str, Curve]],
    *,
    quantities: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None,
) -> Figure:
    """A panel per quantity, a line per run; NaN leaves a gap.

    Args:
        runs: Curves by run and quantity: of :mod:`mea_plugin.report.curves`.
        quantities: The panels; by default every quantity that a run has.
        styles: By run.
    """
    names = list(quantities or dict.fromkeys(name for curves in runs.values() for name in curves))
    figure, axes = grid_of_axes(len(names), 3, PAGE if len(names) > 1 else COLUMN, 1.75 if len(names) > 1 else 2.3)
    for axis, name in zip(axes, names, strict=False):
        curves = {run: curves[name] for run, curves in runs.items() if name in curves}
        for run, curve in curves.items():
            style = style_for(run, list(runs), styles)
            marker = style.marker if len(curve.values) <= _FEW else ''
            axis.plot(*curve, color=style.colour, linestyle=style.dash, marker=marker, label=label_of(run), linewidth=1)
        axis.set_title(label_of(name))
        axis.set_xlabel('iteration')
        _scale(axis, [value for curve in curves.values() for value in curve.values])
        axis.grid(True)
    legend(figure, axes, list(runs))
    return figure


@drawing
def fidelity_by_budget(
    series: Mapping[str, Sequence[Point]],
    *,
    label: str,
    references: Sequence[Reference] = (),
    styles: Mapping[str, Style] | None = None,
) -> Figure:
    """A metric over the number of queries, which doubles along the axis.

    Args:
        series: Points by method, in any order.
        label: The metric, with its unit.
        references: Drawn as level lines.
        styles: By method and reference.
    """
    figure, (axis,) = grid_of_axes(1, 1, COLUMN, 2.4)
    for name, points in series.items():
        style = style_for(name, list(series), styles)
        ordered = sorted(points)
        budgets = [point.budget for point in ordered]
        bounds = np.array([[point.mean - point.low, point.high - point.mean] for point in ordered]).reshape(-1, 2)
        axis.errorbar(
            budgets,
            [point.mean for point in ordered],
            yerr=np.maximum(np.nan_to_num(bounds.T), 0),
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker,
            elinewidth=0.8,
            label=label_of(name),
        )
    for reference in references:
        given = (styles or {}).get(reference.name, Style(QUIET, '', (0, (5, 1.5))))
        axis.axhline(
            reference.value, color=given.colour, linestyle=given.dash, linewidth=0.8, label=label_of(reference.name)
        )
    every = sorted({point.budget for points in series.values() for point in points if point.budget > 0})
    if every:
        axis.set_xscale('log', base=2)
        axis.set_xticks(_thinned(every), [f'{budget:,}' for budget in _thinned(every)])
        axis.minorticks_off()
    axis.set_xlabel('queries')
    axis.set_ylabel(label)
    axis.grid(True)
    legend(figure, [axis], [*series, *(reference.name for reference in references)], columns=3)
    return figure


@drawing
def power_spectra(
    radii: Sequence[float] | np.ndarray,
    spectra: Mapping[str, Sequence[float] | np.ndarray],
    *,
    reference: str | None = None,
    styles: Mapping[str, Style] | None = None,
) -> Figure:
    """Radial power spectra in dB and, below, how far each is from the reference's.

    Args:
        radii: ``(rings,)`` in cycles per pixel.
        spectra: ``(rings,)`` in dB, by model.
        reference: The model that the others are compared with, such as the victim.
        styles: By model.
    """
    count = 2 if reference in spectra else 1
    figure, axes = grid_of_axes(count, 1, COLUMN, 1.8 if count == 2 else 2.4, sharex=True)
    radii = np.asarray(radii)
    for name, spectrum in spectra.items():
        style = style_for(name, list(spectra), styles)
        axes[0].plot(radii, spectrum, color=style.colour, linestyle=style.dash, label=label_of(name))
        if count == 2:
            difference = np.asarray(spectrum) - np.asarray(spectra[str(reference)])
            axes[1].plot(radii, difference, color=style.colour, linestyle=style.dash)
    axes[0].set_ylabel('power (dB)')
    if count == 2:
        axes[1].set_ylabel(f'minus {label_of(str(reference))} (dB)')
    axes[-1].set_xlabel('spatial frequency (cycles per pixel)')
    axes[-1].set_xlim(0, float(radii.max(initial=0)) or 0.5)
    for axis in axes:
        axis.grid(True)
    legend(figure, axes[:1], list(spectra), columns=3)
    return figure


def _scale(axis: Axes, values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > _RANGE * min(finite):
        log_scale(axis)


def _thinned(values: Sequence[int]) -> list[int]:
    """Those whose labels do not run into each other on an axis of a column's width."""
    room = math.log(max(values[-1] / values[0], 2)) / 7
    kept = [values[0]]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= room:
            kept.append(value)
    return kept
