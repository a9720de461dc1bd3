"""Asking a victim behind a network: many queries on their way at once, each attempt charged before it is sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.query.interrupts import StopRequest
from mea_plugin.query.ledger import Attempt, InDoubt, Ledger, Settled
from mea_plugin.query.local import Answered, sync_pairs, write_pair
from mea_plugin.query.plan import Plan, Wanted, read_query
from mea_plugin.victims.remote import (
    InDoubtError,
    NotAnsweredError,
    RefusedError,
    RejectedError,
    RemoteVictim,
    Reply,
    Session,
    UnusableError,
)
from mea_plugin.victims.retrying import attempts, failure

__all__ = ['OUTCOMES', 'RemoteSender']

_FAILURES = 3  # queries in a row that fail for good, or are given up, before the run stops

OUTCOMES = {
    'free': 'it is sent again under the same key',
    'resend': 'it is sent again, and charged again',
    'abandon': 'it is given up',
}
"""What becomes of an attempt in doubt."""

T = TypeVar('T')


class RemoteSender:
    """Sends images to a victim behind a network.

    Attributes:
        statuses: How many attempts ended with which HTTP status that leaves open whether they were billed.

    Args:
        victim: Who is asked.
        plan: The images.
        budget: See :meth:`~mea_plugin.query.ledger.Ledger.reserve`.
        in_doubt: Likewise, where the service does not honour keys.
        progress: Called with the number of images that were settled.
        report: Called with a line about each attempt that is in doubt.
        stop: When to stop asking.
    """

    def __init__(
        self,
        victim: RemoteVictim,
        plan: Plan,
        *,
        budget: int | None,
        in_doubt: InDoubt,
        progress: Callable[[int], object],
        report: Callable[[str], object],
        stop: StopRequest,
    ) -> None:
        self._victim, self._plan, self._ledger = victim, plan, plan.ledger
        self._budget = budget
        self._in_doubt: InDoubt = 'free' if victim.idempotent else in_doubt
        self._progress, self._report, self._stop = progress, report, stop
        self.statuses: Counter[int] = Counter()
        self._count, self._failures, self._exhausted = 0, 0, False
        self._last: InputError | None = None
        self._flying: set[asyncio.Task[None]] = set()  # attempts
        self._finishing: set[asyncio.Task[Any]] = set()  # what must not be left half done

    def send(self, positions: Iterable[int]) -> Answered:
        """Ask about images, as far as the budget goes and no other process is at them.

        Raises:
            InputError: An image cannot be read, the service refuses for good, or several queries in a row fail. What
                was answered before is settled.
        """
        self._count, self._failures, self._exhausted, self._last = 0, 0, False, None
        asyncio.run(self._send(list(positions)))
        self._stop.check()
        if self._last is not None and not self._count:
            raise self._last
        return Answered(self._count, self._exhausted)

    async def _send(self, positions: list[int]) -> None:
        """As many workers as queries may be on their way, each taking the next image when it is free.

        When one fails for good, the attempts that are on their way are waited for: they may have been paid for. After a
        signal likewise, but for a bounded time.
        """
        remaining = iter(positions)
        # The ledger's transactions run one after another, off the loop: they wait for the disk.
        with ThreadPoolExecutor(1, 'ledger') as self._clerk, ThreadPoolExecutor(2, 'images') as self._pool:
            async with self._victim.session() as session:
                stopping = asyncio.create_task(self._stop.requested())
                workers = [asyncio.create_task(self._work(session, remaining)) for _ in range(self._victim.concurrency)]
                working = asyncio.gather(*workers)
                try:
                    first: set[asyncio.Future[Any]] = {working, stopping}
                    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                    if working.done():
                        await working
                finally:
                    _cancel(workers)
                    await asyncio.gather(working, *workers, return_exceptions=True)
                    try:
                        await self._await_flying(stopping)
                    finally:
                        stopping.cancel()
                        await asyncio.gather(*self._finishing, return_exceptions=True)

    async def _await_flying(self, stopping: asyncio.Task[None]) -> None:
        """Wait for the attempts that are on their way; when a signal has come, no longer than it allows."""
        flying = set(self._flying)  # they leave the other set when they end
        while self._flying and not stopping.done():
            await asyncio.wait({*self._flying, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self._flying:
            await asyncio.wait(set(self._flying), timeout=self._stop.time_left())
            _cancel(set(self._flying))
        await asyncio.gather(*flying, return_exceptions=True)

    async def _work(self, session: Session, remaining: Iterable[int]) -> None:
        for position in remaining:
            if self._exhausted:
                return
            (wanted,) = await self._in_ledger(self._plan.look_up, [position])
            if not wanted.busy:
                await self._one(session, wanted)

    async def _one(self, session: Session, wanted: Wanted) -> None:
        """One image until it is settled, given up, or has failed as often as it may."""
        pixels, content = await self._in_pool(read_query, self._plan.images[wanted.position], self._plan.shrink)
        numbers = await self._in_ledger(self._plan.identify, [(wanted, content, pixels.shape[:2])])
        try:
            async for attempt in attempts(self._victim.retrying):
                with attempt:
                    await session.turn()
                    await _shielded(self._attempt(session, wanted, numbers[content], pixels), self._flying)
        except NotAnsweredError as error:
            self._fail(failure(error))

    async def _attempt(self, session: Session, wanted: Wanted, query: int, pixels: np.ndarray) -> None:
        reserving = asyncio.create_task(self._reserve(query))
        try:
            attempt = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            await self._finish(self._take_back(reserving))
            raise
        if attempt is None:
            return  # the budget is spent, another process has it, or it was given up
        if self._stop.signal is not None:
            await self._finish(self._in_ledger(self._ledger.refuse, [attempt], 'not sent'))
            return
        try:
            reply = await session.ask(pixels, attempt.key)
        except (RefusedError, RejectedError) as error:
            new_key = isinstance(error, RefusedError) and error.new_key
            await self._finish(self._in_ledger(self._ledger.refuse, [attempt], str(error)[:200], new_key=new_key))
            raise
        except InDoubtError as error:
            if error.status is not None:
                self.statuses[error.status] += 1
            await self._finish(self._doubt(wanted, attempt, str(error)))
            # What came whole and is no answer would only be paid for again.
            if self._in_doubt == 'abandon' or (self._in_doubt == 'resend' and isinstance(error, UnusableError)):
                self._fail(
                    InputError(f'no usable answer: {error}', where='victim', do='Check the options of the victim')
                )
                return
            raise
        except BaseException as error:  # also Ctrl-C, and what nobody foresaw
            reason = 'interrupted' if isinstance(error, asyncio.CancelledError) else type(error).__name__
            await self._finish(self._doubt(wanted, attempt, reason))
            raise
        await self._finish(self._keep(attempt, pixels, reply))

    async def _reserve(self, query: int) -> Attempt | None:
        reserve = self._ledger.reserve
        reserved = await self._in_ledger(reserve, [query], budget=self._budget, in_doubt=self._in_doubt)
        self._exhausted |= reserved.exhausted
        return reserved.attempts.get(query)

    async def _take_back(self, reserving: asyncio.Task[Attempt | None]) -> None:
        """Of an attempt that was stopped before it was sent."""
        attempt = await reserving
        if attempt is not None:
            await self._in_ledger(self._ledger.refuse, [attempt], 'not sent')

    async def _finish(self, what: Coroutine[Any, Any, None]) -> None:
        """Do something to its end, whoever wants to stop meanwhile."""
        await _shielded(what, self._finishing)

    async def _doubt(self, wanted: Wanted, attempt: Attempt, reason: str) -> None:
        await self._in_ledger(self._ledger.doubt, attempt, reason[:200])
        if self._in_doubt == 'abandon':
            await self._in_ledger(self._ledger.give_up, attempt.query)
        self._report(f'{wanted.name}: in doubt ({reason}); {OUTCOMES[self._in_doubt]}')

    async def _keep(self, attempt: Attempt, pixels: np.ndarray, reply: Reply) -> None:
        settled = await self._in_pool(_write, self._ledger, attempt, pixels, reply)
        await self._in_ledger(self._ledger.settle, [settled])
        self._count += 1
        self._failures = 0
        self._progress(1)

    def _fail(self, error: InputError) -> None:
        """Go on with other images, but not when nothing works any more."""
        self._failures += 1
        self._last = error
        if self._failures >= _FAILURES:
            raise error

    async def _in_ledger(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._clerk, lambda: function(*args, **kwargs))

    async def _in_pool(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)


async def _shielded(what: Coroutine[Any, Any, T], tasks: set[asyncio.Task[T]]) -> T:
    """Wait for something that goes on when whoever waits is cancelled; it is among ``tasks`` until it has ended."""
    task = asyncio.create_task(what)
    tasks.add(task)

    def note_end(ended: asyncio.Task[T]) -> None:
        tasks.discard(ended)
        if not ended.cancelled():
            ended.exception()  # read, or asyncio prints it where nobody waits any more

    task.add_done_callback(note_end)
    return await asyncio.shield(task)


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _write(ledger: Ledger, attempt: Attempt, pixels: np.ndarray, reply: Reply) -> Settled:
    response = reply.image if reply.png is None else reply.png
    sizes = write_pair(ledger, attempt.query, pixels, response)
    sync_pairs(ledger, [attempt.query])
    size = (reply.image.shape[0], reply.image.shape[1])
    traffic = (reply.sent_bytes, reply.received_bytes)
    return Settled(attempt, hash_array(reply.image), size, sizes, *traffic, reply.note)
