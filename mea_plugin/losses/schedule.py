"""The weight of a loss term over a training run."""

from __future__ import annotations

import torch

__all__ = ['SCHEDULES', 'weight_factor']

SCHEDULES = ('constant', 'lr')


def weight_factor(schedule: str, optimizer: torch.optim.Optimizer) -> float:
    """The number that a term's weight is multiplied by at this moment.

    ``constant``: 1. ``lr``: ``1 - lr / lr_0``, clipped to [0, 1], where ``lr_0`` is the learning rate the optimizer was
    configured with: the term grows from 0 to its full weight as the scheduler lowers the learning rate (Mi et al.,
    AAAI 2024, published code).
    """
    if schedule == 'constant':
        return 1.0
    group = optimizer.param_groups[0]
    return min(max(1.0 - group['lr'] / group.get('initial_lr', optimizer.defaults['lr']), 0.0), 1.0)
