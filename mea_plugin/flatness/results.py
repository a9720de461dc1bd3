"""What a measurement found, as the JSON file has it and as a table."""

from __future__ import annotations

from typing import Any

__all__ = ['FORMAT', 'flatness_table']

FORMAT = 2
"""Of flatness.json; the first had no checksum."""


def flatness_table(content: dict[str, Any]) -> str:
    """The trajectories as a Markdown table.

    Args:
        content: Of ``flatness.json``.
    """
    points = [point for trajectory in content['trajectories'].values() for point in trajectory]
    radii = list(points[0]['sharpness'])
    has_hessian = points[0]['top_eigenvalue'] is not None
    head = ['run', 'iteration', 'loss', *(f'sharpness {radius}' for radius in radii)]
    head += ['top eigenvalue', 'trace'] if has_hessian else []
    rows = [head, ['---', *['---:'] * (len(head) - 1)]]
    for name, trajectory in content['trajectories'].items():
        for point in trajectory:
            when = point['iteration'] if point['iteration'] is not None else point['checkpoint'].rpartition('/')[2]
            row = [name, str(when), _number(point['loss']), *(_number(point['sharpness'][radius]) for radius in radii)]
            if has_hessian:
                value, trace = point['top_eigenvalue'], point['trace']
                row.append(f'{_number(value["value"])} ± {_number(value["residual"])}')
                error = '' if trace['standard_error'] is None else f' ± {_number(trace["standard_error"])}'
                row.append(_number(trace['value']) + error)
            rows.append(row)
    lines = [f'| {" | ".join(row)} |' for row in rows]
    note = f'Loss: {content["loss"]}; {content["samples"]} crops.'
    if has_hessian:
        note += ' Top eigenvalue ± residual of the power iteration, trace ± standard error.'
    return '\n'.join([*lines, '', note, ''])


def _number(value: float | None) -> str:
    return 'not finite' if value is None else f'{value:.4g}'
