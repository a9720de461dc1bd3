"""Whether a run of a study gives what an earlier one has published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = ['reproduction']


def reproduction(found: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[Table, bool]:
    """Compare two study.json: the differences over all configurations, and what each defence takes from each method.

    Args:
        found: Of this run.
        stated: The published one.

    Returns:
        A row per difference, and whether each mean that was found lies in the interval that was stated. A difference
        that one of the two lacks, or that was stated without an interval, does not.
    """
    metric = next(iter(stated['metrics']))
    about = stated['metrics'][metric]
    theirs, ours = (_differences(study, metric) for study in (stated, found))
    header = [
        Column('difference', 'difference', is_number=False),
        Column('stated', f'stated, {about["title"]}', has_interval=True),
        Column('found', 'found', has_interval=True),
        Column('reproduced', 'reproduced', is_number=False),
    ]
    rows, all_reproduced = [], bool(theirs)
    for name, one in theirs.items():
        mine = ours.get(name, {})
        low, high = one.get('interval') or (math.inf, -math.inf)
        is_in = mine.get('mean') is not None and low <= mine['mean'] <= high
        all_reproduced &= is_in
        cells = [_cell(of, about['digits']) for of in (one, mine)]
        rows.append([Cell(name), *cells, Cell('yes' if is_in else 'no')])
    return Table('reproduction', 'Reproduction of the stated differences', header, rows), all_reproduced


def _differences(study: Mapping[str, Any], metric: str) -> dict[str, Mapping[str, Any]]:
    """Mean and interval by what they are of."""
    found = {}
    for one in study['comparisons']:
        pooled = one['pooled'].get('all')
        found[one['name']] = pooled['metrics'].get(metric, {}) if pooled else {}
    for one in (study.get('defences') or {'attackers': []})['attackers']:
        place = f'{one["victim"]}, {one["surrogate"]}, {one["queries"]} {one["budget"]}'
        found[f'{one["defence"]}, {one["method"]} ({place})'] = one['metrics'].get(metric, {})
    return found


def _cell(found: Mapping[str, Any], digits: int) -> Cell:
    if found.get('mean') is None:
        return Cell('-')
    low, high = found.get('interval') or (None, None)
    return Cell(value=found['mean'], low=low, high=high, digits=digits, is_signed=True)
