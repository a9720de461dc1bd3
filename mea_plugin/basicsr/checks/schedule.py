"""Refuses schedules of the penalty that BasicSR's scheduler would make pointless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.losses.schedule import SCHEDULES, hf_factor

__all__ = ['SCHEDULES', 'check_schedule', 'hf_factor']


def check_schedule(train: Mapping[str, Any], where: str) -> None:
    """Refuse a schedule under which the penalty would never act, or would act the wrong way round.

    Raises:
        InputError: Unknown schedule; ``lr`` with a scheduler that never lowers the learning rate, or with a warm-up,
            during which the weight would fall instead of rise.
    """
    schedule = train.get('hf_schedule', 'constant')
    if schedule not in SCHEDULES:
        raise InputError(f"no schedule '{schedule}'", where=where, do=suggestion(str(schedule), SCHEDULES))
    if schedule == 'constant':
        return
    if not train.get('hf_opt'):
        raise InputError('there is no hf_opt to schedule', where=where, do='Add train.hf_opt or remove hf_schedule')
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
