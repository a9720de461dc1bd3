"""A gradient scaler for a CPU, where torch's does nothing."""

from __future__ import annotations

import torch


class FakeScaler:
    """What a gradient scaler does, in a few lines, and a record of what it was asked."""

    def __init__(self, scale=2.0**16):
        self.value, self.bad, self.calls = scale, None, []

    def is_enabled(self):
        return True

    def scale(self, loss):
        self.calls.append('scale')
        return loss * self.value

    def unscale_(self, optimizer):
        assert self.bad is None, 'unscaled twice'
        self.calls.append('unscale')
        grads = [p.grad for group in optimizer.param_groups for p in group['params']]
        self.bad = not all(torch.isfinite(grad).all() for grad in grads)
        for grad in grads:
            grad.div_(self.value)

    def step(self, optimizer):
        if self.bad is None:
            self.unscale_(optimizer)
        self.calls.append('skip' if self.bad else 'step')
        return None if self.bad else optimizer.step()

    def update(self, new_scale=None):
        self.calls.append('update')
        self.value, self.bad = self.value * (0.5 if self.bad else 1), None
