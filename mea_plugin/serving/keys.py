"""API keys and what they allow: a quota of bills, a rate of requests.

A key is 256 random bits, and the store has its SHA-256 only. A slow hash with salt protects passwords, which can be
guessed; nobody guesses 256 bits, and a plain hash can be looked up in an index for every request.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from dataclasses import dataclass

from mea_plugin.core.errors import InputError, suggestion

__all__ = ['Customer', 'admit', 'create_key', 'ensure_anonymous', 'find_customer', 'list_keys', 'revoke_key']

_ANONYMOUS = 'anonymous'
_COLUMNS = 'id, name, quota, rate, billed, revoked'


@dataclass(frozen=True)
class Customer:
    """Who asks.

    Attributes:
        id: In the store.
        name: As ``--create-key`` was told.
        quota: How many answers may be billed in all; None for no limit.
        rate: Requests per second; None for no limit.
        billed: Answers so far.
        revoked: When the key was revoked, in seconds since 1970; None while it is good.
    """

    id: int
    name: str
    quota: int | None
    rate: float | None
    billed: int
    revoked: float | None


def create_key(
    connection: sqlite3.Connection, name: str, *, quota: int | None = None, rate: float | None = None
) -> str:
    """Make a key and store its hash.

    Args:
        connection: The store.
        name: Whose key it is.
        quota: How many answers may be billed.
        rate: Requests per second.

    Returns:
        The key. It cannot be had again.

    Raises:
        InputError: The name is taken, or a number is out of range.
    """
    if quota is not None and quota < 1:
        raise InputError(f'the quota is {quota}', where='--quota', do='Give 1 or more')
    if rate is not None and not 0 < rate <= 1e6:
        raise InputError(f'the rate is {rate}', where='--rate', do='Give requests per second, above 0')
    if not name.strip() or not name.isprintable() or name == _ANONYMOUS:
        raise InputError(f"'{name}' cannot be a key's name", where='--create-key', do='Give another name')
    key = f'mea_{secrets.token_urlsafe(32)}'
    now = time.time()
    try:
        connection.execute(
            'INSERT INTO keys (name, hash, created, quota, rate, tokens, refilled) VALUES (?, ?, ?, ?, ?, ?, ?)',
            (name, _hash(key), now, quota, rate, _capacity(rate or 0), now),
        )
    except sqlite3.IntegrityError:
        raise InputError(f"there is a key '{name}' already", where='--create-key', do='Give another name') from None
    return key


def list_keys(connection: sqlite3.Connection) -> list[Customer]:
    """All customers, in the order in which their keys were made."""
    return [Customer(*row) for row in connection.execute(f'SELECT {_COLUMNS} FROM keys ORDER BY id')]


def revoke_key(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a key from now on, also in a service that is running; its bills stay.

    Raises:
        InputError: There is no such key, or it was revoked before.
    """
    known = {customer.name: customer for customer in list_keys(connection)}
    if name not in known:
        raise InputError(f"no key '{name}'", where='--revoke-key', do=suggestion(name, known))
    if known[name].revoked is not None:
        raise InputError(f"the key '{name}' was revoked before", where='--revoke-key', do='See --list-keys')
    connection.execute('UPDATE keys SET revoked = ? WHERE name = ?', (time.time(), name))


def ensure_anonymous(connection: sqlite3.Connection) -> None:
    """Have a customer for requests without a key, which an open service answers."""
    connection.execute('INSERT OR IGNORE INTO keys (name, created) VALUES (?, ?)', (_ANONYMOUS, time.time()))


def find_customer(connection: sqlite3.Connection, key: str | None, is_open: bool) -> Customer | None:
    """Whose key this is; None when it is nobody's or was revoked.

    Args:
        connection: The store.
        key: What was sent as a key; None when nothing was.
        is_open: Whether requests without a key are the anonymous customer's.
    """
    if key is not None:
        query, value = f'SELECT {_COLUMNS} FROM keys WHERE hash = ? AND revoked IS NULL', _hash(key)
        row = connection.execute(query, (value,)).fetchone()
    elif is_open:
        row = connection.execute(f'SELECT {_COLUMNS} FROM keys WHERE name = ?', (_ANONYMOUS,)).fetchone()
    else:
        row = None
    return Customer(*row) if row else None


def admit(connection: sqlite3.Connection, key: str | None, is_open: bool, now: float) -> tuple[Customer | None, float]:
    """Find a customer, and take one token of the bucket that holds the rate.

    The bucket is in the store, so a restart does not fill it. It holds the tokens of one second, at least one.

    Returns:
        The customer (see :func:`find_customer`), and how many seconds to wait; 0 when a token was taken.
    """
    customer = find_customer(connection, key, is_open)
    if customer is None or customer.rate is None:
        return customer, 0.0
    query = 'SELECT tokens, refilled FROM keys WHERE id = ?'
    tokens, refilled = connection.execute(query, (customer.id,)).fetchone()
    elapsed = max(now - refilled, 0.0)  # the clock may have been set back
    tokens = min(tokens + elapsed * customer.rate, _capacity(customer.rate))
    taken = tokens >= 1 - 1e-9
    connection.execute('UPDATE keys SET tokens = ?, refilled = ? WHERE id = ?', (tokens - taken, now, customer.id))
    return customer, 0.0 if taken else (1 - tokens) / customer.rate


def _capacity(rate: float) -> float:
    return max(rate, 1.0)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode('utf-8', 'surrogateescape')).digest()
