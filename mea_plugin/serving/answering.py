"""From an encoded image to an encoded answer: decoding, the victim, and what happens to its answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mea_plugin.serving.batching import Batcher
from mea_plugin.serving.billing import Reply
from mea_plugin.serving.images import check, decode, encode
from mea_plugin.serving.metrics import Metrics
from mea_plugin.serving.options import ServeOptions
from mea_plugin.serving.priority import lower_priority
from mea_plugin.victims import Victim
from mea_plugin.victims.base import check_answer

if TYPE_CHECKING:
    from mea_plugin.serving.enforcement import Watch
    from mea_plugin.serving.watch import Action

__all__ = ['Answerer', 'VictimError', 'is_concurrent']

T = TypeVar('T')

_LOGGER = logging.getLogger(__name__)
_SMALL_BYTES = 1 << 16  # a small image's file has no more


class VictimError(Exception):
    """The victim failed, or answered something that is no answer."""


class _Lane:
    """Threads for images of one class of sizes.

    Args:
        batcher: Who asks the victim.
        decoders: Threads that decode.
        encoders: Threads that encode.
        yields: Whether they let the other lane's go first.
    """

    def __init__(self, batcher: Batcher, *, decoders: int, encoders: int, yields: bool) -> None:
        self.batcher = batcher
        first = lower_priority if yields else None
        self.decoder = ThreadPoolExecutor(decoders, 'decode', initializer=first)
        self.encoder = ThreadPoolExecutor(encoders, 'encode', initializer=first)

    def close(self, timeout_s: float) -> None:
        self.batcher.close(timeout_s)
        self.decoder.shutdown()
        self.encoder.shutdown()


class Answerer:
    """A victim and the threads around it, in two lanes.

    Small images have a lane of their own, because a call of the victim cannot be interrupted: behind a large image they
    would wait a hundred times as long as they take. The threads of the lane of large ones run at a lower priority.

    Args:
        options: Limits, batches and output.
        victim: Who answers; called from one thread, or two when it has an attribute ``concurrent`` that is true.
        metrics: Told about each call of the victim.
        watch: Looks at each query, if there is one.
        second: The same victim once more, for the lane of small images; called from one thread. Without it, a victim
            that is not ``concurrent`` has one lane for all images.
    """

    def __init__(
        self,
        options: ServeOptions,
        victim: Victim,
        metrics: Metrics,
        watch: Watch | None = None,
        second: Victim | None = None,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._watch = watch
        processors = os.cpu_count() or 1
        small = options.batch.small_pixels
        quick = second if second is not None else victim if is_concurrent(victim) else None
        if not small or quick is None:
            self._large = self._small = _Lane(
                self._batcher(victim, options.batch.pixels, yields=False), decoders=1, encoders=processors, yields=False
            )
        else:
            self._large = _Lane(
                self._batcher(victim, options.batch.pixels, yields=True), decoders=1, encoders=processors, yields=True
            )
            self._small = _Lane(self._batcher(quick, small, yields=False), decoders=1, encoders=1, yields=False)

    def _batcher(self, victim: Victim, pixels: int, *, yields: bool) -> Batcher:
        batch = self._options.batch
        return Batcher(
            lambda images: self._query(victim, images),
            size=batch.size,
            wait_s=batch.wait_ms / 1000,
            pixels=pixels,
            yields=yields,
        )

    @property
    def depth(self) -> int:
        """How many images wait for the victim."""
        return sum(lane.batcher.depth for lane in {self._small, self._large})

    async def answer(self, content: bytes, customer: int, owner: str = '') -> Reply:
        """Answer a customer's encoded image.

        Args:
            content: The image.
            customer: Whose queries it is watched with.
            owner: Whose turn of the victim it takes.

        Raises:
            Refusal: As :meth:`decode`; 403, the customer's queries are refused.
            VictimError: The victim failed.
        """
        image = await self.decode(content)
        lane = self._small if self._is_small(image.shape[0] * image.shape[1]) else self._large
        action = None
        if self._watch is not None:
            action = await _run(lane.encoder, lambda: self._look(customer, image))
        answer = await asyncio.wrap_future(lane.batcher.submit(image, owner))
        return await _run(lane.encoder, lambda: self._reply(action, image, answer))

    async def decode(self, content: bytes) -> np.ndarray:
        """Decode an image: uint8 ``(H, W, 3)``, RGB.

        Raises:
            Refusal: It is none, or too large or too small.
        """
        if len(content) <= _SMALL_BYTES:
            image = await _run(self._small.decoder, lambda: self._decode(content, small=True))
            if image is not None:
                return image
        image = await _run(self._large.decoder, lambda: self._decode(content))
        assert image is not None
        return image

    async def count_pixels(self, content: bytes) -> int:
        """Width times height, from the image's header.

        Raises:
            Refusal: As :meth:`decode`.
        """
        lane = self._small if len(content) <= _SMALL_BYTES else self._large
        return await _run(lane.decoder, lambda: self._check(content))

    def _check(self, content: bytes) -> int:
        limits = self._options.limits
        return check(content, limits.pixels, max_side=limits.max_side, min_side=limits.min_side)

    def _decode(self, content: bytes, *, small: bool = False) -> np.ndarray | None:
        """Decode an image; None for a large one when only small ones are wanted."""
        if small and not self._is_small(self._check(content)):
            return None
        limits = self._options.limits
        return decode(content, limits.pixels, max_side=limits.max_side, min_side=limits.min_side)

    def _is_small(self, pixels: int) -> bool:
        return pixels <= self._options.batch.small_pixels

    def close(self, timeout_s: float) -> None:
        """End the threads; a victim that hangs is left behind after ``timeout_s`` seconds."""
        for lane in {self._small, self._large}:
            lane.close(timeout_s)

    def _look(self, customer: int, image: np.ndarray) -> Action:
        assert self._watch is not None
        with self._metrics.watch_seconds.time():
            action = self._watch.look(customer, image)
        self._metrics.watched.labels(action.name).inc()
        return action

    def _reply(self, action: Action | None, image: np.ndarray, answer: np.ndarray) -> Reply:
        if self._watch is not None and action is not None:
            answer = self._watch.defend(action, image, answer)
        return encode(answer, self._options.output)

    def _query(self, victim: Victim, images: list[np.ndarray]) -> list[np.ndarray]:
        """Ask the victim; runs in the batcher's thread. Whatever goes wrong is logged once, for the whole batch."""
        self._metrics.batch_size.observe(len(images))
        try:
            with self._metrics.victim_seconds.time():
                answers = victim.query(images)
            for image, answer in zip(images, answers, strict=True):
                check_answer(victim, image, answer)
        except Exception as error:
            _LOGGER.exception('the victim failed on %d images of %s', len(images), images[0].shape)
            raise VictimError('the model failed on this image') from error
        return answers


def is_concurrent(victim: Victim) -> bool:
    """Whether several threads may call a victim at once; it says so itself, or it is not."""
    return bool(getattr(victim, 'concurrent', False))


async def _run(pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function)
