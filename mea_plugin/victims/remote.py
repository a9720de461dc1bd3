"""What a victim behind a network adds to the protocol: every attempt may fail, and may have been paid for."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Number, Options, Whole

__all__ = [
    'InDoubtError',
    'NotAnsweredError',
    'RefusedError',
    'RejectedError',
    'RemoteVictim',
    'Reply',
    'Retrying',
    'Session',
    'UnusableError',
]


@dataclass(frozen=True)
class Reply:
    """An answer that has been checked.

    Attributes:
        image: uint8 ``(scale * H, scale * W, 3)``, RGB.
        png: The same as a PNG file's content, where it came as one.
        sent_bytes: Over the network.
        received_bytes: Likewise.
        note: Whatever is worth keeping about it, such as that it came as JPEG.
    """

    image: np.ndarray
    png: bytes | None
    sent_bytes: int
    received_bytes: int
    note: str | None = None


class NotAnsweredError(Exception):
    """An attempt that brought no usable answer, and may be made again.

    Args:
        reason: What happened, as a clause.
        wait: How many seconds the service asks to wait.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RefusedError(NotAnsweredError):
    """The service certainly did not answer: it said so, or the query did not reach it.

    Args:
        reason: See :class:`NotAnsweredError`.
        wait: Likewise.
        new_key: Whether the service keeps this outcome under the query's key, so that the next attempt needs another.
    """

    def __init__(self, reason: str, wait: float | None = None, *, new_key: bool = False) -> None:
        super().__init__(reason, wait)
        self.new_key = new_key


class InDoubtError(NotAnsweredError):
    """The service may have answered, and charged for it.

    Args:
        reason: See :class:`NotAnsweredError`.
        wait: Likewise.
        status: The HTTP status that leaves it open, where it was one: ``unbilled`` of an HTTP victim can settle it.
    """

    def __init__(self, reason: str, wait: float | None = None, *, status: int | None = None) -> None:
        super().__init__(reason, wait)
        self.status = status


class UnusableError(InDoubtError):
    """The service answered, whole, with something that is no answer: the next reply will hardly be another."""


class RejectedError(InputError):
    """The service will not answer this, however often it is asked. It did not charge."""


class Retrying(Options):
    """How often and when a query is sent again."""

    attempts: Annotated[int, Whole(1, 1000)] = 6
    """Attempts in all."""
    first: Annotated[float, Number(0, 1e6)] = 0.5
    """Seconds before the second attempt; doubled each time, with as much again at random."""
    longest: Annotated[float, Number(0, 1e6)] = 60.0
    """Seconds that these waits grow to."""
    patience: Annotated[float, Number(0, 1e6)] = 900.0
    """How many seconds the service may ask to wait (``Retry-After``) before the run ends instead."""


class Session(Protocol):
    """A connection to a service."""

    async def turn(self) -> None:
        """Wait until one more query may be sent. Called before it is charged, so that no charge waits here."""
        ...

    async def ask(self, query: np.ndarray, key: str) -> Reply:
        """Send one image, once, at once.

        Args:
            query: uint8 ``(H, W, 3)``, RGB.
            key: Names this query: sent again under the same one, a service that honours it does not charge again.

        Raises:
            RefusedError: It was certainly not answered.
            InDoubtError: It may have been.
            RejectedError: It never will be.
        """
        ...


@runtime_checkable
class RemoteVictim(Protocol):
    """A :class:`~mea_plugin.victims.base.Victim` behind a network.

    Attributes:
        concurrency: How many queries may be on their way at once.
        idempotent: Whether the service honours the key: then what is in doubt is sent again at no cost.
        retrying: How often and when a query is sent again.
    """

    name: str
    scale: int
    fingerprint: str
    concurrency: int
    idempotent: bool
    retrying: Retrying

    def session(self) -> AbstractAsyncContextManager[Session]:
        """Connections, for the body of ``async with``."""
        ...

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """As any victim's; without a ledger, so that nothing is kept."""
        ...
