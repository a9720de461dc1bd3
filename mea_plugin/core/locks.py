"""Locks on files that end with the process that holds them, whatever ends it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['is_locked', 'locked']


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold a file's lock; the file is made if need be, and stays.

    Args:
        path: The file.
        wait: For as long as another process holds it.

    Yields:
        The file's descriptor, for child processes that are to hold the lock, too.

    Raises:
        BlockingIOError: Another process holds it, and ``wait`` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a') as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.fileno()


def is_locked(path: Path) -> bool:
    """Whether a process holds a file's lock."""
    if not path.exists():
        return False
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True
