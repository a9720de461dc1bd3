"""From an encoded image to an encoded answer: decoding, the victim, and what happens to its answer."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mea_plugin.serving.batching import Batcher
from mea_plugin.serving.billing import Reply
from mea_plugin.serving.images import decode, encode
from mea_plugin.serving.metrics import Metrics
from mea_plugin.serving.options import ServeOptions
from mea_plugin.victims import Victim
from mea_plugin.victims.base import check_answer

if TYPE_CHECKING:
    from mea_plugin.serving.enforcement import Watch
    from mea_plugin.serving.watch import Action

__all__ = ['Answerer', 'VictimError']

_LOGGER = logging.getLogger(__name__)


class VictimError(Exception):
    """The victim failed, or answered something that is no answer."""


class Answerer:
    """A victim and the threads around it.

    Args:
        options: Limits, batches and output.
        victim: Who answers; called from one thread.
        metrics: Told about each call of the victim.
        watch: Looks at each query, if there is one.
    """

    def __init__(self, options: ServeOptions, victim: Victim, metrics: Metrics, watch: Watch | None = None) -> None:
        self._options = options
        self._victim = victim
        self._metrics = metrics
        self._watch = watch
        self._batcher = Batcher(self._query, size=options.batch.size, wait_s=options.batch.wait_ms / 1000)
        # Decoding catches Pillow's warnings, which is for one thread at a time.
        self._decoder = ThreadPoolExecutor(1, 'decode')
        self._encoder = ThreadPoolExecutor(os.cpu_count() or 1, 'encode')

    @property
    def depth(self) -> int:
        """How many images wait for the victim."""
        return self._batcher.depth

    async def answer(self, content: bytes, customer: int) -> Reply:
        """Answer a customer's encoded image.

        Raises:
            Refusal: As :meth:`decode`; 403, the customer's queries are refused.
            VictimError: The victim failed.
        """
        image = await self.decode(content)
        loop = asyncio.get_running_loop()
        action = await loop.run_in_executor(self._encoder, self._look, customer, image)
        answer = await asyncio.wrap_future(self._batcher.submit(image))
        return await loop.run_in_executor(self._encoder, self._reply, action, image, answer)

    async def decode(self, content: bytes) -> np.ndarray:
        """Decode an image: uint8 ``(H, W, 3)``, RGB.

        Raises:
            Refusal: It is none, or too large or too small.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoder, self._decode, content)

    def _decode(self, content: bytes) -> np.ndarray:
        limits = self._options.limits
        return decode(content, limits.pixels, max_side=limits.max_side, min_side=limits.min_side)

    def close(self, timeout_s: float) -> None:
        """End the threads; a victim that hangs is left behind after ``timeout_s`` seconds."""
        self._batcher.close(timeout_s)
        self._decoder.shutdown()
        self._encoder.shutdown()

    def _look(self, customer: int, image: np.ndarray) -> Action | None:
        if self._watch is None:
            return None
        with self._metrics.watch_seconds.time():
            action = self._watch.look(customer, image)
        self._metrics.watched.labels(action.name).inc()
        return action

    def _reply(self, action: Action | None, image: np.ndarray, answer: np.ndarray) -> Reply:
        if self._watch is not None and action is not None:
            answer = self._watch.defend(action, image, answer)
        return encode(answer, self._options.output)

    def _query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Ask the victim; runs in the batcher's thread. Whatever goes wrong is logged once, for the whole batch."""
        self._metrics.batch_size.observe(len(images))
        try:
            with self._metrics.victim_seconds.time():
                answers = self._victim.query(images)
            for image, answer in zip(images, answers, strict=True):
                check_answer(self._victim, image, answer)
        except Exception as error:
            _LOGGER.exception('the victim failed on %d images of %s', len(images), images[0].shape)
            raise VictimError('the model failed on this image') from error
        return answers
