"""The section ``train`` of a BasicSR option file, for each model that BasicSR and this package have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator
from typing_extensions import Self

from mea_plugin.basicsr.checks.sections.file import Subsection
from mea_plugin.core.schema import Flag, Number, Options, Whole, refusal, shortened

__all__ = [
    *('EDVRTrain', 'ExtractionGANTrain', 'ExtractionTrain', 'HiFaceGANTrain', 'ModelTrain', 'RecurrentGANTrain'),
    *('RecurrentTrain', 'SRGANTrain', 'SRTrain', 'StyleGAN2Train'),
]


def _check_optional(value: Any) -> Any:
    if value is not False and not isinstance(value, Mapping):
        do = 'Write key: value lines below it, or ~ to leave it out'
        raise refusal(f'expected a section, got {shortened(value)}', do=do)
    return value


OptionalLoss = Annotated[Any, BeforeValidator(_check_optional)]
"""``type`` and the options of a registered loss; nothing or ``false`` for none."""


class ModelTrain(Options):
    """The section ``train``, as BasicSR's loop and ``BaseModel`` read it."""

    total_iter: Annotated[int, Whole(1)]
    """Iterations of the run."""
    warmup_iter: Annotated[int, Whole(-1)] = -1
    """Iterations in which the learning rate rises; -1 for none."""
    scheduler: Subsection
    """The learning rate's course: ``MultiStepLR`` or ``CosineAnnealingRestartLR``, and its options."""
    optim_g: Subsection
    """The optimizer of ``network_g``."""


class _ImageTrain(ModelTrain):
    """What all models that restore images read."""

    ema_decay: Annotated[float, Number(0, 1)] = 0
    """How slowly averaged weights follow; 0: there are none."""
    pixel_opt: OptionalLoss = None
    """The loss on pixels."""
    perceptual_opt: OptionalLoss = None
    """The perceptual loss, and the style loss."""


class SRTrain(_ImageTrain):
    """The section ``train`` for ``SRModel`` and what is derived from it."""

    @model_validator(mode='after')
    def _check_losses(self) -> Self:
        if not self.pixel_opt and not self.perceptual_opt:
            raise refusal('there is neither pixel_opt nor perceptual_opt', do='Add pixel_opt')
        return self


class _Adversarial(Options):
    """What models with a discriminator read."""

    gan_opt: Subsection
    """The adversarial loss."""
    optim_d: Subsection
    """The optimizer of ``network_d``."""
    net_d_iters: Annotated[int, Whole(1)] = 1
    """The generator moves in every so many iterations."""
    net_d_init_iters: Annotated[int, Whole()] = 0
    """Iterations in which the discriminator moves alone."""


class SRGANTrain(_Adversarial, _ImageTrain):
    """The section ``train`` for ``SRGANModel``, ``ESRGANModel`` and ``RealESRGANModel``."""

    ldl_opt: OptionalLoss = None
    """The loss on artifacts; needs ``ema_decay``."""

    @model_validator(mode='after')
    def _check_artifacts(self) -> Self:
        if self.ldl_opt and not self.ema_decay:
            do = 'Set train.ema_decay (0.999, say), or remove ldl_opt'
            raise refusal('ldl_opt compares with the averaged weights, and there are none', do=do)
        return self


class HiFaceGANTrain(_Adversarial, SRTrain):
    """The section ``train`` for ``HiFaceGANModel``, which has no averaged weights."""

    ema_decay: Annotated[float, Number(0, 0)] = 0
    """Must be 0."""
    feature_matching_opt: OptionalLoss = None
    """The loss on the discriminator's features."""


class StyleGAN2Train(ModelTrain):
    """The section ``train`` for ``StyleGAN2Model``; of its optimizers, only ``type`` and ``lr`` are read."""

    gan_opt: Subsection
    """The adversarial loss."""
    optim_d: Subsection
    """The optimizer of ``network_d``."""
    mixing_prob: Annotated[float, Number(0, 1)]
    """Probability that an image is made of two codes."""
    net_g_reg_every: Annotated[int, Whole(1)]
    """Iterations between two path regularisations of the generator."""
    net_d_reg_every: Annotated[int, Whole(1)]
    """Iterations between two R1 regularisations of the discriminator."""
    path_reg_weight: Annotated[float, Number()]
    """The weight of the path regularisation."""
    path_batch_shrink: Annotated[int, Whole(1)]
    """The path regularisation takes one part of so many of a batch."""
    r1_reg_weight: Annotated[float, Number()]
    """The weight of the R1 regularisation."""


class EDVRTrain(SRTrain):
    """The section ``train`` for ``EDVRModel``."""

    tsa_iter: Annotated[int, Whole()] | None = None
    """Iterations in which the fusion module moves alone."""
    dcn_lr_mul: Annotated[float, Number()] = 1
    """The factor of the deformable convolutions' learning rate."""


class RecurrentTrain(SRTrain):
    """The section ``train`` for ``VideoRecurrentModel``."""

    fix_flow: Annotated[int, Whole()] | None = None
    """Iterations in which the flow network stands still."""
    flow_lr_mul: Annotated[float, Number()] = 1
    """The factor of the flow network's learning rate."""


class RecurrentGANTrain(_Adversarial, _ImageTrain):
    """The section ``train`` for ``VideoRecurrentGANModel``."""

    fix_flow: Annotated[int, Whole()] = 0
    """Iterations in which the flow network stands still; 0: it learns as the rest does."""
    lr_flow: Annotated[float, Number()] | None = None
    """The flow network's learning rate, with ``fix_flow``."""


class _Extraction(_ImageTrain):
    """What this package's models read besides BasicSR's."""

    hf_opt: OptionalLoss = None
    """The high-frequency penalty: ``{type: HighFrequencyLoss, ...}``."""
    hf_schedule: str = 'constant'
    """The course of the penalty's weight: ``constant`` or ``lr``."""
    extra_losses: list[Any] | None = None
    """Further losses: a list of sections with ``type`` and the loss's options."""
    known_defences: list[Any] | None = None
    """Defences on the victim's answers that the training goes through."""
    amp: Any = None
    """Reduced precision: ``bfloat16`` or ``float16``."""
    accumulate: Annotated[int, Whole(1)] = 1
    """Equal parts that a batch is split into, to save memory."""
    channels_last: Flag = False
    """Whether images lie in memory channel by channel or, if true, pixel by pixel."""
    compile: Any = False
    """``true``, or options of ``torch.compile``."""


class ExtractionTrain(_Extraction, SRTrain):
    """The section ``train`` for ``ExtractionModel``."""


class ExtractionGANTrain(_Extraction, SRGANTrain):
    """The section ``train`` for ``ExtractionGANModel``."""

    gan_mode: str = 'standard'
    """``standard`` for SRGAN's step, ``relativistic`` for ESRGAN's."""
