"""Which run a folder and a checkpoint are of: a random name, made when the run starts, and kept when it is resumed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mea_plugin.core.records import find_record, write_record

__all__ = ['FILE', 'RUN', 'OtherRunError', 'check_run', 'new_run', 'note_run', 'noted_run']

FILE = 'run.json'
"""In a run's folder; says which run it is of."""

RUN = 'run'
"""Of what this package adds to a toolbox's checkpoints."""


def new_run() -> str:
    """A name that no other run has."""
    return secrets.token_hex(16)


def noted_run(folder: Path, warn: Callable[[str], None]) -> str | None:
    """The run that a folder is of; None where it does not say.

    Args:
        folder: Of the run, perhaps not there.
        warn: Called with a line if what it says is damaged.
    """
    run = (find_record(folder / FILE, warn) or {}).get(RUN)
    return run if isinstance(run, str) else None


def note_run(folder: Path, run: str) -> None:
    """Write down which run a folder is of, unless it says so already."""
    if noted_run(folder, lambda line: None) != run:
        write_record(folder / FILE, {RUN: run})


def check_run(state: Mapping[str, Any] | None, run: str | None) -> None:
    """Refuse a checkpoint of another run.

    Args:
        state: What this package added to it; None for a toolbox's own, which does not say.
        run: The folder's; None where it does not say.

    Raises:
        OtherRunError: It is of another.
    """
    found = (state or {}).get(RUN)
    if run is not None and found is not None and found != run:
        raise OtherRunError


class OtherRunError(Exception):
    """A checkpoint is of another run than the folder that it lies in."""

    def __str__(self) -> str:
        return f'is of another run than {FILE} says'
