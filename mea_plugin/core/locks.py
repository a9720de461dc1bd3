"""Locks on files that end with the process that holds them, whatever ends it."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mea_plugin.core.errors import InputError

__all__ = ['OwnedLock', 'is_locked', 'locked']

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_WAIT_S = 1.0  # for the holder to write who it is
_MAX_OWNER = 4096


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


class OwnedLock:
    """A lock that a process holds for as long as it works in a folder, and that tells others who holds it.

    The holder writes its host, process number and starting time into the file. Whether somebody holds it is decided by
    the kernel alone, never by what the file says. Child processes do not keep it; within one process it can be taken
    several times, and is free when each of them is released or collected.

    Args:
        path: The lock's file, not in a folder that the holder renames; it is made if need be, and stays.
        what: What is locked, for the error: usually a folder.

    Raises:
        InputError: Another process holds it; it is named.
    """

    def __init__(self, path: Path, what: str | os.PathLike[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = str(path.resolve())
        with _guard:
            held = _held.get(key)
            if held is None:
                held = _held[key] = (_take(path, what), 0)
            _held[key] = (held[0], held[1] + 1)
        self._finalizer = weakref.finalize(self, _release, key)

    def release(self) -> None:
        """Let others have it. Idempotent."""
        self._finalizer()

    def __enter__(self) -> OwnedLock:
        return self

    def __exit__(self, *args: object) -> None:
        self.release()


_held: dict[str, tuple[IO[bytes], int]] = {}  # by real path: the open file, and how many objects hold it
_guard = threading.RLock()  # a finalizer may run wherever objects are made


def _take(path: Path, what: str | os.PathLike[str]) -> IO[bytes]:
    file = path.open('a+b')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            raise InputError(
                f'is in use by {_describe(file)}',
                where=what,
                do='Wait until it ends or stop it, or give this run another name or folder',
            ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
        warnings.warn(f'{path.parent}: this disk has no locks ({error.strerror}); start no second run', stacklevel=2)
    except BaseException:
        file.close()
        raise
    owner = {'host': socket.gethostname(), 'pid': os.getpid(), 'since': _now()}
    file.truncate(0)
    file.write(json.dumps(owner).encode() + b'\n')
    file.flush()
    return file


def _release(key: str) -> None:
    with _guard:
        if key not in _held:  # in a forked child
            return
        file, count = _held.pop(key)
        if count > 1:
            _held[key] = (file, count - 1)
            return
        file.truncate(0)  # so that the next holder's line is not taken for this one's
        file.close()


def _describe(file: IO[bytes]) -> str:
    """Name the process that holds a lock, as its file does."""
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        file.seek(0)
        try:
            owner: Any = json.loads(file.read(_MAX_OWNER))
            return f'process {int(owner["pid"])} on {str(owner["host"])[:80]}, since {str(owner["since"])[:40]}'
        except (ValueError, KeyError, TypeError):  # not written yet
            time.sleep(0.05)
    return 'another process'


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M:%S UTC')


def _forget_in_child() -> None:
    """A child of this process shares its open files, and would hold the lock after its parent's death."""
    global _guard  # another thread may have held it
    _guard = threading.RLock()
    for file, _ in _held.values():
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
