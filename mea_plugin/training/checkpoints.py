"""Checkpoint files: written aside and renamed, and looked at before they are trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.torch_files import LOG_HISTORY, fault, read_torch_file, write_torch_file
from mea_plugin.training.run_identity import OtherRunError

__all__ = ['VERSION', 'check_version', 'fault', 'has_intact', 'newest_intact', 'read', 'write']

VERSION = 1
"""Of what this package adds to a toolbox's checkpoints."""


def write(path: str | Path, state: Any) -> str:
    """Save as ``torch.save`` does, with a hash over the whole; the file appears whole or not at all.

    Returns:
        SHA-256 of the file's content, in hexadecimal digits.

    Raises:
        OSError: The disk is full or cannot be written to. An older file of that name is untouched.
    """
    return write_torch_file(path, state)


def read(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, read without executing code in it; every bit of it is checked before.

    Numbers that MMEngine logs are stand-ins in it: see :data:`mea_plugin.core.torch_files.LOG_HISTORY`.

    Raises:
        InputError: It is missing or damaged, or holds something else than a dict of plain values and tensors.
    """
    do = 'Resume from another checkpoint, or start anew'
    state = read_torch_file(path, has_stub=LOG_HISTORY.__contains__, do=do)
    if not isinstance(state, dict):
        raise InputError('holds no dict', where=path, do='Give a training state')
    return state


def newest_intact(paths: Iterable[Path], check: Callable[[Path], None], warn: Callable[[str], None]) -> Path | None:
    """The first checkpoint, newest first, that nothing is wrong with; each that is passed over is told in a line.

    Args:
        paths: Newest first.
        check: Raises an InputError for one that is damaged, and
            :class:`~mea_plugin.training.run_identity.OtherRunError` for one of another run.
        warn: Called with the lines.

    Returns:
        None if there is none, or none of this run.

    Raises:
        InputError: There are some of this run, and none is intact.
    """
    damaged: list[tuple[Path, str]] = []
    passed = False
    for path in paths:
        try:
            check(path)
        except OtherRunError as error:
            warn(f'{path} is passed over: it {error}')
        except InputError as error:
            warn(f'{path} is passed over: {error.what}')
            damaged.append((path, error.what))
        else:
            if passed:
                warn(f'resuming from {path} instead')
            return path
        passed = True
    if damaged:
        newest, what = damaged[0]
        raise InputError(
            f'none of {len(damaged)} checkpoints is intact ({newest.name} {what})',
            where=newest.parent,
            do='Start anew without resuming',
        )
    return None


def has_intact(paths: Iterable[Path]) -> bool:
    """Whether the newest checkpoint, of some that are given newest first, is one to go on from."""
    newest = next(iter(paths), None)
    return newest is not None and fault(newest) is None


def check_version(version: Any, path: str | Path) -> None:
    """Refuse what a newer version of this package has written.

    Raises:
        InputError: It is newer.
    """
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f'was written by a newer version of mea_plugin (format {version}, this one knows {VERSION})',
            where=path,
            do='Update mea_plugin',
        )
