"""The SQLite file of a service, and the one thread that works on it while the service runs.

Calls that wait are put into one transaction, each behind a savepoint: many bills share one sync of the disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mea_plugin.core.errors import InputError

__all__ = ['Database', 'open_store']

T = TypeVar('T')

_APPLICATION_ID = 0x6D656173  # 'meas'
_VERSION = 2
_GROUP = 64  # calls that share a transaction, at most

_SCHEMA = f"""
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hash BLOB UNIQUE,               -- SHA-256 of the key; NULL for the anonymous customer of an open service
    created REAL NOT NULL,
    revoked REAL,
    quota INTEGER,                  -- bills in all; NULL for no limit
    rate REAL,                      -- requests per second; NULL for no limit
    tokens REAL NOT NULL DEFAULT 0, -- of the rate's bucket, at the time `refilled`
    refilled REAL NOT NULL DEFAULT 0,
    pixel_rate REAL,                -- pixels per second; NULL for no limit
    pixel_tokens REAL NOT NULL DEFAULT 0,
    pixel_refilled REAL NOT NULL DEFAULT 0,
    billed INTEGER NOT NULL DEFAULT 0,
    reserved INTEGER NOT NULL DEFAULT 0  -- requests and jobs under way, which may become bills
);
CREATE TABLE replies (
    key_id INTEGER NOT NULL REFERENCES keys (id),
    idempotency_key TEXT NOT NULL,
    digest BLOB NOT NULL,           -- of what was asked
    format TEXT, image BLOB,        -- the reply of a translation
    job_id TEXT,                    -- the reply to a job's submission
    expires REAL NOT NULL,
    PRIMARY KEY (key_id, idempotency_key)
);
CREATE INDEX replies_expire ON replies (expires);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key_id INTEGER NOT NULL REFERENCES keys (id),
    owner TEXT NOT NULL DEFAULT '',  -- whose turns it takes: the key, or an address without one
    status TEXT NOT NULL,           -- queued, running, done, failed
    input BLOB,                     -- until it is done
    format TEXT, image BLOB,
    error TEXT,
    expires REAL
);
CREATE INDEX jobs_wait ON jobs (status, number);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""

_UPGRADE = """
ALTER TABLE keys ADD COLUMN pixel_rate REAL;
ALTER TABLE keys ADD COLUMN pixel_tokens REAL NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN pixel_refilled REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE jobs SET owner = 'key ' || key_id;
PRAGMA user_version = 2;
"""  # of version 1


def open_store(path: str | Path, *, check: bool = False) -> sqlite3.Connection:
    """Open a service's store, making it when it is missing.

    Args:
        path: The SQLite file.
        check: Read the whole file and look for damage.

    Returns:
        A connection in autocommit mode that any one thread at a time may use.

    Raises:
        InputError: The file cannot be written, is damaged, or is not a store of this version.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds customers' images
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'the store cannot be opened ({reason})', where=path, do='Name another store') from None
    try:
        _prepare(connection, path, check)
    except (sqlite3.DatabaseError, UnicodeError) as error:  # the latter: text that is none, also in SQLite's own words
        connection.close()
        raise _unusable(error, path) from None
    except InputError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, check: bool) -> None:
    connection.execute('PRAGMA journal_mode = WAL')
    connection.execute('PRAGMA foreign_keys = ON')
    connection.execute('BEGIN IMMEDIATE')
    version = (_pragma(connection, 'application_id'), _pragma(connection, 'user_version'))
    if version == (0, 0) and not connection.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
        for statement in _SCHEMA.split(';\n'):
            connection.execute(statement)
    elif version == (_APPLICATION_ID, 1):
        for statement in _UPGRADE.split(';\n'):
            connection.execute(statement)
    elif version != (_APPLICATION_ID, _VERSION):
        raise InputError('is a database, but no store of this version', where=path, do='Name another store')
    connection.execute('COMMIT')
    if check and (found := _pragma(connection, 'quick_check(1)')) != 'ok':
        raise sqlite3.DatabaseError(found)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f'PRAGMA {name}').fetchone()[0]


def _unusable(error: sqlite3.DatabaseError | UnicodeError, path: Path) -> InputError:
    if isinstance(error, sqlite3.OperationalError):  # read-only, locked, disk full
        return InputError(f'the store cannot be used ({error})', where=path, do='Check its folder, or name another')
    return InputError(
        f'the store is damaged ({error})', where=path, do='Put back a copy of it, or move it away for an empty one'
    )


@dataclass(frozen=True)
class _Call:
    function: Callable[[sqlite3.Connection], Any]
    durable: bool
    future: Future[Any]


class Database:
    """A store and the thread that works on it.

    Args:
        path: The SQLite file.

    Raises:
        InputError: As :func:`open_store`, or another service has the store.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = _lock(Path(path))
        try:
            self._connection = open_store(path, check=True)
        except InputError:
            self._lock.close()
            raise
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name='store', daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., T], *arguments: Any, durable: bool = False) -> T:
        """Have the thread call ``function(connection, *arguments)`` within a transaction.

        Args:
            function: What it raises is raised here, and what it wrote is undone.
            arguments: For the function.
            durable: The return waits until the disk has it. Without, a crash of the machine (not of the process) may
                undo it: good enough for rates and reservations, not for bills.
        """
        future: Future[T] = Future()
        self._calls.put(_Call(lambda connection: function(connection, *arguments), durable, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was called, then close the file."""
        self._calls.put(None)
        self._thread.join()
        self._connection.close()
        self._lock.close()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            group = [call]
            ended = False
            while len(group) < _GROUP and not self._calls.empty() and not ended:
                following = self._calls.get()
                ended = following is None
                if following is not None:
                    group.append(following)
            self._run([one for one in group if one.future.set_running_or_notify_cancel()])
            if ended:
                return

    def _run(self, group: list[_Call]) -> None:
        """Run calls in one transaction; nobody hears of a result before it is committed."""
        durable = any(call.durable for call in group)
        try:
            self._connection.execute(f'PRAGMA synchronous = {"FULL" if durable else "NORMAL"}')
            self._connection.execute('BEGIN IMMEDIATE')
            outcomes = [self._attempt(call) for call in group]
            self._connection.execute('COMMIT')
        except Exception as error:  # the disk is full, or the file is damaged
            if self._connection.in_transaction:
                self._connection.execute('ROLLBACK')
            for call in group:
                call.future.set_exception(error)
            return
        for call, (value, failure) in zip(group, outcomes, strict=True):
            if failure is not None:
                call.future.set_exception(failure)
            else:
                call.future.set_result(value)

    def _attempt(self, call: _Call) -> tuple[Any, Exception | None]:
        self._connection.execute('SAVEPOINT one')
        try:
            value = call.function(self._connection)
        except Exception as error:
            self._connection.execute('ROLLBACK TO one')
            self._connection.execute('RELEASE one')
            return None, error
        self._connection.execute('RELEASE one')
        return value, None


def _lock(path: Path) -> sqlite3.Connection:
    """Hold a neighbour of the store: a second service on the store would do its jobs twice. Gone with the process."""
    beside = path.with_name(f'{path.name}.lock')
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(beside, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute('BEGIN EXCLUSIVE')
    except (OSError, sqlite3.DatabaseError, UnicodeError) as error:
        if 'locked' in str(error):
            raise InputError('another service is using the store', where=path, do='Stop it, or name another') from None
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'the store cannot be opened ({reason})', where=path, do='Name another store') from None
    return connection
