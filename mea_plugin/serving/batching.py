"""Waiting images of one size go to the victim together, and customers take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from mea_plugin.serving.fairness import FairQueue
from mea_plugin.serving.priority import lower_priority

__all__ = ['Batcher']

_IMAGE_COST = 256  # an image takes time, however small it is: about that of so many pixels


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: np.ndarray
    future: Future[np.ndarray] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def pixels(self) -> int:
        return self.image.shape[0] * self.image.shape[1]


class Batcher:
    """One thread that calls the victim, and the images that wait for it.

    Customers take turns by the work that their images are (:class:`~mea_plugin.serving.fairness.FairQueue`), so that
    one image of a customer does not wait behind another customer's hundred, and a rare size is not kept waiting by a
    common one. Whoever submits bounds how many wait.

    Args:
        query: The victim's ``query``; only this thread calls it. What it raises fails the images of that batch only.
        size: Images per call, at most.
        wait_s: How long the first image of a batch waits for others, while nothing else waits.
        pixels: Pixels per call, at most, unless one image alone has more; None for any number.
        name: Of the thread.
        yields: Whether the thread lets others of this process go first.
    """

    def __init__(
        self,
        query: Callable[[list[np.ndarray]], list[np.ndarray]],
        *,
        size: int,
        wait_s: float,
        pixels: int | None = None,
        name: str = 'victim',
        yields: bool = False,
    ) -> None:
        self._query = query
        self._size = size
        self._wait_s = wait_s
        self._pixels = pixels
        self._yields = yields
        self._waiting: FairQueue[_Waiting] = FairQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many images wait."""
        return len(self._waiting)

    def submit(self, image: np.ndarray, owner: str = '') -> Future[np.ndarray]:
        """Have an image answered: uint8 ``(H, W, 3)``, RGB; the owner is whose turn it takes."""
        waiting = _Waiting(image)
        with self._changed:
            if self._closed:
                raise RuntimeError('the batcher is closed')
            self._waiting.put(owner, waiting, waiting.pixels + _IMAGE_COST)
            self._changed.notify()
        return waiting.future

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what waits, then end the thread; a victim that hangs is left behind after ``timeout_s`` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        if self._yields:
            lower_priority()
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
            if not self._waiting:
                self._waiting.rest()
            while not self._waiting and not self._closed:
                self._changed.wait()
            while (batch := self._waiting.peek(_alike, self._fits)) and not self._closed:
                full = not self._fits([*batch, batch[0]])
                left = batch[0].since + self._wait_s - time.monotonic()
                if full or left <= 0 or len(batch) < len(self._waiting):
                    break
                self._changed.wait(left)
            return self._waiting.take(_alike, self._fits)

    def _fits(self, batch: list[_Waiting]) -> bool:
        if len(batch) > self._size:
            return False
        return self._pixels is None or sum(one.pixels for one in batch) <= self._pixels


def _alike(first: _Waiting, other: _Waiting) -> bool:
    return first.image.shape == other.image.shape
