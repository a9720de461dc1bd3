"""Times of several callables, measured in turn so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ['Timing', 'compare', 'format_table']


class Timing(NamedTuple):
    """One row of a comparison.

    Attributes:
        name: What was timed.
        milliseconds: Median time of one call.
        speedup: Median over rounds of the reference's time divided by this one's in the same round; above 1 is faster
            than the reference.
    """

    name: str
    milliseconds: float
    speedup: float


def compare(
    cases: Mapping[str, Callable[[], object]],
    reference: str,
    *,
    rounds: int = 20,
    warmup: int = 2,
) -> list[Timing]:
    """Time every case once a round, ``rounds`` times, after ``warmup`` untimed rounds.

    Args:
        cases: Name to callable. A callable on a GPU must synchronise before it returns.
        reference: The name whose time is the numerator of every ratio.
        rounds: Timed rounds.
        warmup: Untimed rounds before them.

    Returns:
        One :class:`Timing` per case, in the order given.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for index in range(warmup + rounds):
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if index >= warmup:
                seconds[name].append(elapsed)
    return [
        Timing(
            name,
            1e3 * statistics.median(times),
            statistics.median(ref / own for ref, own in zip(seconds[reference], times, strict=True)),
        )
        for name, times in seconds.items()
    ]


def format_table(title: str, timings: list[Timing], reference: str) -> str:
    """The comparison as a Markdown table."""
    rows = [f'### {title}', '', f'| | ms | times as fast as {reference} |', '|---|---:|---:|']
    rows += [f'| {row.name} | {row.milliseconds:.2f} | {row.speedup:.2f} |' for row in timings]
    return '\n'.join(rows) + '\n'
