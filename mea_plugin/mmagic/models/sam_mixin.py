"""SAM for any MMEngine model that is trained by the default ``train_step``."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mea_plugin.core.errors import InputError
from mea_plugin.mmagic.models.passes import Logs, update, watched
from mea_plugin.mmagic.optim.wrappers import SecondPass

__all__ = ['SAMModelMixin']


class SAMModelMixin:
    """Give a model the second pass that ``SAMOptimWrapper`` and ``SAMAmpOptimWrapper`` need.

    Put it before the model's class, register the result, and name a SAM wrapper in the config. Both passes see the same
    preprocessed batch and the same random numbers, and buffers move once per step. With any other wrapper the model
    trains as before::

        from mmagic.models.base_models import BaseEditModel
        from mmagic.registry import MODELS
        from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

        @MODELS.register_module()
        class MyEditModel(SAMModelMixin, BaseEditModel):
            pass

        model = dict(type='MyEditModel', generator=..., pixel_loss=...)
        optim_wrapper = dict(type='SAMOptimWrapper', optimizer=dict(type='SAM', rho=0.05, lr=2e-4))

    Under a distributed launcher, also set ``model_wrapper_cfg=dict(type='ExtractionDistributedDataParallel')``.

    Raises:
        InputError: The model's class is not an MMEngine ``BaseModel``, or has a ``train_step`` of its own, as GANs
            have, which the mixin would replace.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        models = order[order.index(SAMModelMixin) + 1 :]
        owner = next((model for model in models if 'train_step' in vars(model)), None)
        if owner is not BaseModel:
            fault = 'is not an MMEngine BaseModel' if owner is None else f"has the train_step of '{owner.__name__}'"
            raise InputError(
                f"SAMModelMixin needs a model with BaseModel's train_step, and '{cls.__name__}' {fault}",
                where=cls.__name__,
                do='Put SAMModelMixin before a model with one loss; for a GAN use ExtractionSRGAN, ExtractionPix2Pix '
                'or ExtractionCycleGAN',
            )

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper, *, distributed: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Run one step on a batch.

        Args:
            data: From the loader.
            optim_wrapper: MMEngine's or one that takes a second pass.
            distributed: The model wrapper around this model, whose forward prepares the averaging of gradients.

        Returns:
            The terms at ``w``, for the log.

        Raises:
            InputError: A term or a gradient is not finite.
        """
        model: Any = self
        outer = distributed or model
        sam = optim_wrapper if isinstance(optim_wrapper, SecondPass) else None
        batch = model.data_preprocessor(data, True)
        logs = Logs()

        def objective() -> tuple[Tensor, dict[str, Tensor]]:
            with optim_wrapper.optim_context(outer):
                # Past the wrapper in a local pass: even in no_sync() its forward may agree with other ranks on buckets.
                network = model if sam and sam.pass_is_local else outer
                losses = network(**batch, mode='loss') if isinstance(batch, dict) else network(*batch, mode='loss')
                return model.parse_losses(losses)

        with watched(logs):
            update(optim_wrapper, objective, logs, model)
        return logs
