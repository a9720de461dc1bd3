"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_json

__all__ = ['count_files', 'is_made', 'written_aside']

_MANIFEST = 'manifest.json'


def is_made(output: Path, made_by: dict[str, Any]) -> bool:
    """Whether a folder holds a result already; False when there is nothing in it.

    Args:
        output: The folder. Its manifest has ``made_by`` (or has it in its ``description``), and ``files``, the number
            of files beside the manifest.
        made_by: What the result is made of, and with which settings; nothing but JSON.

    Raises:
        InputError: It holds something else, or files of the result are gone.
    """
    if not output.exists():
        return False
    if not output.is_dir():
        raise InputError(f'{output} is not a folder', where='--output', do='Choose another folder')
    if not any(output.iterdir()):
        return False
    manifest = read_json(output / _MANIFEST)
    found = manifest if isinstance(manifest, dict) else {}
    description = found.get('description')
    if made_by not in (found.get('made_by'), description.get('made_by') if isinstance(description, dict) else None):
        raise InputError('holds something else', where=output, do='Choose another output folder')
    count = count_files(output)
    if count != found.get('files'):
        what = f'holds {count} files instead of {found.get("files")}'
        raise InputError(what, where=output, do='Remove it, and run the command again')
    return True


def count_files(folder: Path) -> int:
    """How many files are in a folder and below, the manifests left out."""
    return sum(name != _MANIFEST for _, _, files in os.walk(folder) for name in files)


@contextlib.contextmanager
def written_aside(output: Path) -> Iterator[Path]:
    """A new folder beside ``output``, which takes its name when the block ends.

    When the block fails, or the process is killed, there is no ``output``; what a killed process left is removed by
    the next.

    Args:
        output: A folder that does not exist or is empty.

    Raises:
        InputError: The folder cannot be made.
    """
    output = output.absolute()
    aside = output.parent / f'.{output.name}.part'
    try:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f'cannot be written to ({error.strerror})', where=output.parent, do='Choose another output folder'
        ) from None
    try:
        yield aside
        if output.exists():
            output.rmdir()
        aside.rename(output)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
