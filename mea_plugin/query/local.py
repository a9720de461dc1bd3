"""Asking a victim in this process: images are read ahead and answers written while the network has a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mea_plugin.core.files import hash_array, sync_folder, write_bytes
from mea_plugin.core.images import encode_png
from mea_plugin.query.interrupts import StopRequest
from mea_plugin.query.ledger import Attempt, Ledger, Settled
from mea_plugin.query.plan import Plan, Wanted, read_query
from mea_plugin.victims import Victim
from mea_plugin.victims.base import check_answer

__all__ = ['Answered', 'LocalSender', 'sync_pairs', 'write_pair']

_AHEAD = 3  # batches that are read before their turn, and that may wait to be written
_WORKERS = 2


@dataclass(frozen=True)
class _Image:
    """An image that was read."""

    wanted: Wanted
    pixels: np.ndarray
    content: str


@dataclass(frozen=True)
class Answered:
    """What became of a pass over unfinished images: how many were answered, and whether the budget stopped it."""

    count: int
    exhausted: bool


class LocalSender:
    """Sends images to a victim that answers in this process, at no cost but time.

    What was on its way when a process died is sent again under the same charge. Memory holds a few batches.

    Args:
        victim: Who is asked; from the calling thread.
        plan: The images.
        budget: See :meth:`~mea_plugin.query.ledger.Ledger.reserve`.
        batch_size: How many images of equal size go into one call of the victim.
        progress: Called with the number of images that were settled.
        stop: When to stop asking, after the batch that is being answered.
    """

    def __init__(
        self,
        victim: Victim,
        plan: Plan,
        *,
        budget: int | None,
        batch_size: int,
        progress: Callable[[int], object],
        stop: StopRequest,
    ) -> None:
        self._stop = stop
        self._victim, self._plan, self._ledger = victim, plan, plan.ledger
        self._budget, self._batch_size, self._progress = budget, batch_size, progress
        self._writing: deque[list[Future[Settled]]] = deque()
        self._count = 0

    def send(self, positions: Iterable[int]) -> Answered:
        """Ask about images, as far as the budget goes and no other process is at them.

        Raises:
            InputError: An image cannot be read, or an answer has the wrong size. What was answered before is settled.
        """
        self._count, exhausted = 0, False
        with ThreadPoolExecutor(_WORKERS, 'query') as pool:
            try:
                for batch in self._batches(pool, positions):
                    exhausted |= self._ask(batch, pool)
                    self._settle(keep=_AHEAD)
                    if self._stop.signal is not None:
                        break
            finally:
                self._settle(keep=0)
        self._stop.check()
        return Answered(self._count, exhausted)

    def _batches(self, pool: ThreadPoolExecutor, positions: Iterable[int]) -> Iterator[list[_Image]]:
        """Images of equal size, read a few batches ahead."""
        batch: list[_Image] = []
        for image in self._read_ahead(pool, positions):
            if batch and (len(batch) == self._batch_size or image.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            batch.append(image)
        if batch:
            yield batch

    def _read_ahead(self, pool: ThreadPoolExecutor, positions: Iterable[int]) -> Iterator[_Image]:
        waiting: deque[Future[_Image]] = deque()
        try:
            for wanted in self._idle(positions):
                waiting.append(pool.submit(self._read, wanted))
                if len(waiting) > _AHEAD * self._batch_size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _idle(self, positions: Iterable[int]) -> Iterator[Wanted]:
        """Those that no other process has taken meanwhile, looked up batch by batch."""
        chunk: list[int] = []
        for position in positions:
            chunk.append(position)
            if len(chunk) == self._batch_size:
                yield from (wanted for wanted in self._plan.look_up(chunk) if not wanted.busy)
                chunk = []
        if chunk:
            yield from (wanted for wanted in self._plan.look_up(chunk) if not wanted.busy)

    def _read(self, wanted: Wanted) -> _Image:
        return _Image(wanted, *read_query(self._plan.images[wanted.position], self._plan.shrink))

    def _ask(self, batch: list[_Image], pool: ThreadPoolExecutor) -> bool:
        """Whether the budget was exhausted."""
        numbers = self._plan.identify([(one.wanted, one.content, one.pixels.shape[:2]) for one in batch])
        reserved = self._ledger.reserve(numbers.values(), budget=self._budget, in_doubt='free')
        distinct = {numbers[one.content]: one for one in batch}
        chosen = [(attempt, distinct[query]) for query, attempt in reserved.attempts.items()]
        if chosen:
            try:
                answers = self._victim.query([one.pixels for _, one in chosen])
                for (_, one), answer in zip(chosen, answers, strict=True):
                    check_answer(self._victim, one.pixels, answer)
            except BaseException as error:
                self._ledger.refuse([attempt for attempt, _ in chosen], f'{type(error).__name__}: {error}'[:200])
                raise
            self._writing.append(
                [
                    pool.submit(self._write, attempt, one.pixels, answer)
                    for (attempt, one), answer in zip(chosen, answers, strict=True)
                ]
            )
        return reserved.exhausted

    def _write(self, attempt: Attempt, pixels: np.ndarray, response: np.ndarray) -> Settled:
        sizes = write_pair(self._ledger, attempt.query, pixels, response)
        return Settled(attempt, hash_array(response), (response.shape[0], response.shape[1]), sizes)

    def _settle(self, *, keep: int) -> None:
        """Settle what has been written, waiting until at most ``keep`` batches are being written."""
        while self._writing and (len(self._writing) > keep or all(future.done() for future in self._writing[0])):
            futures = self._writing.popleft()
            written = [future.result() for future in futures if future.exception() is None]
            sync_pairs(self._ledger, (one.attempt.query for one in written))
            self._ledger.settle(written)
            self._count += len(written)
            self._progress(len(written))
            for future in futures:
                future.result()  # raises what went wrong, after the others are settled


def write_pair(ledger: Ledger, query: int, pixels: np.ndarray, response: np.ndarray | bytes) -> tuple[int, int]:
    """Write a query and its response into a ledger's folder, whole and synced; the ledger itself is not touched.

    Args:
        ledger: Whose folder.
        query: The query's number.
        pixels: uint8 ``(H, W, 3)``.
        response: uint8 ``(scale * H, scale * W, 3)``, or the PNG that it came as.

    Returns:
        The files' sizes in bytes.
    """
    answer = response if isinstance(response, bytes) else encode_png(response)
    data = (encode_png(pixels), answer)
    for file, content in zip(ledger.pair(query), data, strict=True):
        write_bytes(file, content)
    return len(data[0]), len(data[1])


def sync_pairs(ledger: Ledger, queries: Iterable[int]) -> None:
    """Make the names of pairs durable that were written."""
    for folder in {ledger.pair(query)[1].parent for query in queries}:
        sync_folder(folder)
