"""Images one after the other: read ahead, asked about in order, measured beside, and only so many at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ['stream', 'worker_count']

READERS = 2
_AHEAD = 4  # images that are read or wait to be asked about
_PIXELS = 12_000_000  # that are measured at once: a metric needs some hundred bytes for each

Item = TypeVar('Item')
Read = TypeVar('Read')
Asked = TypeVar('Asked')
Measured = TypeVar('Measured')


def worker_count() -> int:
    """As many threads as this process has processors."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def stream(
    items: Iterable[Item],
    *,
    read: Callable[[Item], Read],
    ask: Callable[[Item, Read], Asked],
    measure: Callable[[Item, Asked], Measured],
    pixels: Callable[[Asked], int] = lambda _: 0,
    workers: int | None = None,
) -> Generator[Measured, None, None]:
    """``measure(item, ask(item, read(item)))`` of every item, in order.

    Threads help because what reads and measures spends its time outside Python's lock (decoding, SciPy, NumPy), while
    the models run here. Results come in the order of the items whichever thread is quicker, so nothing depends on it.
    Memory holds a few items, however many there are.

    Args:
        items: What it is about; taken as it is needed.
        read: Runs in a thread, some items ahead.
        ask: Runs in the calling thread, in order: models need not be safe for threads.
        measure: Runs in a thread.
        pixels: What one item's measuring takes, in pixels of an answer: fewer large ones are measured at once.
        workers: Threads that measure; by default :func:`worker_count`.

    Raises:
        Exception: The first that any of them raised, in the order of the items; no thread is left running then.
    """
    workers = workers or worker_count()
    readers, pool = ThreadPoolExecutor(READERS), ThreadPoolExecutor(workers)
    waiting = iter(items)
    reading: deque[tuple[Item, Future[Read]]] = deque()
    measuring: deque[tuple[int, Future[Measured]]] = deque()

    def read_ahead() -> None:
        for item in islice(waiting, _AHEAD - len(reading)):
            reading.append((item, readers.submit(read, item)))

    try:
        read_ahead()
        while reading:
            item, future = reading.popleft()
            asked = ask(item, future.result())
            read_ahead()
            size = pixels(asked)
            while measuring and (len(measuring) >= 2 * workers or sum(s for s, _ in measuring) + size > _PIXELS):
                yield measuring.popleft()[1].result()
            measuring.append((size, pool.submit(measure, item, asked)))
            del asked, future
            while measuring and measuring[0][1].done():
                yield measuring.popleft()[1].result()
        while measuring:
            yield measuring.popleft()[1].result()
    finally:
        for threads in (readers, pool):
            threads.shutdown(wait=True, cancel_futures=True)
