"""The section of an option file that says how queries are watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, check_number
from mea_plugin.serving.watch.detector import Calibration
from mea_plugin.serving.watch.response import Response

__all__ = ['WatchOptions']

_ON_CORRUPT = ('empty', 'refuse')


@dataclass(frozen=True)
class WatchOptions:
    """The section, checked.

    Attributes:
        calibration: Thresholds and what is ordinary.
        capacity: Queries that are remembered.
        store: Where they are kept across restarts; None: they are not.
        on_corrupt: What to do when the store is damaged.
        response: What is done about a score.
    """

    calibration: Calibration
    capacity: int
    store: Path | None
    on_corrupt: Literal['empty', 'refuse']
    response: Response

    @classmethod
    def parse(cls, options: Any, where: str, *, store: Path) -> WatchOptions:
        """Check the section.

        Args:
            options: Its content.
            where: The file and section, for errors.
            store: Where the memory is by default.

        Raises:
            InputError: An option is unknown or out of range, or the calibration cannot be read.
        """
        check_keys(options, ('calibration', 'capacity', 'store', 'on_corrupt', 'response'), where)
        check_number(options, 'capacity', where, least=100, most=10_000_000, optional=True)
        on_corrupt = options.get('on_corrupt', 'refuse')
        if on_corrupt not in _ON_CORRUPT:
            do = suggestion(str(on_corrupt), _ON_CORRUPT)
            raise InputError(f'on_corrupt is {on_corrupt!r}', where=where, do=do)
        return cls(
            calibration=_calibration(options, where),
            capacity=int(options.get('capacity') or 100_000),
            store=None if options.get('store') is False else Path(str(options.get('store') or store)),
            on_corrupt=on_corrupt,
            response=Response.parse(options.get('response') or [], f'{where}.response'),
        )


def _calibration(options: Mapping[str, Any], where: str) -> Calibration:
    path = options.get('calibration')
    if path is None:
        return Calibration()
    if not isinstance(path, str):
        raise InputError(f'calibration is {path!r}', where=where, do='Give the file of a calibration')
    return Calibration.load(Path(path).expanduser())
