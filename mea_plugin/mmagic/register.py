"""What this package adds to MMagic's and MMEngine's registries."""

from __future__ import annotations

from typing import Any

from mmagic.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS, OPTIMIZERS, RUNNERS

from mea_plugin.losses.registry import LOSSES, find_loss
from mea_plugin.mmagic.data.fidelity_dataset import FidelityDataset
from mea_plugin.mmagic.data.query_set_dataset import QuerySetDataset
from mea_plugin.mmagic.data.transforms import LoadCachedImageFromFile, RandomChannelOrder
from mea_plugin.mmagic.metrics.pair_metrics import PAIR_METRICS
from mea_plugin.mmagic.metrics.set_metrics import SET_METRICS
from mea_plugin.mmagic.models.cyclegan import ExtractionCycleGAN
from mea_plugin.mmagic.models.edit_model import ExtractionEditModel
from mea_plugin.mmagic.models.pix2pix import ExtractionPix2Pix
from mea_plugin.mmagic.models.srgan import ExtractionSRGAN
from mea_plugin.mmagic.optim.model_wrapper import ExtractionDistributedDataParallel
from mea_plugin.mmagic.optim.wrappers import SAMAmpOptimWrapper, SAMOptimWrapper
from mea_plugin.mmagic.run.runner import ExtractionRunner
from mea_plugin.optim import SAM, LookSAM, MomentumSAM

__all__ = ['register_all']

_ADDITIONS: tuple[tuple[Any, type], ...] = (
    *((MODELS, find_loss(name)) for name in LOSSES),
    (MODELS, ExtractionEditModel),
    (MODELS, ExtractionSRGAN),
    (MODELS, ExtractionPix2Pix),
    (MODELS, ExtractionCycleGAN),
    (DATASETS, QuerySetDataset),
    (DATASETS, FidelityDataset),
    (TRANSFORMS, LoadCachedImageFromFile),
    (TRANSFORMS, RandomChannelOrder),
    (MODEL_WRAPPERS, ExtractionDistributedDataParallel),
    (OPTIMIZERS, SAM),
    (OPTIMIZERS, LookSAM),
    (OPTIMIZERS, MomentumSAM),
    (OPTIM_WRAPPERS, SAMOptimWrapper),
    (OPTIM_WRAPPERS, SAMAmpOptimWrapper),
    (RUNNERS, ExtractionRunner),
    *((METRICS, metric) for metric in (*PAIR_METRICS, *SET_METRICS)),
)


def register_all() -> dict[str, type]:
    """Register everything under its class's name, or, where another package holds that name, with the prefix ``MEA``.

    Metrics are there under the prefixed name in any case: ``MEAPSNR`` and ``MEALPIPS`` are this package's, whatever the
    toolbox holds by now.

    Returns:
        What is registered, by name.

    Raises:
        RuntimeError: Another package holds the prefixed name too; nothing has been registered.
    """
    names = [(registry, _free_name(registry, item), item) for registry, item in _ADDITIONS]
    names += [
        (registry, f'MEA{name}', item) for registry, name, item in names if registry is METRICS and name[:3] != 'MEA'
    ]
    for registry, name, item in names:
        if registry.get(name) is None:
            registry.register_module(name=name, module=item)
    return {name: item for _, name, item in names}


def _free_name(registry: Any, item: type) -> str:
    for name in (item.__name__, f'MEA{item.__name__}'):
        if registry.get(name) in (None, item):
            return name
    raise RuntimeError(f'{item.__name__} and MEA{item.__name__} are taken in the registry {registry.name}')
