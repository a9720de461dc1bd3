"""Which of the processes that share a ledger are alive: the kernel knows, even after ``kill -9``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ['Owner', 'alone', 'is_alive']


class Owner:
    """A process's sign of life: a file that it holds a lock on for as long as it lives.

    Args:
        folder: Where the files of all owners lie.

    Attributes:
        token: What the ledger calls this process.
        shared: Descriptor of a lock that all owners hold together.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(8)
        self._path = folder / self.token
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.shared = _open_shared(folder)
        fcntl.flock(self.shared, fcntl.LOCK_SH)

    def close(self) -> None:
        """Say good-bye. Idempotent."""
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            os.close(self.shared)
            self._file = -1


@contextlib.contextmanager
def alone(folder: Path, own: Owner | None) -> Iterator[bool]:
    """Keep other processes from becoming owners in the body, if none is one now; yields whether that is so."""
    shared = own.shared if own is not None else _open_shared(folder)
    try:
        fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_alone = True
    except BlockingIOError:
        is_alone = False
    try:
        yield is_alone
    finally:
        if own is not None:
            fcntl.flock(shared, fcntl.LOCK_SH)
        else:
            os.close(shared)


def _open_shared(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder.with_name('owners.lock'), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def is_alive(folder: Path, token: str) -> bool:
    """Whether the process that holds the token still runs. What a dead one left is cleared away."""
    path = folder / token
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)
