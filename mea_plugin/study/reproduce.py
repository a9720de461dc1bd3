"""Whether a run of a study gives what an earlier one has published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = ['reproduction']


def reproduction(found: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[Table, bool]:
    """Compare the differences over all configurations of two study.json.

    Args:
        found: Of this run.
        stated: The published one.

    Returns:
        A row per comparison, and whether each mean that was found lies in the interval that was stated. A comparison
        that one of the two lacks, or that was stated without an interval, does not.
    """
    metric = next(iter(stated['metrics']))
    about = stated['metrics'][metric]
    ours = {one['name']: one for one in found['comparisons']}
    header = [
        Column('comparison', 'comparison', is_number=False),
        Column('stated', f'stated, {about["title"]}', has_interval=True),
        Column('found', 'found', has_interval=True),
        Column('reproduced', 'reproduced', is_number=False),
    ]
    rows, all_reproduced = [], bool(stated['comparisons'])
    for one in stated['comparisons']:
        theirs = _pooled(one, metric)
        mine = _pooled(ours.get(one['name']), metric)
        low, high = theirs.get('interval') or (math.inf, -math.inf)
        is_in = mine.get('mean') is not None and low <= mine['mean'] <= high
        all_reproduced &= is_in
        cells = [_cell(of, about['digits']) for of in (theirs, mine)]
        rows.append([Cell(one['name']), *cells, Cell('yes' if is_in else 'no')])
    return Table('reproduction', 'Reproduction of the stated differences', header, rows), all_reproduced


def _pooled(comparison: Mapping[str, Any] | None, metric: str) -> Mapping[str, Any]:
    if comparison is None or 'all' not in comparison['pooled']:
        return {}
    found: Mapping[str, Any] = comparison['pooled']['all']['metrics'].get(metric, {})
    return found


def _cell(found: Mapping[str, Any], digits: int) -> Cell:
    if found.get('mean') is None:
        return Cell('-')
    low, high = found.get('interval') or (None, None)
    return Cell(value=found['mean'], low=low, high=high, digits=digits, is_signed=True)
