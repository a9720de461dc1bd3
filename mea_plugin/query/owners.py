"""Which of the processes that share a ledger are alive: the kernel knows, even after ``kill -9``."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

__all__ = ['Owner', 'is_alive']


class Owner:
    """A process's sign of life: a file that it holds a lock on for as long as it lives.

    Args:
        folder: Where the files of all owners lie.

    Attributes:
        token: What the ledger calls this process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(8)
        self._path = folder / self.token
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Say good-bye. Idempotent."""
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


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
