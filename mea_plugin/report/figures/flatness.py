"""How flat a minimum is: measures along a training, and the loss around its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mea_plugin.report.figures.style import (
    COLUMN,
    INK,
    PAGE,
    Style,
    drawing,
    grid_of_axes,
    label_of,
    legend,
    log_scale,
    style_for,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['landscape_line', 'landscape_plane', 'trajectory']

_RANGE = 30
_LEVELS = 12


@drawing
def trajectory(
    trajectories: Mapping[str, Sequence[Mapping[str, Any]]], *, styles: Mapping[str, Style] | None = None
) -> Figure:
    """A panel per measure: loss, sharpness at each radius, top eigenvalue (± residual), trace (± standard error).

    Args:
        trajectories: ``trajectories`` of flatness.json.
        styles: By run.
    """
    measured = {name: list(_measures(points)) for name, points in trajectories.items()}
    titles = list(dict.fromkeys(title for measures in measured.values() for title, _, _ in measures))
    figure, axes = grid_of_axes(len(titles), 3, PAGE if len(titles) > 1 else COLUMN, 1.8)
    by_iteration = all(point['iteration'] is not None for points in trajectories.values() for point in points)
    for axis, title in zip(axes, titles, strict=False):
        for name, measures in measured.items():
            style = style_for(name, list(trajectories), styles)
            for _, values, errors in [one for one in measures if one[0] == title]:
                axis.errorbar(
                    _places(trajectories[name], by_iteration=by_iteration),
                    values,
                    yerr=errors,
                    color=style.colour,
                    linestyle=style.dash,
                    marker=style.marker,
                    elinewidth=0.8,
                    label=label_of(name),
                )
        axis.set_title(title)
        axis.set_xlabel('iteration' if by_iteration else 'checkpoint')
        axis.grid(True)
    legend(figure, axes, list(trajectories))
    return figure


@drawing
def landscape_line(landscapes: Mapping[str, Mapping[str, Any]], *, styles: Mapping[str, Style] | None = None) -> Figure:
    """The loss along one filter-normalised direction, a line per run.

    Args:
        landscapes: ``landscapes`` of flatness.json; runs without a line are left out.
        styles: By run.
    """
    lines = {name: one['line'] for name, one in landscapes.items() if one.get('line')}
    figure, (axis,) = grid_of_axes(1, 1, COLUMN, 2.3)
    for name, line in lines.items():
        style = style_for(name, list(landscapes), styles)
        axis.plot(line['steps'], _floats(line['loss']), color=style.colour, linestyle=style.dash, label=label_of(name))
    losses = np.concatenate([_floats(line['loss']) for line in lines.values()] or [np.empty(0)])
    if _is_wide(losses):
        log_scale(axis)
    axis.axvline(0, color=INK, linewidth=0.6)
    axis.set_xlabel('step along a filter-normalised direction')
    axis.set_ylabel('loss')
    axis.grid(True)
    legend(figure, [axis], list(lines), columns=3)
    return figure


@drawing
def landscape_plane(landscapes: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The loss on the plane of two filter-normalised directions: a panel per run, all with the same levels.

    Args:
        landscapes: ``landscapes`` of flatness.json; runs without a plane are left out. ``loss[i][j]`` is at ``y[i]``
            and ``x[j]``; null, where it was not finite, stays blank.
    """
    planes = {name: one['plane'] for name, one in landscapes.items() if one.get('plane')}
    columns = min(3, max(1, len(planes)))
    width = {1: COLUMN, 2: 5.6, 3: PAGE}[columns]
    figure, axes = grid_of_axes(len(planes), 3, width, min(2.6, 0.88 * width / columns), sharex=True, sharey=True)
    losses = {name: np.array([_floats(row) for row in plane['loss']]) for name, plane in planes.items()}
    levels, is_log = _levels(np.concatenate([loss.ravel() for loss in losses.values()] or [np.empty(0)]))
    for axis, (name, plane) in zip(axes, planes.items(), strict=False):
        loss = np.ma.masked_invalid(losses[name])
        norm = _norm(levels, is_log)
        filled = axis.contourf(plane['x'], plane['y'], loss, levels, cmap='cividis_r', norm=norm)
        axis.contour(plane['x'], plane['y'], loss, levels, colors=INK, linewidths=0.3, alpha=0.6)
        axis.plot([0], [0], marker='+', color='#ffffff', markersize=7, markeredgewidth=2.2)
        axis.plot([0], [0], marker='+', color='#000000', markersize=6, markeredgewidth=1)
        axis.set_aspect('equal')
        axis.set_title(label_of(name))
        axis.set_xlabel('first direction')
    if planes:
        axes[0].set_ylabel('second direction')
        bar = figure.colorbar(filled, ax=axes, ticks=levels[::3], shrink=0.9, pad=0.02)
        bar.ax.set_yticks(levels[::3], [f'{level:.3g}' for level in levels[::3]])
        bar.ax.minorticks_off()
        bar.set_label('loss')
        bar.outline.set_linewidth(0.4)
    return figure


def _measures(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Title, values and errors of each measure."""
    yield 'loss', _floats([point['loss'] for point in points]), None
    for radius in points[0]['sharpness'] if points else ():
        yield f'sharpness, radius {radius}', _floats([point['sharpness'].get(radius) for point in points]), None
    for name, title, error in (
        ('top_eigenvalue', 'top Hessian eigenvalue', 'residual'),
        ('trace', 'Hessian trace', 'standard_error'),
    ):
        found = [point.get(name) or {} for point in points]
        if any(found):
            errors = np.nan_to_num(_floats([one.get(error) for one in found]))
            yield title, _floats([one.get('value') for one in found]), errors


def _places(points: Sequence[Mapping[str, Any]], *, by_iteration: bool) -> list[int]:
    """Where on the axis: the iterations, or the numbers of the checkpoints where one of any run has none."""
    return [point['iteration'] if by_iteration else number for number, point in enumerate(points, 1)]


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _is_wide(losses: np.ndarray) -> bool:
    finite = losses[np.isfinite(losses)]
    return bool(len(finite)) and float(finite.min()) > 0 and float(finite.max()) > _RANGE * float(finite.min())


def _levels(losses: np.ndarray) -> tuple[np.ndarray, bool]:
    """Levels from the lowest loss to the highest, in equal steps or, where that spans decades, equal factors."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return np.array([0.0, 1.0]), False
    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.array([low, low + (abs(low) or 1.0)]), False
    if _is_wide(losses):
        return np.geomspace(low, high, _LEVELS + 1), True
    return np.linspace(low, high, _LEVELS + 1), False


def _norm(levels: np.ndarray, is_log: bool) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (LogNorm if is_log else Normalize)(float(levels[0]), float(levels[-1]))
