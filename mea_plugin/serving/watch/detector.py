"""How unlike ordinary use a customer's queries look."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_json, write_json
from mea_plugin.data.texture import FEATURES
from mea_plugin.serving.watch.drift import Ordinary, content_features
from mea_plugin.serving.watch.fingerprints import fingerprint
from mea_plugin.serving.watch.memory import Memory

__all__ = ['Calibration', 'Observation', 'StreamDetector', 'calibrate']

_LOGGER = logging.getLogger(__name__)
_FORMAT = 1
_WINDOW = 50  # queries that a customer's state looks back on, roughly
_FEWEST = 10  # queries before a customer is judged
_CUSTOMERS = 10_000  # whose states are kept; the one that was quiet for longest is forgotten first


@dataclass(frozen=True)
class Observation:
    """What a query has added.

    Attributes:
        score: How unlike ordinary use the customer's recent queries are: 1 is where an alarm is due.
        repeats: The share of recent queries that nearly repeat an earlier one, or are a part of one.
        drift: How far the content is from that of ordinary customers; see
            :meth:`~mea_plugin.serving.watch.drift.Ordinary.distance`. None without a calibration.
        is_repeat: Whether this query is one of those.
    """

    score: float
    repeats: float
    drift: float | None
    is_repeat: bool


@dataclass(frozen=True)
class Calibration:
    """Where an alarm is due, and what ordinary use looks like.

    Attributes:
        repeats: Share of repeats that gives a score of 1.
        drift: Distance that gives a score of 1.
        ordinary: Of the content; None: content is not looked at.
        false_alarm: The share of ordinary customers who reach a score of 1 at some time, as it was aimed at.
    """

    repeats: float = 0.5
    drift: float = 3.0
    ordinary: Ordinary | None = None
    false_alarm: float | None = None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        ordinary = self.ordinary.to_json() if self.ordinary else None
        content = {'repeats': self.repeats, 'drift': self.drift, 'false_alarm': self.false_alarm}
        write_json(path, {'format': _FORMAT, **content, 'ordinary': ordinary})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a file of :meth:`save`.

        Raises:
            InputError: There is none, or it is damaged.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get('format') != _FORMAT:
            raise InputError('that is no calibration of a detector', where=path, do='Calibrate the detector')
        numbers = [content.get(key) for key in ('repeats', 'drift')]
        if not all(isinstance(number, int | float) and number > 0 for number in numbers):
            raise InputError('the calibration has no thresholds', where=path, do='Calibrate the detector anew')
        ordinary = content.get('ordinary')
        found = Ordinary.from_json(ordinary, str(path)) if ordinary is not None else None
        return cls(float(content['repeats']), float(content['drift']), found, content.get('false_alarm'))


@dataclass
class _State:
    """A customer's recent queries, older ones weighing less and less."""

    count: float = 0.0
    repeats: float = 0.0
    images: float = 0.0
    features: np.ndarray = field(default_factory=lambda: np.zeros(FEATURES))


class StreamDetector:
    """Scores queries as they come; safe to call from several threads.

    A query counts as a repeat when it is nearly an earlier one of the same customer (the same image compressed, resized
    or with a little noise), or when one is a part of the other (crops, tiles). The content's drift is that of
    :class:`~mea_plugin.serving.watch.drift.Ordinary`. Both are means over about the last 50 queries, divided by
    their thresholds; the score is the larger one, and 0 for a customer's first ten queries.

    Args:
        calibration: Thresholds, and what is ordinary.
        capacity: Queries that are remembered, over all customers.
        store: A file that :meth:`save` writes and that is read first, if there is one.
        on_corrupt: What to do when that file is damaged: begin without memory and say so, or refuse.

    Raises:
        InputError: The store is damaged, and ``on_corrupt`` is ``refuse``.
    """

    def __init__(
        self,
        calibration: Calibration | None = None,
        *,
        capacity: int = 100_000,
        store: Path | None = None,
        on_corrupt: Literal['empty', 'refuse'] = 'refuse',
    ) -> None:
        self.calibration = calibration or Calibration()
        self._store = store
        self._memory = Memory(capacity)
        self._states: OrderedDict[int, _State] = OrderedDict()
        self._lock = threading.Lock()
        if store is not None and store.exists():
            try:
                self._memory = Memory.load(store, capacity)
            except InputError as error:
                if on_corrupt == 'refuse':
                    raise
                _LOGGER.warning('%s The detector begins without memory.', error)

    def observe(self, customer: int, image: np.ndarray) -> Observation:
        """Look at a query, and remember it.

        Args:
            customer: Who asks.
            image: uint8 ``(H, W, 3)``, RGB.
        """
        seen = fingerprint(image)
        ordinary = self.calibration.ordinary
        features = content_features(image) if ordinary is not None else None
        with self._lock:
            is_repeat = self._memory.seen(customer, seen)
            self._memory.add(customer, seen)
            state = self._states.setdefault(customer, _State())
            self._states.move_to_end(customer)
            if len(self._states) > _CUSTOMERS:
                self._states.popitem(last=False)
            keep = 1 - 1 / _WINDOW
            state.count, state.repeats = keep * state.count + 1, keep * state.repeats + is_repeat
            if features is not None:
                state.images, state.features = keep * state.images + 1, keep * state.features + features
            repeats = state.repeats / state.count
            drift = None
            if ordinary is not None and state.images:
                drift = ordinary.distance(state.features / state.images, state.images)
            enough = state.count >= _enough()
        parts_of_score = [repeats / self.calibration.repeats, (drift or 0.0) / self.calibration.drift]
        return Observation(max(parts_of_score) if enough else 0.0, repeats, drift, is_repeat)

    def save(self) -> None:
        """Write the memory to the store, if there is one.

        Raises:
            OSError: It cannot be written.
        """
        if self._store is not None:
            with self._lock:
                content = self._memory.content()
            Memory.write(self._store, content)  # takes seconds, in which queries go on


def _enough() -> float:
    """The decayed count after :data:`_FEWEST` queries."""
    keep = 1 - 1 / _WINDOW
    return (1 - keep**_FEWEST) / (1 - keep) - 1e-9


def calibrate(
    streams: Sequence[Collection[np.ndarray]], *, false_alarm: float = 0.01, held_out: float = 0.5
) -> Calibration:
    """Thresholds that ordinary customers rarely reach.

    What is ordinary is learnt from one part of the customers; thresholds are the quantile ``1 - false_alarm / 2`` of
    the largest values that each customer of the other part reaches, for repeats and drift each. With ``n`` such
    customers nothing finer than ``1 / n`` can be told: with few of them the threshold is the largest value that was
    seen, and a quarter more.

    Args:
        streams: Each ordinary customer's images in their order: uint8 ``(H, W, 3)``, RGB.
        false_alarm: The share of ordinary customers who may reach a score of 1.
        held_out: The share of customers that thresholds are taken from.

    Raises:
        InputError: There are fewer than four customers with ten images each.
    """
    streams = [stream for stream in streams if len(stream) >= _FEWEST]
    cut = len(streams) - max(1, round(held_out * len(streams)))
    if cut < 2:
        what = f'{len(streams)} ordinary customers with {_FEWEST} images or more are too few'
        raise InputError(what, do='Give four or more')
    ordinary = Ordinary.fit(streams[:cut])
    largest = np.array([_largest(stream, ordinary) for stream in streams[cut:]])
    level = 1 - false_alarm / 2
    repeats, drift = (_threshold(largest[:, column], level) for column in (0, 1))
    return Calibration(max(repeats, 0.1), drift, ordinary, false_alarm)


def _largest(stream: Iterable[np.ndarray], ordinary: Ordinary) -> tuple[float, float]:
    """The largest share of repeats and drift of one customer, from the tenth query on."""
    detector = StreamDetector(Calibration(1.0, 1.0, ordinary), capacity=4096)
    seen = [detector.observe(0, image) for image in stream][_FEWEST - 1 :]
    return max((one.repeats for one in seen), default=0.0), max((one.drift or 0.0 for one in seen), default=0.0)


def _threshold(values: np.ndarray, level: float) -> float:
    if len(values) * (1 - level) < 1:
        return float(values.max()) * 1.25
    return float(np.quantile(values, level, method='higher'))
