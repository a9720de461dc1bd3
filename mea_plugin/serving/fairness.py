"""Start-time fair queueing: who sends much waits behind their own work, not others behind it.

P. Goyal, H. M. Vin, H. Cheng: Start-time Fair Queueing, SIGCOMM 1996. Each entry gets a start tag, the later of the
virtual time and its flow's last finish tag; the flow's finish tag becomes ``start + cost``. The entry with the
smallest start tag is served next, and the virtual time is its tag. While two flows both have entries waiting, the work
done for them differs by no more than the largest entry of each, however fast the server is at the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ['FairQueue']

T = TypeVar('T')


@dataclass(frozen=True, eq=False)
class _Entry(Generic[T]):
    item: T
    start: float
    cost: float
    number: int

    @property
    def rank(self) -> tuple[float, float, int]:
        """Of two that may begin at the same time, the smaller one goes first."""
        return self.start, self.cost, self.number


class FairQueue(Generic[T]):
    """Entries of several flows, each flow's in the order in which they came. Not locked."""

    def __init__(self) -> None:
        self._entries: list[_Entry[T]] = []
        self._finish: dict[Hashable, float] = {}
        self._time = 0.0
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, flow: Hashable, item: T, cost: float) -> None:
        """Add an entry.

        Args:
            flow: Whose it is.
            item: What waits.
            cost: How much work it is, above 0.
        """
        start = max(self._time, self._finish.get(flow, 0.0))
        self._finish[flow] = start + cost
        self._entries.append(_Entry(item, start, cost, self._count))
        self._count += 1

    def peek(self, alike: Callable[[T, T], bool], fits: Callable[[list[T]], bool]) -> list[T]:
        """The next item, with those behind it that go together with it; an empty list when nothing waits.

        Args:
            alike: Whether an item (second) may go with the next one (first).
            fits: Whether a list of items is not too long.
        """
        return [entry.item for entry in self._together(alike, fits)]

    def take(self, alike: Callable[[T, T], bool], fits: Callable[[list[T]], bool]) -> list[T]:
        """As :meth:`peek`, and they wait no more."""
        taken = self._together(alike, fits)
        self._entries = [entry for entry in self._entries if entry not in taken]
        if taken:
            self._time = max(self._time, taken[0].start)
            # A flow that is not ahead of the virtual time begins like one that was never seen.
            self._finish = {flow: finish for flow, finish in self._finish.items() if finish > self._time}
        return [entry.item for entry in taken]

    def rest(self) -> None:
        """The server has nothing to do: whatever was done before counts for nobody any more."""
        assert not self._entries
        self._finish.clear()

    def _together(self, alike: Callable[[T, T], bool], fits: Callable[[list[T]], bool]) -> list[_Entry[T]]:
        if not self._entries:
            return []
        first, *others = sorted(self._entries, key=lambda entry: entry.rank)
        chosen = [first]
        for entry in others:
            if alike(first.item, entry.item) and fits([*(one.item for one in chosen), entry.item]):
                chosen.append(entry)
        return chosen
