"""Requests that are the same one, sent again before the first was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from mea_plugin.serving.billing import ConflictError

__all__ = ['Flights']

T = TypeVar('T')


class Flights:
    """The work that is under way, by idempotency key."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, tuple[bytes, asyncio.Task[Any]]] = {}

    async def join(self, key: Hashable, digest: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Start work, or wait for what is under way for the same key.

        The work goes on when the one who started it leaves: others may wait for it.

        Returns:
            Its result, and whether it was under way already.

        Raises:
            ConflictError: Other work is under way for the key.
        """
        if key in self._tasks:
            known, task = self._tasks[key]
            if known != digest:
                raise ConflictError
            return await asyncio.shield(task), True
        task = asyncio.create_task(work())
        self._tasks[key] = (digest, task)
        task.add_done_callback(lambda _: self._tasks.pop(key))
        return await asyncio.shield(task), False
