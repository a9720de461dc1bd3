"""Waiting images of one size go to the victim together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

__all__ = ['Batcher']


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: np.ndarray
    future: Future[np.ndarray] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """One thread that calls the victim, and the images that wait for it.

    The image that has waited longest is always in the next batch, so that a rare size is not kept waiting by a common
    one. Whoever submits bounds how many wait.

    Args:
        query: The victim's ``query``; only this thread calls it. What it raises fails the images of that batch only.
        size: Images per call, at most.
        wait_s: How long the first image of a batch waits for others.
    """

    def __init__(self, query: Callable[[list[np.ndarray]], list[np.ndarray]], *, size: int, wait_s: float) -> None:
        self._query = query
        self._size = size
        self._wait_s = wait_s
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name='victim', daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many images wait."""
        return len(self._waiting)

    def submit(self, image: np.ndarray) -> Future[np.ndarray]:
        """Have an image answered: uint8 ``(H, W, 3)``, RGB."""
        waiting = _Waiting(image)
        with self._changed:
            if self._closed:
                raise RuntimeError('the batcher is closed')
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what waits, then end the thread; a victim that hangs is left behind after ``timeout_s`` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while batch := self._next_batch():
            batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                answers = self._query([one.image for one in batch])
                if len(answers) != len(batch):
                    raise ValueError(f'the victim gave {len(answers)} answers to {len(batch)} images')
            except Exception as error:
                for one in batch:
                    one.future.set_exception(error)
                continue
            for one, answer in zip(batch, answers, strict=True):
                one.future.set_result(answer)

    def _next_batch(self) -> list[_Waiting]:
        """Images of one size, taken out of the queue; an empty list when the thread is to end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return []
            first = self._waiting[0]
            while len(batch := self._like(first)) < self._size and not self._closed:
                left = first.since + self._wait_s - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._waiting = [one for one in self._waiting if one not in batch]
            return batch

    def _like(self, first: _Waiting) -> list[_Waiting]:
        return [one for one in self._waiting if one.image.shape == first.image.shape][: self._size]
