"""The record of a finished cell: how it is written, and what is checked before its numbers are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from mea_plugin.core.errors import InputError
from mea_plugin.core.folders import OutsideError, inside
from mea_plugin.core.records import find_record, tell_once, write_record
from mea_plugin.core.schema import first_error

__all__ = ['FORMAT', 'Scores', 'check_scores', 'find_cell_record', 'write_cell_record']

FORMAT = 2
"""Of a cell's record; the first had no checksum."""

_Values = dict[str, list[float | None]]


class Scores(TypedDict):
    """One model's values on a test set: a list per metric, with a value per image."""

    images: Annotated[list[str], Field(min_length=1)]
    fidelity: Annotated[_Values, Field(min_length=1)]
    quality: NotRequired[_Values]


class _Train(TypedDict):
    iterations: NotRequired[int]
    seconds: NotRequired[float | None]
    cpu_seconds: NotRequired[float | None]


class _CellRecord(TypedDict):
    key: str
    test_sets: dict[str, Scores]
    train: _Train
    packages: dict[str, str]
    machine: dict[str, Any]


_ADAPTER = TypeAdapter(_CellRecord)


def write_cell_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write the record of a cell; ``format`` and checksum are added."""
    write_record(path, {'format': FORMAT, **content})


def find_cell_record(
    path: str | Path, key: str, test_sets: list[str], metrics: list[str] | None = None
) -> dict[str, Any] | None:
    """The record of a cell, or None where there is none, it is of other options, or it cannot be used.

    Why one cannot be used is said in a line.

    Args:
        path: The file.
        key: Of :func:`~mea_plugin.study.keys.cell_key`.
        test_sets: Names of those that it must have values for.
        metrics: Names of those that it must have values of.
    """
    path = Path(path)
    try:
        inside(path.parent, path, where=path)
    except OutsideError as error:
        tell_once(f'{error} It is passed over and made again.')
        return None
    check = partial(_check, test_sets=test_sets, metrics=metrics or [])
    record = find_record(path, format=FORMAT, unsealed=1, check=check)
    return record if record is not None and record['key'] == key else None


def _check(record: dict[str, Any], test_sets: list[str], metrics: list[str]) -> None:
    try:
        _ADAPTER.validate_python(record, strict=True)
    except ValidationError as error:
        raise first_error(error, record, '') from None
    if lacking := [name for name in test_sets if name not in record['test_sets']]:
        raise InputError(f"it has no values for the test set '{lacking[0]}'")
    check_scores(record['test_sets'], metrics)


def check_scores(test_sets: Mapping[str, Scores], metrics: Sequence[str]) -> None:
    """Refuse test sets with more or fewer values than images, or without a metric."""
    for name, scores in test_sets.items():
        of = {**scores['fidelity'], **{f'quality, {metric}': of for metric, of in scores.get('quality', {}).items()}}
        for metric, values in of.items():
            if len(values) != len(scores['images']):
                what = f'{len(values)} values for {len(scores["images"])} images'
                raise InputError(what, where=f'{name}, {metric}')
        if lacking := [metric for metric in metrics if metric not in scores['fidelity']]:
            raise InputError(f"it has no values of '{lacking[0]}'", where=name)
