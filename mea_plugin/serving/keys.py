"""API keys and what they allow: a quota of bills, a rate of requests, a rate of pixels.

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
from mea_plugin.serving.rates import Bucket, Excess, Rates, check_pixels, spend_pixels, take_request

__all__ = [
    *('Customer', 'Gate', 'create_key', 'ensure_anonymous', 'find_customer'),
    *('list_keys', 'revoke_key'),
]

_ANONYMOUS = 'anonymous'
_ADDRESSES = 10_000
_COLUMNS = 'id, name, quota, rate, pixel_rate, billed, revoked'


@dataclass(frozen=True)
class Customer:
    """Who asks.

    Attributes:
        id: In the store.
        name: As ``--create-key`` was told.
        quota: How many answers may be billed in all; None for no limit.
        rate: Requests per second; None for no limit.
        pixel_rate: Pixels per second; None for no limit.
        billed: Answers so far.
        revoked: When the key was revoked, in seconds since 1970; None while it is good.
    """

    id: int
    name: str
    quota: int | None
    rate: float | None
    pixel_rate: float | None
    billed: int
    revoked: float | None

    @property
    def anonymous(self) -> bool:
        """Whether these are all who send no key."""
        return self.name == _ANONYMOUS


def create_key(
    connection: sqlite3.Connection,
    name: str,
    *,
    quota: int | None = None,
    rate: float | None = None,
    pixel_rate: float | None = None,
) -> str:
    """Make a key and store its hash.

    Args:
        connection: The store.
        name: Whose key it is.
        quota: How many answers may be billed.
        rate: Requests per second.
        pixel_rate: Pixels per second.

    Returns:
        The key. It cannot be had again.

    Raises:
        InputError: The name is taken, or a number is out of range.
    """
    if quota is not None and quota < 1:
        raise InputError(f'the quota is {quota}', where='--quota', do='Give 1 or more')
    if rate is not None and not 0 < rate <= 1e6:
        raise InputError(f'the rate is {rate}', where='--rate', do='Give requests per second, above 0')
    if pixel_rate is not None and not 0 < pixel_rate <= 1e12:
        raise InputError(f'the rate is {pixel_rate}', where='--pixel-rate', do='Give pixels per second, above 0')
    if not name.strip() or not name.isprintable() or name == _ANONYMOUS:
        raise InputError(f"'{name}' cannot be a key's name", where='--create-key', do='Give another name')
    key = f'mea_{secrets.token_urlsafe(32)}'
    now = time.time()
    try:
        connection.execute(
            'INSERT INTO keys (name, hash, created, quota, rate, pixel_rate) VALUES (?, ?, ?, ?, ?, ?)',
            (name, _hash(key), now, quota, rate, pixel_rate),  # the buckets are full
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


class Gate:
    """Holds customers to their rates.

    The buckets of keys are in the store, so a restart does not fill them. Those of addresses without a key are in
    memory, for as many as come within a second.

    Args:
        rates: Of keys that have none of their own, and of each address without a key.
        is_open: Whether requests without a key are answered.
    """

    def __init__(self, rates: Rates, is_open: bool) -> None:
        self._rates = rates
        self._is_open = is_open
        self._buckets: dict[str, tuple[Bucket, Bucket]] = {}

    def admit(
        self, connection: sqlite3.Connection, key: str | None, owner: str, now: float
    ) -> tuple[Customer | None, Excess | None]:
        """Find a customer, and take the token of one request.

        Args:
            connection: The store.
            key: What was sent as a key; None when nothing was.
            owner: Who asks, without a key.
            now: The time.

        Returns:
            The customer (see :func:`find_customer`), and the rate that was exceeded; None when a token was taken.
        """
        customer = find_customer(connection, key, self._is_open)
        if customer is None:
            return None, None
        rates = self.rates(customer)
        if rates == Rates():
            return customer, None
        requests, pixels = self._load(connection, customer, owner)
        excess = check_pixels(pixels, rates.pixels, now) if rates.pixels else None
        if excess is None and rates.requests:
            requests, excess = take_request(requests, rates.requests, now)
            self._save(connection, customer, owner, requests, pixels)
        return customer, excess

    def spend(
        self, connection: sqlite3.Connection, customer: Customer, owner: str, pixels: int, now: float
    ) -> Excess | None:
        """Take the tokens of an image's pixels; the rate that was exceeded, if it was."""
        rate = self.rates(customer).pixels
        if rate is None:
            return None
        requests, bucket = self._load(connection, customer, owner)
        bucket, excess = spend_pixels(bucket, rate, pixels, now)
        self._save(connection, customer, owner, requests, bucket)
        return excess

    def rates(self, customer: Customer) -> Rates:
        """What a customer may do."""
        return Rates(customer.rate or self._rates.requests, customer.pixel_rate or self._rates.pixels)

    def _load(self, connection: sqlite3.Connection, customer: Customer, owner: str) -> tuple[Bucket, Bucket]:
        if customer.anonymous:
            return self._buckets.get(owner, (Bucket(), Bucket()))
        query = 'SELECT tokens, refilled, pixel_tokens, pixel_refilled FROM keys WHERE id = ?'
        row = connection.execute(query, (customer.id,)).fetchone()
        return Bucket(*row[:2]), Bucket(*row[2:])

    def _save(
        self, connection: sqlite3.Connection, customer: Customer, owner: str, requests: Bucket, pixels: Bucket
    ) -> None:
        if customer.anonymous:
            if len(self._buckets) >= _ADDRESSES and owner not in self._buckets:
                self._buckets.pop(next(iter(self._buckets)))  # who came first
            self._buckets[owner] = requests, pixels
            return
        connection.execute(
            'UPDATE keys SET tokens = ?, refilled = ?, pixel_tokens = ?, pixel_refilled = ? WHERE id = ?',
            (requests.tokens, requests.refilled, pixels.tokens, pixels.refilled, customer.id),
        )


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode('utf-8', 'surrogateescape')).digest()
