"""The distributed wrapper of models whose step runs two passes."""

from __future__ import annotations

from typing import Any

from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor

__all__ = ['ExtractionDistributedDataParallel']


class ExtractionDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's ``MMDistributedDataParallel``, handing the step to the model instead of running one pass itself.

    Gradients of both passes are averaged over the ranks, or, with the optimizer's ``first_pass='local'``, those of
    the second only. It is for models with
    :class:`~mea_plugin.mmagic.models.sam_mixin.SAMModelMixin`; GANs are wrapped network by network, with
    MMEngine's ``MMSeparateDistributedDataParallel``.
    """

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """The model's own step, with forward passes through this wrapper."""
        logs: dict[str, Tensor] = self.module.train_step(data, optim_wrapper, distributed=self)
        return logs
