"""The detector in the service: who has to wait, whose answers are degraded, who is refused."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path

import numpy as np

from mea_plugin.core.paths import expanded
from mea_plugin.serving.options import WatchOptions
from mea_plugin.serving.refusal import Refusal
from mea_plugin.serving.watch import Action, Calibration, Response, StreamDetector

__all__ = ['Watch', 'read_watch']

_LOGGER = logging.getLogger(__name__)


class Watch:
    """Scores queries and says what each gets.

    Args:
        options: Of the service.
        store: The file of remembered queries; None if they are not kept.

    Raises:
        InputError: The calibration cannot be read, a defence cannot be made, or the store is damaged, and is not to be
            begun anew.
    """

    def __init__(self, options: WatchOptions, store: Path | None) -> None:
        calibration, self._response = read_watch(options, 'watch')
        self._detector = StreamDetector(
            calibration, capacity=options.capacity, store=store, on_corrupt=options.on_corrupt
        )
        self._not_before: dict[int, float] = {}
        self._last: dict[int, str] = {}
        self._counts = itertools.count()

    def admit(self, customer: int) -> None:
        """Turn away who has to wait.

        Raises:
            Refusal: 429.
        """
        wait = self._not_before.get(customer, 0.0) - time.monotonic()
        if wait > 0:
            raise Refusal(429, 'these queries are answered slowly', retry_after=wait)

    def look(self, customer: int, image: np.ndarray) -> Action:
        """Score a query.

        Raises:
            Refusal: 403, it is not answered.
        """
        seen = self._detector.observe(customer, image)
        action = self._response.action(seen.score)
        if self._last.get(customer, 'answer') != action.name:
            _LOGGER.warning('customer %d: %s from now on, at a score of %.2f', customer, action.name, seen.score)
            self._last[customer] = action.name
        if action.wait_s:
            self._not_before[customer] = time.monotonic() + action.wait_s
        else:
            self._not_before.pop(customer, None)
        if action.refuse:
            raise Refusal(403, 'these queries are not those of ordinary use; ask the operator')
        return action

    def defend(self, action: Action, query: np.ndarray, answer: np.ndarray) -> np.ndarray:
        """What the customer gets for the victim's answer."""
        return action.defend(query, answer, next(self._counts)) if action.defences else answer

    def save(self) -> None:
        """Keep the memory across restarts; a failure is logged."""
        try:
            self._detector.save()
        except OSError as error:
            _LOGGER.warning('the memory of queries cannot be kept: %s', error)


def read_watch(options: WatchOptions, where: str) -> tuple[Calibration, Response]:
    """What an option file says about watching.

    Raises:
        InputError: The calibration cannot be read, or a defence cannot be made.
    """
    path = options.calibration
    calibration = Calibration() if path is None else Calibration.load(expanded(path))
    return calibration, Response.from_options(options.response, f'{where}.response')
