"""One picture of a measurement: sharpness, eigenvalue and trace along the trajectories, lines and planes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mea_plugin.core.packages import import_optional

__all__ = ['check_matplotlib', 'draw_overview']

_COLUMNS = 3
_DASHES = ('-', '--', ':', '-.')
_LEVELS = 14
_TITLES = {'top_eigenvalue': 'top Hessian eigenvalue ± residual', 'trace': 'Hessian trace ± standard error'}


def check_matplotlib() -> None:
    """See, before the work, that the picture can be drawn.

    Raises:
        InputError: matplotlib is missing.
    """
    import_optional('matplotlib.figure', 'the picture')


def draw_overview(content: dict[str, Any]) -> bytes:
    """The picture as a PNG file's content.

    Args:
        content: Of ``flatness.json``.
    """
    from matplotlib.figure import Figure

    panels = _panels(content)
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(4.4 * _COLUMNS, 3.5 * rows), layout='constrained')
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        panel(axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(f'{content["name"]}: {content["loss"]}, {content["samples"]} crops', fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=120)
    return buffer.getvalue()


def _panels(content: dict[str, Any]) -> list[Callable[[Any], None]]:
    """What is drawn into one axes each."""
    trajectories, landscapes = content['trajectories'], content['landscapes']
    first = next(iter(trajectories.values()))[0]
    panels: list[Callable[[Any], None]] = [partial(_loss, trajectories=trajectories)]
    if first['sharpness']:
        panels.append(partial(_sharpness, trajectories=trajectories))
    if first['top_eigenvalue'] is not None:
        panels.append(partial(_hessian, trajectories=trajectories, key='top_eigenvalue', error='residual'))
        panels.append(partial(_hessian, trajectories=trajectories, key='trace', error='standard_error'))
    if any(one['line'] for one in landscapes.values()):
        panels.append(partial(_lines, landscapes=landscapes))
    planes = {name: one['plane'] for name, one in landscapes.items() if one['plane']}
    levels = _levels(list(planes.values()))
    panels += [partial(_plane, name=name, plane=plane, levels=levels) for name, plane in planes.items()]
    return panels


def _abscissa(trajectories: dict[str, list[dict[str, Any]]]) -> tuple[str, dict[str, list[int]]]:
    """Iterations where all are known, else the checkpoints' numbers from 1 on."""
    if all(point['iteration'] is not None for points in trajectories.values() for point in points):
        return 'iteration', {name: [point['iteration'] for point in points] for name, points in trajectories.items()}
    return 'checkpoint', {name: list(range(1, len(points) + 1)) for name, points in trajectories.items()}


def _loss(axis: Any, trajectories: dict[str, list[dict[str, Any]]]) -> None:
    label, places = _abscissa(trajectories)
    for index, (name, points) in enumerate(trajectories.items()):
        axis.plot(places[name], [point['loss'] for point in points], label=name, color=f'C{index % 10}', marker='.')
    axis.set(title='loss', xlabel=label)
    axis.legend(fontsize=7)


def _sharpness(axis: Any, trajectories: dict[str, list[dict[str, Any]]]) -> None:
    label, places = _abscissa(trajectories)
    for index, (name, points) in enumerate(trajectories.items()):
        for number, radius in enumerate(points[0]['sharpness']):
            values = _array([point['sharpness'][radius] for point in points])
            style = {'linestyle': _DASHES[number % len(_DASHES)], 'color': f'C{index % 10}', 'marker': '.'}
            axis.plot(places[name], values, label=f'{name}, {radius}', **style)
    axis.set(title='sharpness max L(w + e) - L(w)', xlabel=label)
    axis.set_yscale('log' if _all_positive(axis) else 'linear')
    axis.legend(fontsize=7, title='run, radius', title_fontsize=7)


def _hessian(axis: Any, trajectories: dict[str, list[dict[str, Any]]], key: str, error: str) -> None:
    label, places = _abscissa(trajectories)
    for index, (name, points) in enumerate(trajectories.items()):
        values, errors = (_array([point[key][part] for point in points]) for part in ('value', error))
        bars = np.nan_to_num(errors)
        axis.errorbar(places[name], values, bars, label=name, color=f'C{index % 10}', marker='.', capsize=3)
    axis.set(title=_TITLES[key], xlabel=label)
    axis.legend(fontsize=7)


def _lines(axis: Any, landscapes: dict[str, Any]) -> None:
    for index, (name, landscape) in enumerate(landscapes.items()):
        if landscape['line']:
            line = landscape['line']
            axis.plot(line['steps'], _array(line['loss']), label=name, color=f'C{index % 10}')
    axis.set(title='loss along a random direction', xlabel='step', yscale='log')
    axis.legend(fontsize=7)


def _plane(axis: Any, name: str, plane: dict[str, Any], levels: list[float]) -> None:
    drawn = axis.contourf(plane['x'], plane['y'], _logarithm(plane), levels=levels, cmap='viridis')
    axis.plot(0, 0, marker='+', color='white')
    axis.set(title=f'log10 loss: {name}', xlabel='step', ylabel='step', aspect='equal')
    axis.figure.colorbar(drawn, ax=axis, shrink=0.8, format='%.2f')


def _levels(planes: list[dict[str, Any]]) -> list[float]:
    """The same colours for all planes, in equal ratios of the loss: a bowl is steep, and its bottom matters."""
    finite = [values[np.isfinite(values)] for values in map(_logarithm, planes)]
    values = np.concatenate([np.zeros(0), *finite])
    if not values.size:
        return [0.0, 1.0]
    low, high = float(values.min()), float(values.max())
    return [float(level) for level in np.linspace(low, max(high, low + 1e-6), _LEVELS)]


def _logarithm(plane: dict[str, Any]) -> np.ndarray:
    return np.log10(np.maximum(_array(plane['loss']), np.finfo(float).tiny))


def _all_positive(axis: Any) -> bool:
    return all(bool(np.all(drawn.get_ydata() > 0)) for drawn in axis.lines)


def _array(values: list[Any]) -> np.ndarray:
    """Numbers, None being NaN."""
    return np.array(values, dtype=float)
