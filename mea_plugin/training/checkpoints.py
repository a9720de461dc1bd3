"""Checkpoint files: written aside and renamed, and looked at before they are trusted."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes

__all__ = ['VERSION', 'check_version', 'fault', 'newest_intact', 'read', 'write']

VERSION = 1
"""Of what this package adds to a toolbox's checkpoints."""


def write(path: str | Path, state: Any) -> str:
    """Save as ``torch.save`` does; the file appears whole or not at all.

    Returns:
        SHA-256 of the file's content, in hexadecimal digits.

    Raises:
        OSError: The disk is full or cannot be written to. An older file of that name is untouched.
    """
    buffer = io.BytesIO()  # torch's writer would turn a full disk into an error that does not say so
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def fault(path: str | Path) -> str | None:
    """What is wrong with a file that ``torch.save`` wrote, or None. Every byte is compared with its checksum.

    ``torch.load`` does not look at the checksums, so it would read a flipped bit as a weight.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        return 'is missing'
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        return f'cannot be read ({error})'
    return f'is damaged (at {broken})' if broken else None


def read(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, read without executing code in it.

    Raises:
        InputError: It is missing or damaged, or holds something else than a dict of plain values and tensors.
    """
    wrong = fault(path)
    if wrong:
        raise InputError(wrong, where=path, do='Resume from another checkpoint, or start anew')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch.load raises almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f'cannot be read without executing code ({reason})', where=path, do='Resume from another checkpoint'
        ) from error
    if not isinstance(state, dict):
        raise InputError(f'holds a {type(state).__name__}', where=path, do='Give a training state')
    return state


def newest_intact(
    paths: Iterable[Path], check: Callable[[Path], str | None], warn: Callable[[str], None]
) -> Path | None:
    """The first of some checkpoints, newest first, that nothing is wrong with; a word on each that is passed over.

    Args:
        paths: Newest first.
        check: Says what is wrong with one, or None.
        warn: Takes the words.

    Raises:
        InputError: There are some, and none is intact.
    """
    passed: list[Path] = []
    for path in paths:
        wrong = check(path)
        if wrong is None:
            if passed:
                warn(f'resuming from {path} instead')
            return path
        passed.append(path)
        warn(f'{path} is passed over: {wrong}')
    if passed:
        raise InputError(
            f'none of {len(passed)} checkpoints is intact', where=passed[0].parent, do='Start anew without resuming'
        )
    return None


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
