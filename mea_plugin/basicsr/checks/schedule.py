"""Refuses schedules of loss terms that BasicSR's scheduler would make pointless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.training.terms import TermOptions

__all__ = ['check_schedule']


def check_schedule(terms: Sequence[TermOptions], train: Mapping[str, Any]) -> None:
    """Refuse a schedule under which a term would never act, or would act the wrong way round.

    Args:
        terms: The loss terms.
        train: The section, with the scheduler of the learning rate.

    Raises:
        InputError: ``lr`` with a scheduler that never lowers the learning rate, or with a warm-up, during which the
            weight would fall instead of rise.
    """
    where = next((one.schedule_at for one in terms if one.schedule == 'lr'), None)
    if where is None:
        return
    if train.get('warmup_iter', -1) > 0:
        raise InputError("'lr' cannot follow a warm-up", where=where, do='Remove warmup_iter or use constant')
    if not _decays(train.get('scheduler') or {}, train.get('total_iter', 0)):
        raise InputError(
            "the scheduler never lowers the learning rate, so the weight would stay 0 with 'lr'",
            where=where,
            do='Use CosineAnnealingRestartLR, add a milestone before total_iter, or use constant',
        )


def _decays(scheduler: Mapping[str, Any], total_iter: int) -> bool:
    if scheduler.get('type') == 'CosineAnnealingRestartLR':
        return True
    return scheduler.get('gamma', 0.1) < 1 and any(m < total_iter for m in scheduler.get('milestones', ()))
