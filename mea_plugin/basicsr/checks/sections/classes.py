"""The section classes of each registered model and data set, and the further keys that those of others name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from basicsr.data.ffhq_dataset import FFHQDataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.data.realesrgan_paired_dataset import RealESRGANPairedDataset
from basicsr.data.reds_dataset import REDSDataset, REDSRecurrentDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.data.video_test_dataset import VideoTestDataset, VideoTestDUFDataset, VideoTestVimeo90KDataset
from basicsr.data.vimeo90k_dataset import Vimeo90KDataset, Vimeo90KRecurrentDataset
from basicsr.models.base_model import BaseModel
from basicsr.models.edvr_model import EDVRModel
from basicsr.models.hifacegan_model import HiFaceGANModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.models.stylegan2_model import StyleGAN2Model
from basicsr.models.video_recurrent_gan_model import VideoRecurrentGANModel
from basicsr.models.video_recurrent_model import VideoRecurrentModel

from mea_plugin.basicsr.checks.sections import data, file, train
from mea_plugin.basicsr.data.cached_dataset import CachedPairedImageDataset
from mea_plugin.basicsr.data.fidelity_dataset import FidelityDataset
from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.models.gan_model import ExtractionGANModel
from mea_plugin.core.schema import Options

__all__ = ['DATASETS', 'MODELS', 'Sections', 'dataset_sections', 'extra_keys', 'is_checked', 'is_own', 'model_sections']

_OWN_PACKAGES = ('basicsr', 'mea_plugin')


class Sections(NamedTuple):
    """The sections that differ between models."""

    top: type[Options]
    """The file's top level."""
    path: type[Options]
    """``path``."""
    train: type[Options]
    """``train``."""
    val: type[Options] = file.ImageVal
    """``val``."""


MODELS: Mapping[type, Sections] = {
    BaseModel: Sections(file.ModelFile, file.ModelPath, train.ModelTrain),
    SRModel: Sections(file.GeneratorFile, file.GeneratorPath, train.SRTrain),
    SRGANModel: Sections(file.GanFile, file.GanPath, train.SRGANTrain),
    RealESRNetModel: Sections(file.RealESRNetFile, file.GeneratorPath, train.SRTrain),
    RealESRGANModel: Sections(file.RealESRGANFile, file.GanPath, train.SRGANTrain),
    HiFaceGANModel: Sections(file.GanFile, file.GeneratorPath, train.HiFaceGANTrain),
    StyleGAN2Model: Sections(file.GanFile, file.GanPath, train.StyleGAN2Train, file.SampleVal),
    EDVRModel: Sections(file.GeneratorFile, file.GeneratorPath, train.EDVRTrain),
    VideoRecurrentModel: Sections(file.GeneratorFile, file.GeneratorPath, train.RecurrentTrain, file.RecurrentVal),
    VideoRecurrentGANModel: Sections(file.GanFile, file.GanPath, train.RecurrentGANTrain, file.RecurrentVal),
    ExtractionModel: Sections(file.GeneratorFile, file.GeneratorPath, train.ExtractionTrain),
    ExtractionGANModel: Sections(file.GanFile, file.GanPath, train.ExtractionGANTrain),
}
"""Each model's sections; one that is missing has those of its bases."""

DATASETS: Mapping[type, type[Options]] = {
    PairedImageDataset: data.PairedOptions,
    CachedPairedImageDataset: data.CachedPairedOptions,
    FidelityDataset: data.FidelityOptions,
    SingleImageDataset: data.SingleImageOptions,
    FFHQDataset: data.FFHQOptions,
    RealESRGANDataset: data.RealESRGANOptions,
    RealESRGANPairedDataset: data.RealESRGANPairedOptions,
    Vimeo90KDataset: data.ClipOptions,
    Vimeo90KRecurrentDataset: data.VimeoRecurrentOptions,
    REDSDataset: data.REDSOptions,
    REDSRecurrentDataset: data.REDSRecurrentOptions,
    VideoTestDataset: data.ClipTestOptions,
    VideoTestDUFDataset: data.DufTestOptions,
    VideoTestVimeo90KDataset: data.VimeoTestOptions,
}
"""Each data set's section; one that is missing has that of its bases."""


def is_own(found: Any) -> bool:
    """Whether a class or function is BasicSR's or this package's."""
    return str(getattr(found, '__module__', '')).split('.')[0] in _OWN_PACKAGES


def model_sections(model: Any) -> list[Sections]:
    """The sections of a model: its own, or those of all its bases that have some; at least ``BaseModel``'s."""
    return _nearest(model, MODELS) or [MODELS[BaseModel]]


def dataset_sections(dataset: Any) -> list[type[Options]]:
    """The section of a data set: its own, or those of all its bases that have one; at least what the loaders read."""
    return _nearest(dataset, DATASETS) or [data.DatasetOptions]


def extra_keys(found: Any, section: str) -> set[str]:
    """The keys of a section that a class and its bases name in ``option_keys``."""
    named = [vars(cls).get('option_keys') or {} for cls in getattr(found, '__mro__', ())]
    return {key for one in named for key in one.get(section, ())}


def is_checked(found: Any) -> bool:
    """Whether a model's or a data set's keys are all known: it is our own, or says what it reads besides its bases."""
    return is_own(found) or getattr(found, 'option_keys', None) is not None


def _nearest(found: Any, known: Mapping[type, Any]) -> list[Any]:
    if found in known:
        return [known[found]]
    above = [one for base in getattr(found, '__bases__', ()) for one in _nearest(base, known)]
    return list(dict.fromkeys(above))
