"""The high-frequency term that every extraction model adds to its base class's objective."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.losses.schedule import SCHEDULES, hf_factor

__all__ = ['HighFrequencyTerm']


class HighFrequencyTerm:
    """Mixin before MMagic's models: the arguments ``hf_loss`` and ``hf_schedule``, and what they mean.

    The term is ``factor * hf_loss(pred, target)``, with ``factor`` 1 (``constant``) or ``1 - lr / lr_0`` clipped to
    [0, 1] (``lr``), where ``lr`` is the generator's learning rate and ``lr_0`` the one it was configured with.

    Source: Mi et al., AAAI 2024, and its published code.
    """

    hf_loss: nn.Module | None
    hf_schedule: str
    _hf_factor: float

    def _build_penalty(self, hf_loss: dict[str, Any] | None, hf_schedule: str) -> None:
        if hf_schedule not in SCHEDULES:
            raise InputError(
                f"no schedule '{hf_schedule}'", where='model.hf_schedule', do=suggestion(str(hf_schedule), SCHEDULES)
            )
        if hf_schedule != 'constant' and not hf_loss:
            raise InputError(
                'there is no hf_loss to schedule', where='model.hf_schedule', do='Add hf_loss or remove hf_schedule'
            )
        self.hf_loss = MODELS.build(hf_loss) if hf_loss else None
        self.hf_schedule = hf_schedule
        self._hf_factor = 1.0

    def _follow_schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the factor from the learning rate of the generator's optimizer.

        Raises:
            InputError: No scheduler is attached to it, so that with ``lr`` the weight would stay 0.
        """
        if self.hf_loss is None:
            return
        # MMEngine's schedulers note `initial_lr` in each group when they are built, before the first step.
        if self.hf_schedule == 'lr' and 'initial_lr' not in optimizer.param_groups[0]:
            raise InputError(
                "no scheduler lowers the learning rate, so the penalty's weight would stay 0 with 'lr'",
                where='model.hf_schedule',
                do="Add param_scheduler=dict(type='CosineAnnealingLR', ...), or use 'constant'",
            )
        self._hf_factor = hf_factor(self.hf_schedule, optimizer)

    def _penalty(self, pred: Tensor, target: Tensor) -> Tensor:
        """The weighted term: float tensors ``(N, C, H, W)`` of any range to a scalar."""
        assert self.hf_loss is not None
        value: Tensor = self._hf_factor * self.hf_loss(pred, target)
        return value
