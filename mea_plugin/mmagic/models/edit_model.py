"""Training a surrogate that is one network, such as any of MMagic's super-resolution networks."""

from __future__ import annotations

from typing import Any

from mmagic.models.base_models import BaseEditModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mea_plugin.mmagic.models.known_defences import TrainsThrough
from mea_plugin.mmagic.models.penalty import HighFrequencyTerm
from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

__all__ = ['ExtractionEditModel']


class ExtractionEditModel(SAMModelMixin, HighFrequencyTerm, TrainsThrough, BaseEditModel):
    """MMagic's ``BaseEditModel`` with the high-frequency penalty and a step that can be evaluated twice.

    ``img`` is the query and ``gt`` the victim's response. The objective is::

        pixel_loss(generator(img), gt) + factor * hf_loss(generator(img), gt)

    with ``factor`` by ``hf_schedule``. Without ``hf_loss``, and with ``OptimWrapper``, it trains as ``BaseEditModel``
    does. A SAM wrapper gets the same batch a second time, with the same random numbers, and buffers move once per step.

    Args:
        generator: The network's config: EDSRNet, MSRResNet, RRDBNet, SwinIRNet, NAFNet, ...
        pixel_loss: Config of the pixel loss.
        hf_loss: ``dict(type='HighFrequencyLoss', ...)``, or None for no penalty.
        hf_schedule: ``constant``, or ``lr`` for a weight that grows as the learning rate falls.
        known_defences: ``[dict(type='resize', ...)]``: those on the victim's answers, which training goes through
            (:class:`~mea_plugin.defences.through.ThroughDefences`).
        kwargs: As ``BaseEditModel``: train_cfg, test_cfg, init_cfg, data_preprocessor.

    Raises:
        InputError: An unknown schedule, or a schedule without a penalty.
    """

    def __init__(
        self,
        generator: dict[str, Any],
        pixel_loss: dict[str, Any],
        hf_loss: dict[str, Any] | None = None,
        hf_schedule: str = 'constant',
        known_defences: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator=generator, pixel_loss=pixel_loss, **kwargs)
        self._build_penalty(hf_loss, hf_schedule)
        self._build_through(known_defences)

    def forward_train(self, inputs: Tensor, data_samples: Any = None, **kwargs: Any) -> dict[str, Tensor]:
        """The terms of the objective."""
        output = self._shown(self.forward_tensor(inputs, data_samples, **kwargs))
        losses = {'loss_pix': self.pixel_loss(output, data_samples.gt_img)}
        if self.hf_loss is not None:
            losses['loss_hf'] = self._penalty(output, data_samples.gt_img)
        return losses

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper, *, distributed: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """As :meth:`SAMModelMixin.train_step`, with the penalty's weight by ``hf_schedule``."""
        self._follow_schedule(optim_wrapper.optimizer)
        return super().train_step(data, optim_wrapper, distributed=distributed)
