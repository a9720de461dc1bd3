"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mea_plugin.core.errors import InputError, line_of
from mea_plugin.core.files import read_json

__all__ = [
    'OutsideError',
    'count_files',
    'held_folder',
    'inside',
    'is_inside',
    'is_made',
    'part_folder',
    'written_aside',
]

_MANIFEST = 'manifest.json'
_LONGEST_NAME = 255  # bytes that disks take
_LONGEST_PATH = 400  # characters of one in an error


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


class OutsideError(InputError):
    """Something that is not trusted names a file outside of the folder that may be read."""


def inside(folder: Path, given: str | Path, *, where: str | Path, do: str = 'Put the file there') -> Path:
    """The real path of a file that something untrusted names, when it lies in a folder.

    Symbolic links are followed before it is decided, and none is left in the path. The file need not exist.

    Args:
        folder: What may be read.
        given: A path relative to it, as a text that is not trusted; or a :class:`~pathlib.Path` that was found there,
            of which only the links are.
        where: What names the file, for the error.
        do: What to do, for the error.

    Raises:
        OutsideError: The path is absolute, has a ``..`` or a backslash, is no path at all, or leads outside by a link.
    """
    name = f"'{line_of(os.fspath(given), _LONGEST_PATH)}'"
    if isinstance(given, str):
        parts = PurePosixPath(given)
        is_long = any(len(part.encode(errors='replace')) > _LONGEST_NAME for part in parts.parts)
        if not given or is_long or {'\0', '\\'} & set(given) or parts.is_absolute() or '..' in parts.parts:
            raise OutsideError(f'it names {name}, which is no path inside its folder', where=where, do=do)
    try:
        path, root = (folder / given).resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle; a name that is too long
        raise OutsideError(f'it names {name}, which is no path', where=where, do=do) from None
    if path != root and root not in path.parents:
        raise OutsideError(f'it names {name}, a link to outside of its folder', where=where, do=do)
    return path


def is_inside(folder: Path, given: str | Path) -> bool:
    """Test whether a path lies inside a folder once links are followed; see :func:`inside`."""
    try:
        inside(folder, given, where=folder)
    except OutsideError:
        return False
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
    with part_folder(output.parent / f'.{output.name}.part') as aside:
        yield aside
        if output.exists():
            output.rmdir()
        aside.rename(output)


@contextlib.contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """An empty folder that is gone when the block ends, for files that move to their places then.

    When the block fails, folders that were made to hold it are gone as well. What a killed process left is removed by
    the next; what another process is writing is left alone.

    Args:
        path: The folder, on the disk of those places.

    Raises:
        InputError: The folder cannot be made, or another process holds it.
    """
    created = [folder for folder in path.parents if not folder.exists()]
    with contextlib.ExitStack() as held:
        try:
            if path.is_symlink():  # its target is not ours to empty
                path.unlink()
            held.enter_context(held_folder(path))
            _empty(path)
        except OSError as error:
            raise InputError(
                f'cannot be written to ({error.strerror})', where=path.parent, do='Choose another output folder'
            ) from None
        try:
            yield path
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            for folder in created:
                with contextlib.suppress(OSError):  # something else is in it by now
                    folder.rmdir()
            raise
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def held_folder(path: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be; what is in it is nobody else's until the block or the process ends.

    A folder that was made for it is gone when the block fails and has left nothing there.

    Raises:
        InputError: Another process holds it.
        OSError: It cannot be made.
    """
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            do = 'Wait for it, or choose another output folder'
            raise InputError('another process is writing there', where=path, do=do) from None
        except OSError:  # a file system without locks on folders
            pass
        if not path.exists():  # who held it has ended in between, and removed it
            path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # something is in it
                path.rmdir()
        raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()
