"""What has been measured already, one file each: an interrupted measurement goes on, a repeated one is quick."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mea_plugin.core.files import hash_json
from mea_plugin.core.records import find_record, write_record

__all__ = ['Parts', 'plain']

_FORMAT = 2  # the first, which did not say so, had no checksum


class Parts:
    """A folder of results, each under a hash of all that it depends on.

    Args:
        folder: Where they lie; made when the first is.
        inputs: What all of them depend on, as JSON knows it.
    """

    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self._folder = folder
        self._inputs = inputs

    def get(self, kind: str, inputs: dict[str, Any], measure: Callable[[], Any]) -> Any:
        """A result, measured unless it is there.

        Args:
            kind: What is measured.
            inputs: What it depends on besides.
            measure: Does it; infinite and undefined numbers in its result become None.
        """
        path = self._folder / f'{hash_json([kind, self._inputs, inputs])[:32]}.json'
        part = find_record(path, format=_FORMAT, unsealed=1)
        if part is None or part.get('kind') != kind or 'value' not in part:
            part = {'format': _FORMAT, 'kind': kind, 'value': plain(measure())}
            write_record(path, part)
        return part['value']


def plain(value: Any) -> Any:
    """As JSON has it, which knows neither infinity nor NaN: null stands for both."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
