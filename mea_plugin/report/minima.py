"""The table of a flatness measurement: every checkpoint's numbers, out of the content of its flatness.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = ['minima_table']

_ERRORS = {'top_eigenvalue': 'residual', 'trace': 'standard_error'}
_TITLES = {'top_eigenvalue': 'top eigenvalue', 'trace': 'trace'}


def minima_table(measured: Mapping[str, Any]) -> Table:
    """Loss, sharpness, eigenvalue and trace of each checkpoint, as far as they were measured.

    Nothing is in bold: these are numbers of single trainings, without intervals.

    Args:
        measured: The content of flatness.json.
    """
    points = [(name, point) for name, trajectory in measured['trajectories'].items() for point in trajectory]
    radii = list(dict.fromkeys(radius for _, point in points for radius in point['sharpness']))
    curvatures = [key for key in _ERRORS if any(point.get(key) for _, point in points)]
    header = [Column(name, name, is_number=name == 'loss') for name in ('run', 'iteration', 'loss')]
    header += [Column(f'sharpness_{radius}', f'sharpness at {radius}') for radius in radii]
    for key in curvatures:
        error = _ERRORS[key]
        header += [Column(key, _TITLES[key]), Column(f'{key}_{error}', f'± {error.replace("_", " ")}')]
    rows = [[Cell(name), *_numbers(point, radii, curvatures)] for name, point in points]
    count = measured['samples']
    notes = [
        f'Loss: {measured["loss"]}, over {count} {"crop" if count == 1 else "crops"} of queries and responses.',
        'Sharpness: the largest growth of the loss found in a radius (norm over all weights); eigenvalue and trace: '
        "of the loss's Hessian. Of networks of one architecture under one loss, the flatter minimum has lower numbers.",
    ]
    name = measured['name']
    return Table(f'{name}-flatness', f'{name}: flatness of each checkpoint', header, rows, notes)


def _numbers(point: Mapping[str, Any], radii: list[str], curvatures: list[str]) -> Iterator[Cell]:
    iteration = point['iteration']
    yield Cell(PurePath(point['checkpoint']).name if iteration is None else str(iteration))
    yield _cell(point['loss'])
    for radius in radii:
        yield _cell(point['sharpness'].get(radius))
    for key in curvatures:
        found = point.get(key) or {}
        yield _cell(found.get('value'))
        yield _cell(found.get(_ERRORS[key]), digits=2) if found.get(_ERRORS[key]) is not None else Cell()


def _cell(value: float | None, digits: int = 4) -> Cell:
    """A number of some digits; JSON has neither infinity nor NaN, and null stands for both."""
    if value is None:
        return Cell('not finite')
    return Cell(f'{value:.{digits}g}', value)
