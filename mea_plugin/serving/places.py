"""Room that is shared: nobody's crowd takes the places of those who come one by one."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter

__all__ = ['Brake', 'Room', 'address_owner']

_HELD = 64  # refusals of one owner that are held back at once
_FORGET = 10_000  # owners


class Room:
    """A number of places (requests, bytes), and who has them.

    While there is room, anyone may take it. Once it is full, those who have less than an equal share of it may still
    enter, up to twice the size in all: an owner with a crowd does not keep the others out.

    Args:
        size: How many places there are.
        per_owner: How many of them one owner may have; None for all.
    """

    def __init__(self, size: int, per_owner: int | None = None) -> None:
        self._size = size
        self._per_owner = size if per_owner is None else per_owner
        self._taken: Counter[str] = Counter()
        self.total = 0

    def fits(self, owner: str, amount: int = 1) -> bool:
        """Whether an owner may take as many."""
        own = self._taken[owner] + amount if owner in self._taken else amount
        if own > self._per_owner:
            return False
        if self.total + amount <= self._size:
            return True
        owners = len(self._taken) + (owner not in self._taken)
        return own <= max(self._size // owners, 1) and self.total + amount <= 2 * self._size

    def take(self, owner: str, amount: int = 1) -> bool:
        """Take places if they fit; whether they did."""
        if not self.fits(owner, amount):
            return False
        self.hold(owner, amount)
        return True

    def hold(self, owner: str, amount: int = 1) -> None:
        """Count places that are taken, whether they fit or not."""
        self._taken[owner] += amount
        self.total += amount

    def free(self, owner: str, amount: int = 1) -> None:
        """Give places back."""
        self.total -= amount
        self._taken[owner] -= amount
        if not self._taken[owner]:
            del self._taken[owner]


class Brake:
    """Holds back the refusals of those who come again sooner than they were told.

    A refusal costs a few milliseconds of the one thread that serves everybody. A client that asks again at once would
    get all of them; one that waits for its refusal cannot.
    """

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}
        self._held: Counter[str] = Counter()

    async def refuse(self, owner: str, retry_after: float) -> None:
        """Return when an owner may be told that there is no room: at once, the first time."""
        now = time.monotonic()
        early = self._not_before.get(owner, 0.0) > now
        if len(self._not_before) >= _FORGET:
            self._not_before = {name: until for name, until in self._not_before.items() if until > now}
        self._not_before[owner] = now + retry_after
        if not early or self._held[owner] >= _HELD:
            return
        self._held[owner] += 1
        try:
            await asyncio.sleep(min(retry_after, 1.0))
        finally:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]


def address_owner(host: str) -> str:
    """Who is behind an address; the addresses of an IPv6 network (/64) are one client's."""
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return 'address ?'
    mapped = getattr(address, 'ipv4_mapped', None)
    if mapped is not None:
        address = mapped
    if address.version == 6:
        return f'address {ipaddress.ip_network((address, 64), strict=False).network_address}'
    return f'address {address}'
