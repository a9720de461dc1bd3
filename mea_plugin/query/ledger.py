"""The durable record of queries: what was sent, what came back, what it cost.

One SQLite file in WAL mode per victim and output folder. A query is an image by content, so that the same image is one
query whatever its file is called; an attempt is one time that it is sent. States of a query:

======== ===============================================================================================
open     not sent, or refused by the victim without an answer
sent     reserved by a process, and perhaps on its way
doubt    sent, and nobody knows whether it was answered: the process was killed, or the connection broke
settled  the response is on disk
given up in doubt, and not to be sent again
======== ===============================================================================================

An attempt is charged in the transaction that reserves it, before it is sent; the charge goes only when the victim said
that it did not answer. ``spent`` is the number of charges, and never exceeds the budget of whoever reserves.
Any number of processes may share a ledger.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mea_plugin.core.errors import InputError
from mea_plugin.query.ledger_file import LedgerFile
from mea_plugin.query.owners import Owner, alone, is_alive

__all__ = ['Attempt', 'InDoubt', 'Ledger', 'Reservation', 'Settled']

_SPARE = 32 << 20  # bytes that must be free before anything is sent

# Attempts of a query that are in doubt, since it was last answered.
_DOUBTS = """
SELECT COUNT(*) FROM attempts WHERE query = ? AND outcome = 'doubt' AND id > COALESCE(
    (SELECT MAX(id) FROM attempts WHERE query = ? AND outcome = 'settled'), 0)
"""
_GIVE_UP = "UPDATE queries SET state = 'given up', owner = NULL WHERE id = ? AND state = 'doubt'"

InDoubt = Literal['free', 'resend', 'abandon']
"""What to do with a query in doubt: send it again at no cost (the victim is a network here, or honours the key that it
was sent under), send it again as one more charge, or give it up."""


@dataclass(frozen=True)
class Attempt:
    """A query that may be sent now.

    Attributes:
        id: Of the attempt.
        query: Of the query.
        key: The Idempotency-Key to send it under.
    """

    id: int
    query: int
    key: str


@dataclass(frozen=True)
class Reservation:
    """What came of asking for several queries.

    Attributes:
        attempts: Those that may be sent, by query.
        exhausted: Whether the budget did not suffice for all.
    """

    attempts: dict[int, Attempt]
    exhausted: bool


@dataclass(frozen=True)
class Settled:
    """An answer that is on disk.

    Attributes:
        attempt: That brought it.
        response: Hash of its pixels.
        size: Its height and width.
        bytes: Of the files of query and response.
        sent_bytes: Over the network, where it was one.
        received_bytes: Likewise.
        note: Whatever is worth keeping about it.
    """

    attempt: Attempt
    response: str
    size: tuple[int, int]
    bytes: tuple[int, int]
    sent_bytes: int | None = None
    received_bytes: int | None = None
    note: str | None = None


class Ledger(LedgerFile):
    """A ledger's folder: ``ledger.sqlite``, the ``pairs`` that were paid for, and the signs of life of its ``owners``.

    Args:
        folder: Where it lies; made if it is not there.
        create: Make one if there is none.

    Raises:
        InputError: There is none, it is damaged, of a newer version, or cannot be written.
    """

    def __init__(self, folder: str | Path, *, create: bool = True) -> None:
        self._owner: Owner | None = None
        super().__init__(folder, create=create)

    def close(self) -> None:
        """Leave the ledger: what this process has reserved and not settled is in doubt from now on."""
        super().close()
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    @property
    def spent(self) -> int:
        """The charges so far."""
        ((spent,),) = self.rows('SELECT spent FROM account')
        return int(spent)

    @property
    def spent_for_good(self) -> int:
        """The charges that no refusal can take back any more: all but those of attempts that are on their way."""
        sent = "SELECT COALESCE(SUM(charged), 0) FROM attempts WHERE outcome = 'sent'"
        ((spent,),) = self.rows(f'SELECT spent - ({sent}) FROM account')
        return int(spent)

    def register(self, images: Iterable[tuple[str, str, tuple[int, int]]]) -> dict[str, int]:
        """Note what images hold, so that they need not be read again, and give each content its number.

        Args:
            images: Signature of the file and options, hash of the pixels that are sent, their height and width.

        Returns:
            Number of the query by hash.
        """
        images = list(images)
        with self.transaction() as db:
            db.executemany(
                'INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)',
                ((signature, content, *size) for signature, content, size in images),
            )
            db.executemany('INSERT OR IGNORE INTO queries (hash) VALUES (?)', ((content,) for _, content, _ in images))
            find = 'SELECT id FROM queries WHERE hash = ?'
            return {content: db.execute(find, (content,)).fetchone()[0] for _, content, _ in images}

    def reserve(self, queries: Iterable[int], *, budget: int | None, in_doubt: InDoubt) -> Reservation:
        """Charge queries to the budget, all that may be sent and that it suffices for, in one transaction.

        Those that are settled, given up, or on their way from a process that lives are left out.

        Args:
            queries: Their numbers.
            budget: How many charges there may be in all; None for any number.
            in_doubt: What to do with those in doubt.

        Raises:
            InputError: The ledger cannot be written, or the disk is so full that an answer might not fit.
        """
        with self._readable():
            free = shutil.disk_usage(self.folder).free
        if free < _SPARE:
            raise InputError(
                f'the disk has {free >> 20} MiB left, and an answer that was paid for might not fit',
                where=self.folder,
                do='Free some space, then run the same command again',
            )
        owner = self._own()
        attempts: dict[int, Attempt] = {}
        with self.transaction() as db:
            (spent,) = db.execute('SELECT spent FROM account').fetchone()
            exhausted = False
            for query in queries:
                state, holder, key = db.execute(
                    'SELECT state, owner, key FROM queries WHERE id = ?', (query,)
                ).fetchone()
                if state in ('settled', 'given up') or (state == 'sent' and self._lives(holder)):
                    continue
                if state == 'sent':
                    self._to_doubt(db, query, 'the process ended')
                    state = 'doubt'
                if state == 'doubt' and in_doubt == 'abandon':
                    db.execute(_GIVE_UP, (query,))
                    continue
                charge = int(not (state == 'doubt' and in_doubt == 'free'))
                if budget is not None and spent + charge > budget:
                    exhausted = True
                    continue
                spent += charge
                # The same after a refusal, too: a service that charged before it failed does not charge again.
                key = key or secrets.token_hex(16)
                db.execute("UPDATE queries SET state = 'sent', owner = ?, key = ? WHERE id = ?", (owner, key, query))
                cursor = db.execute(
                    'INSERT INTO attempts (query, charged, started) VALUES (?, ?, ?)', (query, charge, time.time())
                )
                assert cursor.lastrowid is not None
                attempts[query] = Attempt(cursor.lastrowid, query, key)
            db.execute('UPDATE account SET spent = ?', (spent,))
        return Reservation(attempts, exhausted)

    def settle(self, answers: Iterable[Settled]) -> None:
        """Note answers whose files are on disk."""
        with self.transaction() as db:
            for one in answers:
                self._end(db, one.attempt, 'settled', one.note, one.sent_bytes, one.received_bytes)
                db.execute(
                    "UPDATE queries SET state = 'settled', owner = NULL, response = ?, height = ?, width = ?, "
                    'query_bytes = ?, response_bytes = ? WHERE id = ?',
                    (one.response, *one.size, *one.bytes, one.attempt.query),
                )

    def refuse(self, attempts: Iterable[Attempt], note: str, *, new_key: bool = False) -> None:
        """Take back attempts that were certainly not answered: their charge goes.

        A query that an earlier attempt left in doubt stays so, and charged.

        Args:
            attempts: Those.
            note: Why.
            new_key: Whether the service keeps the failure under the key, so that the next attempt needs another.
        """
        with self.transaction() as db:
            for attempt in attempts:
                self._end(db, attempt, 'refused', note)
                (charged,) = db.execute('SELECT charged FROM attempts WHERE id = ?', (attempt.id,)).fetchone()
                db.execute('UPDATE attempts SET charged = 0 WHERE id = ?', (attempt.id,))
                db.execute('UPDATE account SET spent = spent - ?', (charged,))
                (doubts,) = db.execute(_DOUBTS, (attempt.query, attempt.query)).fetchone()
                state = 'doubt' if doubts else 'open'
                db.execute('UPDATE queries SET state = ?, owner = NULL WHERE id = ?', (state, attempt.query))
                if new_key:
                    db.execute('UPDATE queries SET key = NULL WHERE id = ?', (attempt.query,))

    def doubt(self, attempt: Attempt, note: str) -> None:
        """Note that nobody knows whether an attempt was answered."""
        with self.transaction() as db:
            self._to_doubt(db, attempt.query, note)

    def give_up(self, query: int) -> None:
        """Never send a query again that is in doubt; its charges stay."""
        with self.transaction() as db:
            db.execute(_GIVE_UP, (query,))

    def forget_answers(self, queries: Iterable[int], note: str, *, free: bool = False) -> None:
        """Note that the files of answers are gone or damaged.

        The queries are open again and will be charged again; their keys stay, so that a service which still remembers
        them does not charge.

        Args:
            queries: Those.
            note: Why.
            free: Whether the victim answers again at no cost: then they are only in doubt.
        """
        with self.transaction() as db:
            db.executemany(
                "UPDATE queries SET state = ? WHERE id = ? AND state = 'settled'",
                (('doubt' if free else 'open', query) for query in queries),
            )
            db.execute("INSERT OR REPLACE INTO about VALUES ('answers lost', ?)", (note,))

    def recover(self) -> int:
        """Find the queries that dead processes left on their way, and put them in doubt; returns how many."""
        found = 0
        with self.transaction() as db:
            for query, holder in db.execute("SELECT id, owner FROM queries WHERE state = 'sent'").fetchall():
                if not self._lives(holder):
                    self._to_doubt(db, query, 'the process ended')
                    found += 1
        return found

    def pair(self, query: int) -> tuple[Path, Path]:
        """Where a query and its response lie."""
        folder = self.folder / 'pairs' / f'{query // 1000:06d}'
        return folder / f'{query:09d}_query.png', folder / f'{query:09d}_response.png'

    def alone(self) -> AbstractContextManager[bool]:
        """While the body runs no other process sends anything with this ledger, if none does now; gives whether."""
        return alone(self.folder / 'owners', self._owner)

    def _own(self) -> str:
        if self._owner is None:
            self._owner = Owner(self.folder / 'owners')
        return self._owner.token

    def _lives(self, holder: str | None) -> bool:
        if holder is None:
            return False
        if self._owner is not None and holder == self._owner.token:
            return True
        return is_alive(self.folder / 'owners', holder)

    @staticmethod
    def _to_doubt(db: sqlite3.Connection, query: int, note: str) -> None:
        db.execute("UPDATE queries SET state = 'doubt', owner = NULL WHERE id = ?", (query,))
        db.execute(
            "UPDATE attempts SET outcome = 'doubt', ended = ?, note = ? WHERE query = ? AND outcome = 'sent'",
            (time.time(), note, query),
        )

    @staticmethod
    def _end(
        db: sqlite3.Connection,
        attempt: Attempt,
        outcome: str,
        note: str | None,
        sent: int | None = None,
        received: int | None = None,
    ) -> None:
        db.execute(
            'UPDATE attempts SET outcome = ?, ended = ?, note = ?, sent_bytes = ?, received_bytes = ? WHERE id = ?',
            (outcome, time.time(), note, sent, received, attempt.id),
        )
