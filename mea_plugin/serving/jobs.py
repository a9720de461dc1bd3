"""Jobs in the store, where their images survive a restart. Each function is one transaction's work."""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from dataclasses import dataclass

from mea_plugin.serving.billing import Reply, bill, find_reply, release, reserve
from mea_plugin.serving.places import Room

__all__ = ['FullError', 'Job', 'Limit', 'add_job', 'claim_jobs', 'find_job', 'finish_job', 'requeue']


class FullError(Exception):
    """As many jobs wait as may."""


@dataclass(frozen=True)
class Limit:
    """How many jobs may wait.

    Attributes:
        owner: Who adds one.
        total: Of all owners; beyond, one who has less than an equal share may add some, up to twice as many in all.
        per_owner: Of one owner; None for as many.
    """

    owner: str
    total: int
    per_owner: int | None = None


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: 128 random bits in hexadecimal digits.
        customer: Whose it is.
        owner: Whose turns it takes.
        status: ``queued``, ``running``, ``done`` or ``failed``.
        error: Why it failed.
        input: The encoded image, while it waits.
        reply: The answer, once it is done.
    """

    id: str
    customer: int
    status: str
    error: str | None = None
    input: bytes = b''
    owner: str = ''
    reply: Reply | None = None


def add_job(
    connection: sqlite3.Connection,
    customer: int,
    idempotency_key: str | None,
    digest: bytes,
    content: bytes,
    limit: Limit,
    now: float,
    expires: float,
) -> tuple[Job, bool]:
    """Store a job, with a bill set aside for it.

    Args:
        connection: The store.
        customer: Whose it is.
        idempotency_key: As the request had it.
        digest: Of the request.
        content: The encoded image.
        limit: How many jobs may wait, and who adds this one.
        now: The time.
        expires: When the idempotency key is forgotten.

    Returns:
        The job, and whether it was there already.

    Raises:
        ConflictError: The idempotency key was used for something else.
        QuotaError: The quota is used up.
        FullError: Too many jobs wait.
    """
    row = find_reply(connection, customer, idempotency_key, digest, now)
    if row is not None and row.job_id is not None:
        found = find_job(connection, row.job_id, customer)
        if found is not None:
            return found, True
    if not _room(connection, limit).fits(limit.owner):
        raise FullError
    reserve(connection, customer)
    job = Job(secrets.token_hex(16), customer, 'queued', owner=limit.owner)
    connection.execute(
        "INSERT INTO jobs (id, key_id, owner, status, input) VALUES (?, ?, ?, 'queued', ?)",
        (job.id, customer, limit.owner, content),
    )
    if idempotency_key is not None:
        connection.execute(
            'INSERT OR REPLACE INTO replies (key_id, idempotency_key, digest, job_id, expires) VALUES (?, ?, ?, ?, ?)',
            (customer, idempotency_key, digest, job.id, expires),
        )
    return job, False


def find_job(connection: sqlite3.Connection, identifier: str, customer: int) -> Job | None:
    """A customer's job; None when there is none of that id, or it is another's."""
    row = connection.execute(
        'SELECT status, error, format, image FROM jobs WHERE id = ? AND key_id = ?', (identifier, customer)
    ).fetchone()
    if row is None:
        return None
    status, error, kind, image = row
    return Job(identifier, customer, status, error, reply=Reply(kind, image) if image is not None else None)


def _room(connection: sqlite3.Connection, limit: Limit) -> Room:
    """Who has jobs that are neither done nor failed."""
    room = Room(limit.total, limit.per_owner)
    waiting = "SELECT owner, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY owner"
    for owner, count in connection.execute(waiting):
        room.hold(owner, count)
    return room


def claim_jobs(connection: sqlite3.Connection, count: int, slots: int) -> list[Job]:
    """Jobs that are running from now on: each time, the oldest of the owner who has the fewest running.

    Args:
        connection: The store.
        count: How many, at most.
        slots: How many may run in all. One owner may have half of them, so that others need not wait for its jobs.
    """
    running = Counter(dict(connection.execute("SELECT owner, count(*) FROM jobs WHERE status = 'running' GROUP BY 1")))
    owners = dict(connection.execute("SELECT owner, min(number) FROM jobs WHERE status = 'queued' GROUP BY owner"))
    claimed: list[Job] = []
    while owners and len(claimed) < count:
        owner = min(owners, key=lambda one: (running[one], owners[one]))
        if running[owner] >= max(slots // 2, 1):
            break
        number = owners[owner]
        identifier, customer, content = connection.execute(
            'SELECT id, key_id, input FROM jobs WHERE number = ?', (number,)
        ).fetchone()
        connection.execute("UPDATE jobs SET status = 'running' WHERE number = ?", (number,))
        claimed.append(Job(identifier, customer, 'running', input=content, owner=owner))
        running[owner] += 1
        following = "SELECT min(number) FROM jobs WHERE status = 'queued' AND owner = ?"
        owners[owner] = connection.execute(following, (owner,)).fetchone()[0]
        if owners[owner] is None:
            del owners[owner]
    return claimed


def finish_job(connection: sqlite3.Connection, job: Job, outcome: Reply | str, expires: float) -> None:
    """Store a job's answer and bill it, or store why it failed and bill nothing."""
    if isinstance(outcome, Reply):
        bill(connection, job.customer)
        connection.execute(
            "UPDATE jobs SET status = 'done', format = ?, image = ?, expires = ?, input = NULL WHERE id = ?",
            (outcome.format, outcome.image, expires, job.id),
        )
    else:
        release(connection, job.customer)
        connection.execute(
            "UPDATE jobs SET status = 'failed', error = ?, expires = ?, input = NULL WHERE id = ?",
            (outcome, expires, job.id),
        )


def requeue(connection: sqlite3.Connection) -> None:
    """After a start: jobs that were running wait again, and they are all that bills are reserved for."""
    connection.execute("UPDATE jobs SET status = 'queued' WHERE status = 'running'")
    connection.execute(
        "UPDATE keys SET reserved = (SELECT count(*) FROM jobs WHERE jobs.key_id = keys.id AND jobs.status = 'queued')"
    )
