"""Validation that can be broken off between two of its batches, by all ranks together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from mea_plugin.training.ranks import Ranks

__all__ = ['BreakOffHook', 'BrokenOff', 'fence']


class BrokenOff(Exception):  # noqa: N818 - not an error: the run ends as it was asked to
    """Validation has been broken off on all ranks; its results are void."""


class BreakOffHook(Hook):
    """Looks for a request to stop before each batch of a validation.

    Ranks may have different numbers of batches, so they agree where all of them come by: before an evaluator
    computes its metrics. A rank that breaks off earlier waits for the others there.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.wanted: Callable[[], bool] | None = None

    def before_val_iter(self, runner: Any, **kwargs: Any) -> None:
        """Break off, if this process was asked to stop."""
        if self.wanted is not None and self.wanted() and runner.ranks.any(True):
            raise BrokenOff

    def meet(self, ranks: Ranks) -> None:
        """Before metrics are computed: break off, if any rank does."""
        if self.wanted is not None and ranks.any(self.wanted()):
            raise BrokenOff


def fence(loop: Any, hook: BreakOffHook, ranks: Ranks) -> bool:
    """Let the ranks meet before each evaluator of a validation loop computes its metrics.

    Args:
        loop: MMEngine's ``ValLoop``, MMagic's ``MultiValLoop``, or one like them.
        hook: Who breaks off.
        ranks: Who meets.

    Returns:
        Whether the loop can be broken off: with one process any can.
    """
    evaluators = getattr(loop, 'evaluators', None) or [getattr(loop, 'evaluator', None)]
    if not all(hasattr(one, 'evaluate') for one in evaluators):
        return ranks.world == 1
    for evaluator in evaluators:
        evaluator.evaluate = functools.partial(_after_meeting, evaluator.evaluate, hook, ranks)
    return True


def _after_meeting(evaluate: Callable[..., Any], hook: BreakOffHook, ranks: Ranks, *args: Any, **kwargs: Any) -> Any:
    hook.meet(ranks)
    return evaluate(*args, **kwargs)
