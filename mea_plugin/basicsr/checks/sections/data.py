"""The sections ``datasets.PHASE`` of a BasicSR option file, for each data set that BasicSR and this package have."""

from __future__ import annotations

from typing import Annotated, Literal

from mea_plugin.basicsr.checks.sections.file import Probability, Subsection
from mea_plugin.core.schema import Flag, Number, Options, Whole

__all__ = [
    *('CachedPairedOptions', 'ClipOptions', 'ClipTestOptions', 'DatasetOptions', 'DufTestOptions', 'FFHQOptions'),
    *('FidelityOptions', 'PairedOptions', 'REDSOptions', 'REDSRecurrentOptions', 'RealESRGANOptions'),
    *('RealESRGANPairedOptions', 'SingleImageOptions', 'TrainLoaderOptions', 'VimeoRecurrentOptions'),
    'VimeoTestOptions',
]


class DatasetOptions(Options):
    """What is read of any data set, by BasicSR's loop and its loaders."""

    name: str
    """The data set's name in the log."""
    type: str
    """The registered data set."""
    batch_size_per_gpu: Annotated[int, Whole(1)] | None = None
    """Images in a training batch of one process."""
    num_worker_per_gpu: Annotated[int, Whole()] | None = None
    """Processes that prepare the training batches of one process."""
    dataset_enlarge_ratio: Annotated[float, Number(1e-6)] = 1
    """How many times the training set counts as an epoch."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """How batches are prepared ahead."""
    num_prefetch_queue: Annotated[int, Whole(1)] = 1
    """Batches that BasicSR's ``cpu`` way prepares ahead."""
    pin_memory: Flag = False
    """Whether batches lie in memory that GPUs read fast."""
    persistent_workers: Flag = False
    """Whether BasicSR's loader keeps its processes between epochs."""


class TrainLoaderOptions(DatasetOptions):
    """What the training's loader needs of any data set."""

    batch_size_per_gpu: Annotated[int, Whole(1)]
    """Images in a batch of one process."""
    num_worker_per_gpu: Annotated[int, Whole()]
    """Processes that prepare the batches of one process."""


class _Stored(Options):
    """Images in a store."""

    io_backend: Subsection | None = None
    """How images are read: ``{type: disk}``, ``{type: lmdb}`` or ``{type: memcached, ...}``."""


class _Gt(_Stored):
    """High-resolution images, or responses."""

    dataroot_gt: str | None = None
    """The folder of the ground truth or the responses."""


class _Lq(_Stored):
    """Low-resolution images, or queries."""

    dataroot_lq: str | None = None
    """The folder of the low-resolution images or the queries."""


class _Flips(Options):
    """Changes of training images at random."""

    use_hflip: Flag | None = None
    """Whether images are mirrored at random."""
    use_rot: Flag | None = None
    """Whether images are turned at random."""


class _Crops(_Flips):
    """Crops of training images."""

    gt_size: Annotated[int, Whole(1)] | None = None
    """Pixels of a training crop's side, on the side of the ground truth."""


class _Normalised(Options):
    """Values of images."""

    mean: list[float] | None = None
    """What is subtracted from the channels."""
    std: list[float] | None = None
    """What the channels are then divided by."""


class PairedOptions(_Lq, _Gt, _Crops, _Normalised, DatasetOptions):
    """``PairedImageDataset``."""

    meta_info_file: str | None = None
    """A file that lists the images."""
    filename_tmpl: str = '{}'
    """How a name on the side of the queries is made of one on the other side."""
    color: str | None = None
    """``y`` for luminance alone."""


class CachedPairedOptions(PairedOptions):
    """``CachedPairedImageDataset`` of this package."""

    cache_mb: Annotated[int, Whole()] = 1024
    """Memory for decoded images, in MB, of each process."""


class FidelityOptions(DatasetOptions):
    """``FidelityDataset`` of this package."""

    dataroot_lq: str | None = None
    """The folder of the queries."""
    dataroot_victim: str | None = None
    """The folder of the victim's responses."""
    dataroot_gt: str | None = None
    """The folder of the ground truth, if there is one."""


class SingleImageOptions(_Lq, _Normalised, DatasetOptions):
    """``SingleImageDataset``."""

    meta_info_file: str | None = None
    """A file that lists the images."""
    color: str | None = None
    """``y`` for luminance alone."""


class FFHQOptions(_Gt, _Normalised, DatasetOptions):
    """``FFHQDataset``."""

    use_hflip: Flag | None = None
    """Whether images are mirrored at random."""


class RealESRGANPairedOptions(_Lq, _Gt, _Crops, _Normalised, DatasetOptions):
    """``RealESRGANPairedDataset``."""

    meta_info: str | None = None
    """A file that lists the pairs."""
    filename_tmpl: str = '{}'
    """How a name on the side of the queries is made of one on the other side."""


class RealESRGANOptions(_Gt, _Flips, DatasetOptions):
    """``RealESRGANDataset``: the blur kernels of two rounds of degradation."""

    meta_info: str | None = None
    """A file that lists the images."""
    blur_kernel_size: Annotated[int, Whole(1)] | None = None
    """The kernels' size, first round."""
    kernel_list: list[str] | None = None
    """Kinds of kernels, first round."""
    kernel_prob: list[float] | None = None
    """Probabilities of the kinds, first round."""
    blur_sigma: list[float] | None = None
    """Standard deviations of the kernels, first round."""
    betag_range: list[float] | None = None
    """Shapes of generalised Gaussian kernels, first round."""
    betap_range: list[float] | None = None
    """Shapes of plateau kernels, first round."""
    sinc_prob: Probability | None = None
    """Probability of a sinc kernel, first round."""
    blur_kernel_size2: Annotated[int, Whole(1)] | None = None
    """As ``blur_kernel_size``, second round."""
    kernel_list2: list[str] | None = None
    """As ``kernel_list``, second round."""
    kernel_prob2: list[float] | None = None
    """As ``kernel_prob``, second round."""
    blur_sigma2: list[float] | None = None
    """As ``blur_sigma``, second round."""
    betag_range2: list[float] | None = None
    """As ``betag_range``, second round."""
    betap_range2: list[float] | None = None
    """As ``betap_range``, second round."""
    sinc_prob2: Probability | None = None
    """As ``sinc_prob``, second round."""
    final_sinc_prob: Probability | None = None
    """Probability of a sinc kernel at the end."""


class ClipOptions(_Lq, _Gt, _Crops, DatasetOptions):
    """``Vimeo90KDataset``, and what other training sets of clips have in common with it."""

    meta_info_file: str | None = None
    """A file that lists the clips."""
    num_frame: int | None = None
    """Frames that are taken of a clip."""
    random_reverse: Flag = False
    """Whether clips are run backwards at random."""


class VimeoRecurrentOptions(ClipOptions):
    """``Vimeo90KRecurrentDataset``."""

    flip_sequence: Flag | None = None
    """Whether a clip is followed by itself backwards."""


class REDSRecurrentOptions(ClipOptions):
    """``REDSRecurrentDataset``."""

    interval_list: list[int] | None = None
    """Steps between frames, drawn at random."""
    val_partition: str | None = None
    """The clips for validation: ``REDS4`` or ``official``."""
    test_mode: Flag | None = None
    """Whether the clips for validation are taken, or the others."""


class REDSOptions(ClipOptions):
    """``REDSDataset``."""

    interval_list: list[int] | None = None
    """Steps between frames, drawn at random."""
    val_partition: str | None = None
    """The clips for validation: ``REDS4`` or ``official``."""
    dataroot_flow: str | None = None
    """The folder of optical flow."""


class VimeoTestOptions(_Lq, _Gt, DatasetOptions):
    """``VideoTestVimeo90KDataset``, and what other test sets of clips have in common with it."""

    cache_data: Flag | None = None
    """Whether all frames are kept in memory."""
    meta_info_file: str | None = None
    """A file that lists the clips."""
    num_frame: int | None = None
    """Frames that the network sees at once."""


class ClipTestOptions(VimeoTestOptions):
    """``VideoTestDataset`` and ``VideoRecurrentTestDataset``."""

    padding: str | None = None
    """What stands in for frames beyond a clip's ends."""


class DufTestOptions(ClipTestOptions):
    """``VideoTestDUFDataset``."""

    use_duf_downsampling: Flag | None = None
    """Whether low-resolution frames are made of the others."""
