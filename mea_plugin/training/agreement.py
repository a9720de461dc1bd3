"""Actions that fail on all ranks or on none: a rank that fails alone would leave the others waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mea_plugin.core.errors import InputError
from mea_plugin.training.ranks import Ranks

__all__ = ['by_all', 'by_first']

T = TypeVar('T')


def by_all(ranks: Ranks, action: Callable[[], T]) -> T:
    """What an action gives on this rank, if no rank fails in it.

    Args:
        ranks: All of them call this.
        action: Waits for no other rank.

    Raises:
        InputError, OSError: On all ranks, if the action raises one on any of them: this rank's own, or else the first.
    """
    try:
        value, error = action(), None
    except (InputError, OSError) as caught:
        error = caught
    failures = [one for one in ranks.gather(error) if one is not None]
    if failures:
        raise error or failures[0]
    return value


def by_first(ranks: Ranks, action: Callable[[], T]) -> T:
    """What an action gives on the first rank, where alone it is run; all fail if it does there."""
    value: T = ranks.share(by_all(ranks, lambda: action() if ranks.is_first else None))
    return value
