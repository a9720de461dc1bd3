"""Training a surrogate that is one network, such as any of MMagic's super-resolution networks."""

from __future__ import annotations

from typing import Any

from mmagic.models.base_models import BaseEditModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mea_plugin.mmagic.models.objective import ExtractionArguments
from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

__all__ = ['ExtractionEditModel']


class ExtractionEditModel(SAMModelMixin, ExtractionArguments, BaseEditModel):
    """MMagic's ``BaseEditModel`` with further loss terms and a step that can be evaluated twice.

    ``img`` is the query and ``gt`` the victim's response. The objective is::

        pixel_loss(generator(img), gt) + factor * hf_loss(generator(img), gt) + further terms

    with ``factor`` by ``hf_schedule``. Without such terms, and with ``OptimWrapper``, it trains as ``BaseEditModel``
    does. A SAM wrapper gets the same batch a second time, with the same random numbers, and buffers move once per step.

    Args:
        generator: The network's config: EDSRNet, MSRResNet, RRDBNet, SwinIRNet, NAFNet, ...
        pixel_loss: Config of the pixel loss.
        kwargs: As :class:`~mea_plugin.mmagic.models.objective.ExtractionArguments`, and as ``BaseEditModel``:
            train_cfg, test_cfg, init_cfg, data_preprocessor.
    """

    def forward_train(self, inputs: Tensor, data_samples: Any = None, **kwargs: Any) -> dict[str, Tensor]:
        """The terms of the objective."""
        output = self._shown(self.forward_tensor(inputs, data_samples, **kwargs))
        pixel = self.pixel_loss(output, data_samples.gt_img)
        return {'loss_pix': pixel, **self._logged_terms(output, data_samples.gt_img)}

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper, *, distributed: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """As :meth:`SAMModelMixin.train_step`, with the weights of the loss terms by their schedules."""
        self.terms.follow(optim_wrapper.optimizer)
        return super().train_step(data, optim_wrapper, distributed=distributed)
