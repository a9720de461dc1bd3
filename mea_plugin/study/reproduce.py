"""Whether a run of a study gives what an earlier one has published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from mea_plugin.core.errors import InputError
from mea_plugin.core.records import read_record, tell_once
from mea_plugin.core.schema import first_error
from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = ['read_stated', 'reproduction']

FORMAT = 2
"""Of study.json; the first had no checksum."""

_DO = 'Give one that this tool wrote'


class _Metric(TypedDict):
    title: str
    digits: Annotated[int, Field(ge=0, le=20)]


class _Difference(TypedDict):
    mean: NotRequired[float | None]
    interval: NotRequired[Annotated[list[float], Field(min_length=2, max_length=2)] | None]


class _Pooled(TypedDict):
    metrics: dict[str, _Difference]


class _Comparison(TypedDict):
    name: str
    pooled: dict[str, _Pooled]


class _Attacker(TypedDict):
    victim: str
    surrogate: str
    queries: str
    budget: int
    defence: str
    method: str
    metrics: dict[str, _Difference]


class _Defences(TypedDict):
    attackers: list[_Attacker]


class _Study(TypedDict):
    metrics: Annotated[dict[str, _Metric], Field(min_length=1)]
    comparisons: list[_Comparison]
    defences: NotRequired[_Defences | None]


def read_stated(path: Path) -> dict[str, Any]:
    """Read a published study.json, as far as :func:`reproduction` compares it.

    Raises:
        InputError: It is missing or damaged, or of another kind or format.
    """
    try:
        return read_record(path, format=FORMAT, unsealed=1, check=_check, tell=tell_once, do=_DO)
    except FileNotFoundError:
        raise InputError('no such file', where=path, do=_DO) from None


def _check(content: dict[str, Any]) -> None:
    try:
        TypeAdapter(_Study).validate_python(content, strict=True)
    except ValidationError as error:
        raise first_error(error, content, '') from None


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
