"""The weight of the high-frequency penalty over a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mea_plugin.errors import InputError, suggestion

__all__ = ['SCHEDULES', 'check_schedule', 'hf_factor']

SCHEDULES = ('constant', 'lr')


def hf_factor(schedule: str, optimizer: torch.optim.Optimizer) -> float:
    """What the penalty's weight is multiplied by at this moment.

    ``constant``: 1. ``lr``: ``1 - lr / lr_0``, clipped to [0, 1], where ``lr_0`` is the learning rate the optimizer was
    configured with: the penalty grows from 0 to its full weight as the scheduler lowers the learning rate (Mi et al.,
    AAAI 2024, published code).
    """
    if schedule == 'constant':
        return 1.0
    group = optimizer.param_groups[0]
    return min(max(1.0 - group['lr'] / group.get('initial_lr', optimizer.defaults['lr']), 0.0), 1.0)


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
