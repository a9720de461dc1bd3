"""Files that appear whole or not at all, and hashes of content."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    'hash_array',
    'hash_file',
    'hash_json',
    'is_temporary',
    'read_json',
    'sync_folder',
    'write_bytes',
    'write_json',
    'write_text',
]


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
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + '\n')


def read_json(path: str | Path) -> Any | None:
    """The content of a JSON file, or None when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None


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
