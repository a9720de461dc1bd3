"""The top level of a BasicSR option file, and its sections ``path``, ``val``, ``logger`` and ``dist_params``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator
from typing_extensions import Self

from mea_plugin.core.packages import lacking, to_install
from mea_plugin.core.schema import Flag, Number, Options, Whole, refusal, shortened

__all__ = [
    *('DistOptions', 'GanFile', 'GanPath', 'GeneratorFile', 'GeneratorPath', 'ImageVal', 'LoggerOptions'),
    *('ModelFile', 'ModelPath', 'ModelVal', 'Probability', 'RealESRGANFile', 'RealESRNetFile', 'RecurrentVal'),
    *('SampleVal', 'Subsection', 'WandbOptions'),
]


def _check_subsection(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise refusal(f'expected a section, got {shortened(value)}', do='Write key: value lines below it')
    return value


def _check_name(value: Any) -> Any:
    if not isinstance(value, str) or '/' in value or not value.strip('.'):
        raise refusal(f'got {shortened(value)}', do='Give the name of a folder, a number in quotes')
    return value


Subsection = Annotated[Any, BeforeValidator(_check_subsection)]
"""A section whose options another class checks."""

Probability = Annotated[float, Number(0, 1)]
"""A number from 0 to 1."""


class ModelFile(Options):
    """The top level of an option file, as BasicSR's loop and its ``BaseModel`` read it."""

    name: Annotated[str, BeforeValidator(_check_name)]
    """The run's name, and that of its folder below ``experiments``."""
    model_type: str
    """The registered model that is trained."""
    scale: Annotated[int, Whole(1)] | None = None
    """How many times larger the output is; data sets take it from here."""
    num_gpu: Literal['auto'] | Annotated[int, Whole()] = 'auto'
    """How many GPUs are used: a number, 0 for the CPU, or ``auto`` for all."""
    manual_seed: Annotated[int, Whole(0, 2**31)] | None = None  # numpy's may be twice that; ranks add theirs
    """The random seed; drawn where there is none."""
    datasets: Subsection
    """The data sets by phase: ``train``, ``val``, ``val_2``, ..."""
    path: Subsection | None = None
    """Weights and states that the run starts from."""
    train: Subsection
    """How the networks are trained."""
    val: Subsection | None = None
    """How they are validated; left out: not at all."""
    logger: Subsection
    """What is logged and saved, and when."""
    dist_params: Subsection | None = None
    """Settings of training in several processes."""
    find_unused_parameters: Flag = False
    """Whether distributed training allows for parameters without a gradient."""


class GeneratorFile(ModelFile):
    """The top level for a model with one network."""

    network_g: Subsection
    """The network that makes images."""


class GanFile(GeneratorFile):
    """The top level for a model with a discriminator."""

    network_d: Subsection
    """The discriminator."""


class _Degradations(Options):
    """How Real-ESRGAN's models make low-resolution images of high-resolution ones, in two rounds."""

    gt_size: Annotated[int, Whole(1)] | None = None
    """Pixels of a high-resolution crop."""
    queue_size: Annotated[int, Whole(1)] = 180
    """Images in the pool that batches are drawn from; a multiple of the batch size."""
    high_order_degradation: Flag = True
    """Whether training images are degraded here; otherwise the data set gives both."""
    resize_prob: list[float] | None = None
    """Probabilities of enlarging, reducing and keeping the size, first round."""
    resize_range: list[float] | None = None
    """The smallest and the largest factor of resizing, first round."""
    gaussian_noise_prob: Probability | None = None
    """Probability of Gaussian noise, and not Poisson noise, first round."""
    noise_range: list[float] | None = None
    """Standard deviations of Gaussian noise, first round."""
    poisson_scale_range: list[float] | None = None
    """Strengths of Poisson noise, first round."""
    gray_noise_prob: Probability | None = None
    """Probability of noise without colour, first round."""
    jpeg_range: list[float] | None = None
    """JPEG qualities, first round."""
    second_blur_prob: Probability | None = None
    """Probability of blur in the second round."""
    resize_prob2: list[float] | None = None
    """As ``resize_prob``, second round."""
    resize_range2: list[float] | None = None
    """As ``resize_range``, second round."""
    gaussian_noise_prob2: Probability | None = None
    """As ``gaussian_noise_prob``, second round."""
    noise_range2: list[float] | None = None
    """As ``noise_range``, second round."""
    poisson_scale_range2: list[float] | None = None
    """As ``poisson_scale_range``, second round."""
    gray_noise_prob2: Probability | None = None
    """As ``gray_noise_prob``, second round."""
    jpeg_range2: list[float] | None = None
    """As ``jpeg_range``, second round."""


class RealESRNetFile(_Degradations, GeneratorFile):
    """The top level for ``RealESRNetModel``."""

    gt_usm: Flag | None = None
    """Whether the targets are sharpened."""


class RealESRGANFile(_Degradations, GanFile):
    """The top level for ``RealESRGANModel``."""

    l1_gt_usm: Flag | None = None
    """Whether the pixel loss compares with sharpened targets."""
    percep_gt_usm: Flag | None = None
    """Whether the perceptual loss compares with sharpened targets."""
    gan_gt_usm: Flag | None = None
    """Whether the discriminator sees sharpened targets."""


class ModelPath(Options):
    """The section ``path``, as BasicSR's loop reads it."""

    resume_state: str | None = None
    """The training state to go on from."""
    ignore_resume_networks: list[str] | str | None = None
    """Networks whose weights are not taken from where the run goes on: ``network_g``."""


class GeneratorPath(ModelPath):
    """The section ``path`` for a model with one network."""

    pretrain_network_g: str | None = None
    """Weights that ``network_g`` starts from."""
    strict_load_g: Flag = True
    """Whether they must fit ``network_g`` exactly."""
    param_key_g: str | None = 'params'
    """Where they stand in their file: ``params`` or ``params_ema``; nothing: at its top."""


class GanPath(GeneratorPath):
    """The section ``path`` for a model that loads a discriminator, too."""

    pretrain_network_d: str | None = None
    """Weights that ``network_d`` starts from."""
    strict_load_d: Flag = True
    """Whether they must fit ``network_d`` exactly."""
    param_key_d: str | None = 'params'
    """Where they stand in their file."""


class ModelVal(Options):
    """The section ``val``, as BasicSR's loop reads it."""

    val_freq: Annotated[int, Whole(1)]
    """Iterations between two validations."""
    save_img: Flag
    """Whether the outputs are saved."""


class ImageVal(ModelVal):
    """The section ``val`` for models that restore images."""

    suffix: str | None = None
    """What is put behind the names of saved outputs."""
    metrics: Subsection | None = None
    """The metrics by the names under which they are logged."""
    pbar: Flag = False
    """Whether a progress bar is shown."""


class RecurrentVal(ImageVal):
    """The section ``val`` for models of whole clips."""

    center_frame_only: Flag = False
    """Whether only the frame in the middle is measured."""
    flip_seq: Flag = False
    """Whether a clip is followed by itself backwards."""


class SampleVal(ModelVal):
    """The section ``val`` for ``StyleGAN2Model``."""

    num_val_samples: Annotated[int, Whole(1)] = 16
    """Images that are made."""


class WandbOptions(Options):
    """The section ``logger.wandb``."""

    project: str | None = None
    """The project on Weights & Biases; nothing: it is not used."""
    resume_id: str | None = None
    """The run there that this one goes on with."""


class LoggerOptions(Options):
    """The section ``logger``."""

    print_freq: Annotated[int, Whole(1)]
    """Iterations between two lines of the log."""
    save_checkpoint_freq: Annotated[int, Whole(1)]
    """Iterations between two checkpoints."""
    use_tb_logger: Flag
    """Whether TensorBoard's files are written."""
    wandb: WandbOptions = WandbOptions()
    """Weights & Biases."""

    @model_validator(mode='after')
    def _check_wandb(self) -> Self:
        if self.wandb.project and not self.use_tb_logger:
            raise refusal('it follows TensorBoard, which is off', do='Set logger.use_tb_logger: true', at='wandb')
        if self.wandb.project and lacking('wandb'):
            raise refusal('it needs wandb, which is not installed', do=f'Type: {to_install("wandb")}', at='wandb')
        return self


class DistOptions(Options):
    """The section ``dist_params``."""

    backend: str | None = None
    """BasicSR's name of the way to communicate; this package chooses by the device."""
    port: Annotated[int, Whole(1, 65535)] | None = None
    """The port of the first process."""
