"""Files that appear whole or not at all, and hashes of content."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

__all__ = [
    'DEEPEST',
    'LARGEST',
    'hash_array',
    'hash_file',
    'hash_json',
    'is_temporary',
    'parse_json',
    'read_bytes',
    'read_json',
    'sync_folder',
    'write_bytes',
    'write_json',
    'write_text',
]


LARGEST = 1 << 30
"""Bytes of a file that is read at once: the manifest of a million images has a third of it."""

DEEPEST = 100
"""Levels that JSON may be nested; what this package writes has ten."""

_DIGITS = 300  # of a whole number: a float can hold it

_TEMPORARY = '.tmp-'


def is_temporary(path: Path) -> bool:
    """Whether a file is one that is being written, or that a killed process has left so."""
    return path.name.startswith(_TEMPORARY)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file through a synced temporary neighbour and a rename, so that no reader ever sees half of it.

    Raises:
        OSError: It cannot be written; the error names it. An older file of that name is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'{_TEMPORARY}{secrets.token_hex(8)}'  # mkstemp would make it private
    try:
        with temporary.open('xb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # it names the temporary one, or none at all
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sync_folder(folder: str | Path) -> None:
    """Make the names in a folder durable: after a loss of power, renamed files are there under their new names."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text; the file appears whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON; the file appears whole or not at all. NaN is refused: it is not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii() and text.encode(errors='replace').decode() != text:  # a file's name need not be UTF-8
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + '\n')


def read_bytes(path: str | Path, most: int = LARGEST) -> bytes:
    """The content of a regular file. A pipe or a device is refused, and nobody waits for it.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, 'rb') as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, 'no regular file', str(path))
        content = file.read(most + 1) if about.st_size <= most else b''
        if about.st_size > most or len(content) > most:
            raise OSError(errno.EFBIG, f'larger than {most} bytes', str(path))
        return content


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, which may come from anybody.

    Raises:
        ValueError: It is no JSON, holds a number that is not finite, or is nested more than :data:`DEEPEST` levels.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
        _check_depth(value)
    except RecursionError:
        raise ValueError('nested too deeply') from None
    return value


def read_json(path: str | Path) -> Any | None:
    """The content of a JSON file, or None when it is missing or damaged; see :func:`parse_json`."""
    try:
        return parse_json(read_bytes(path))
    except (OSError, ValueError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f'{name} is not JSON')


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError('a number is too large')
    return number


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError('a number is too large')
    return int(text)


def _check_depth(value: Any) -> None:
    """Level by level: what is nested within the parser's limit may still be too deep for whoever walks through it."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError('nested too deeply')
        containers = (one for one in level if isinstance(one, dict | list))
        level = [
            inner
            for one in containers
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and content: the same image has the same hash in any file format."""
    digest = hashlib.sha256(f'{array.dtype.str}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(',', ':')).encode()).hexdigest()
