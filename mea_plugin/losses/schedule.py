"""The weight of the high-frequency penalty over a training run."""

from __future__ import annotations

import torch

__all__ = ['SCHEDULES', 'hf_factor']

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
