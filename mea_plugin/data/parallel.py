"""A function applied to many items, over processes where the work is worth starting them."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

__all__ = ['ITEMS_PER_WORKER', 'mapper']

ITEMS_PER_WORKER = 16
"""Fewer take less time than starting the worker."""

T = TypeVar('T')
R = TypeVar('R')


@contextlib.contextmanager
def mapper(jobs: int, count: int) -> Iterator[Callable[[Callable[[T], R], Sequence[T], str], Iterator[R]]]:
    """A ``map(function, items, label)`` with a progress bar.

    Args:
        jobs: Processes to use at most; what is mapped must be picklable.
        count: How many items there will be.
    """
    workers = min(jobs, math.ceil(count / ITEMS_PER_WORKER))
    pool = None
    if workers > 1:
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context('spawn'),  # torch's threads do not survive a fork
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is the parent's to answer
        )

    def each(function: Callable[[T], R], items: Sequence[T], label: str) -> Iterator[R]:
        results = pool.map(function, items, chunksize=4) if pool else map(function, items)
        yield from tqdm(results, total=len(items), desc=label, unit='image', disable=None)

    try:
        yield each
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
