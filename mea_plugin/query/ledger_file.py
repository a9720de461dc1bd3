"""The file of a ledger: opened by any number of processes at once, set up by the first, written in transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Self

from mea_plugin.core.errors import InputError

__all__ = ['LedgerFile', 'check_intact', 'find_damage']

_FORMAT = 1
_BUSY_SECONDS = 60

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE account (spent INTEGER NOT NULL);
INSERT INTO account VALUES (0);
CREATE TABLE queries (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sent', 'doubt', 'settled', 'given up')),
    owner TEXT,
    key TEXT,
    response TEXT,
    height INTEGER,
    width INTEGER,
    query_bytes INTEGER,
    response_bytes INTEGER
);
CREATE INDEX unfinished ON queries (state) WHERE state IN ('sent', 'doubt', 'given up');
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    query INTEGER NOT NULL REFERENCES queries,
    charged INTEGER NOT NULL,
    started REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL DEFAULT 'sent' CHECK (outcome IN ('sent', 'settled', 'refused', 'doubt')),
    sent_bytes INTEGER,
    received_bytes INTEGER,
    note TEXT
);
CREATE INDEX attempts_of ON attempts (query);
CREATE TABLE images (
    signature TEXT PRIMARY KEY, hash TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL
) WITHOUT ROWID;
"""


def find_damage(path: Path) -> str | None:
    """What is wrong with a ledger's file, or None; nothing is written.

    Its pages and indices must agree (SQLite's ``integrity_check``, which holds ``quick_check`` and what looking up a
    query relies on), and what is spent must be the sum of its attempts' charges.
    """
    if not path.is_file() or not path.stat().st_size:
        return None  # one that is being set up
    mode = 'rw' if path.with_name(f'{path.name}-wal').exists() else 'ro'
    try:
        with contextlib.closing(
            sqlite3.connect(f'{path.absolute().as_uri()}?mode={mode}', timeout=_BUSY_SECONDS, uri=True)
        ) as db:
            if mode == 'rw':
                db.execute('PRAGMA query_only = 1')
            if db.execute('PRAGMA user_version').fetchone() != (_FORMAT,):
                return None
            db.execute('BEGIN')  # one moment of it, whatever others write
            ((found,),) = db.execute('PRAGMA integrity_check(1)').fetchall()
            if found != 'ok':
                return ' '.join(str(found).split())[:100]
            accounts = db.execute('SELECT spent FROM account').fetchall()
            (charged,) = db.execute('SELECT COALESCE(SUM(charged), 0) FROM attempts').fetchone()
            if accounts != [(charged,)]:
                return f'{accounts[0][0] if accounts else None} are spent, and its attempts are charged {charged}'[:100]
    except sqlite3.OperationalError:
        return None  # locked, or not to be read: opening it says so
    except (sqlite3.DatabaseError, ValueError, UnicodeError) as error:
        return str(error)[:100]
    return None


def check_intact(path: Path) -> None:
    """Refuse a damaged ledger before anything is written.

    Raises:
        InputError: It is damaged.
    """
    if damage := find_damage(path):
        raise InputError(
            f'the ledger is damaged ({damage})',
            where=path,
            do='Restore it from a copy, or move its folder away: then all queries are asked, and charged, again',
        )


class LedgerFile:
    """The SQLite database of a ledger, and what is noted about the whole.

    Args:
        folder: Where it lies, as ``ledger.sqlite``; made if it is not there.
        create: Make one if there is none.

    Attributes:
        folder: As given.
        path: The file.

    Raises:
        InputError: There is none, it is damaged, of a newer version, or cannot be written.
    """

    def __init__(self, folder: str | Path, *, create: bool = True) -> None:
        self.folder = Path(folder)
        self.path = self.folder / 'ledger.sqlite'
        if not create and not self.path.is_file():
            raise InputError('no ledger', where=self.folder, do='Check the output folder, or run without --status')
        check_intact(self.path)
        with self._readable():
            if create:
                self.folder.mkdir(parents=True, exist_ok=True)
            deadline = time.monotonic() + _BUSY_SECONDS
            while not self._open():
                if time.monotonic() > deadline:
                    raise TimeoutError('other processes keep it locked')
                time.sleep(0.01)

    def _open(self) -> bool:
        """Connect; False where another process is setting the file up, for which SQLite does not wait."""
        # Transactions are begun here; the connection may be used by one thread after another.
        self._connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute('PRAGMA journal_mode = WAL')
            self._connection.execute('PRAGMA synchronous = FULL')  # a charge survives a loss of power
            self._set_up()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.OperationalError) and 'locked' in str(error):
                return False
            raise
        return True

    def close(self) -> None:
        """Leave the file. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do everything in the body or nothing; others wait. Not nested.

        Raises:
            InputError: The ledger cannot be read or written.
        """
        with self._readable():
            self._connection.execute('BEGIN IMMEDIATE')
            try:
                yield self._connection
                self._connection.execute('COMMIT')
            except BaseException:  # also of the commit: on a full disk, it leaves the transaction open
                if self._connection.in_transaction:
                    self._connection.execute('ROLLBACK')
                raise

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple]:
        """Read, outside a transaction."""
        with self._readable():
            yield from self._connection.execute(sql, parameters)

    def about(self) -> dict[str, str]:
        """What was noted with :meth:`note`."""
        return dict(self.rows('SELECT key, value FROM about'))

    def note(self, **values: str) -> None:
        """Note something about the whole, such as the victim that it belongs to."""
        with self.transaction() as db:
            db.executemany('INSERT OR REPLACE INTO about VALUES (?, ?)', values.items())

    def note_first(self, key: str, **values: str) -> dict[str, str]:
        """Note something unless another process has noted ``key`` before; returns what :meth:`about` does."""
        with self.transaction() as db:
            if not db.execute('SELECT 1 FROM about WHERE key = ?', (key,)).fetchone():
                db.executemany('INSERT OR REPLACE INTO about VALUES (?, ?)', values.items())
            return dict(db.execute('SELECT key, value FROM about').fetchall())

    def _set_up(self) -> None:
        (version,) = self._connection.execute('PRAGMA user_version').fetchone()
        if version == 0:
            with self.transaction() as db:
                if db.execute('PRAGMA user_version').fetchone() == (0,):  # another process may have come first
                    if (self.folder / 'pairs').exists():  # a new ledger would pay for them again
                        raise InputError(
                            'the ledger is empty or gone, but answers lie beside it, in pairs/',
                            where=self.path,
                            do='Restore it from a copy, or move the folder away',
                        )
                    for statement in _SCHEMA.split(';')[:-1]:
                        db.execute(statement)
                    db.execute(f'PRAGMA user_version = {_FORMAT}')
        elif version > _FORMAT:
            raise InputError(
                f'the ledger has format {version}, and this version knows {_FORMAT}',
                where=self.path,
                do='Use the newer version of this package',
            )

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:  # the last: text that is none
            reason = getattr(error, 'strerror', None) or str(error)
            raise InputError(
                f'the ledger cannot be used ({reason})',
                where=self.path,
                do='Check the disk and the rights to the folder; a damaged ledger must be restored from a copy',
            ) from error
