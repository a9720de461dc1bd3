"""Who owes what, and the replies that a repeated request gets again. Each function is one transaction's work."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

__all__ = [
    *('ConflictError', 'QuotaError', 'Reply', 'Stored'),
    *('begin', 'bill', 'find_reply', 'purge', 'release', 'reserve', 'settle'),
]


@dataclass(frozen=True)
class Reply:
    """An answer as it is sent.

    Attributes:
        format: ``png`` or ``jpeg``.
        image: The encoded image.
    """

    format: str
    image: bytes


@dataclass(frozen=True)
class Stored:
    """What an ``Idempotency-Key`` stands for.

    Attributes:
        reply: Of a translation.
        job_id: Of a job's submission.
    """

    reply: Reply | None
    job_id: str | None


class ConflictError(Exception):
    """The ``Idempotency-Key`` was used for another request."""


class QuotaError(Exception):
    """The quota is used up."""


def begin(
    connection: sqlite3.Connection, customer: int, idempotency_key: str | None, digest: bytes, now: float
) -> Reply | None:
    """Begin a translation: the reply of an earlier one, or None and a reserved bill.

    Raises:
        ConflictError: The key was used for something else.
        QuotaError: The quota is used up, counting what is under way.
    """
    stored = find_reply(connection, customer, idempotency_key, digest, now)
    if stored is not None:
        return stored.reply
    reserve(connection, customer)
    return None


def find_reply(
    connection: sqlite3.Connection, customer: int, idempotency_key: str | None, digest: bytes, now: float
) -> Stored | None:
    """What is stored for an ``Idempotency-Key``; None when nothing is, or no more.

    Raises:
        ConflictError: The key was used for something else.
    """
    if idempotency_key is None:
        return None
    row = connection.execute(
        'SELECT digest, format, image, job_id FROM replies WHERE key_id = ? AND idempotency_key = ? AND expires > ?',
        (customer, idempotency_key, now),
    ).fetchone()
    if row is None:
        return None
    if row[0] != digest:
        raise ConflictError
    _, kind, image, job_id = row
    return Stored(Reply(kind, image) if image is not None else None, job_id)


def reserve(connection: sqlite3.Connection, customer: int) -> None:
    """Set one bill aside, so that requests at the same time cannot exceed the quota together.

    Raises:
        QuotaError: None is left.
    """
    done = connection.execute(
        'UPDATE keys SET reserved = reserved + 1 WHERE id = ? AND (quota IS NULL OR billed + reserved < quota)',
        (customer,),
    )
    if not done.rowcount:
        raise QuotaError


def release(connection: sqlite3.Connection, customer: int) -> None:
    """Give a reserved bill back: there was no answer."""
    connection.execute('UPDATE keys SET reserved = max(reserved - 1, 0) WHERE id = ?', (customer,))


def bill(connection: sqlite3.Connection, customer: int) -> None:
    """Turn a reserved bill into a bill."""
    connection.execute('UPDATE keys SET billed = billed + 1, reserved = max(reserved - 1, 0) WHERE id = ?', (customer,))


def settle(
    connection: sqlite3.Connection,
    customer: int,
    idempotency_key: str | None,
    digest: bytes,
    reply: Reply,
    expires: float,
) -> None:
    """Bill an answer and, when the request had a key, store it: both or neither."""
    bill(connection, customer)
    if idempotency_key is not None:
        connection.execute(
            'INSERT OR REPLACE INTO replies (key_id, idempotency_key, digest, format, image, expires)'
            ' VALUES (?, ?, ?, ?, ?, ?)',  # a record in its place has expired
            (customer, idempotency_key, digest, reply.format, reply.image, expires),
        )


def purge(connection: sqlite3.Connection, now: float) -> None:
    """Remove replies and results that were kept long enough."""
    connection.execute('DELETE FROM replies WHERE expires <= ?', (now,))
    connection.execute('DELETE FROM jobs WHERE expires <= ?', (now,))
