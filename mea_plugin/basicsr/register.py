"""What this package adds to BasicSR's registries."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from mea_plugin.basicsr.data.cached_dataset import CachedPairedImageDataset
from mea_plugin.basicsr.data.fidelity_dataset import FidelityDataset
from mea_plugin.basicsr.metrics import METRICS
from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.models.gan_model import ExtractionGANModel
from mea_plugin.core.registry import ToolboxRegistry
from mea_plugin.losses.registry import LOSSES

__all__ = ['register_all']

_ADDITIONS: tuple[tuple[Any, type], ...] = (
    (MODEL_REGISTRY, ExtractionModel),
    (MODEL_REGISTRY, ExtractionGANModel),
    (DATASET_REGISTRY, CachedPairedImageDataset),
    (DATASET_REGISTRY, FidelityDataset),
)


def register_all() -> None:
    """Register everything, or, when a name is taken by somebody else, nothing.

    A metric whose name the toolbox holds is left alone; a loss gets the prefix ``MEA`` then. Losses that others have
    registered with us, or register later, are registered too.

    Raises:
        RuntimeError: Another package registered one of the names.
        InputError: A loss that was registered with us has a name that the toolbox uses for another one.
    """
    taken = [
        f'{item.__name__} ({registry._name})'
        for registry, item in _ADDITIONS
        if registry._obj_map.get(item.__name__, item) is not item
    ]
    if taken:
        raise RuntimeError(f'BasicSR already holds {", ".join(taken)} of another package; import only one of the two')
    for registry, item in _ADDITIONS:
        if item.__name__ not in registry:
            registry.register(item)
    for loss in map(LOSSES.find, LOSSES.built_in):
        name = _free_name(LOSS_REGISTRY, loss)
        if name not in LOSS_REGISTRY:
            LOSS_REGISTRY._do_register(name, loss)
    for metric in METRICS:
        if metric.__name__ not in METRIC_REGISTRY:
            METRIC_REGISTRY.register(metric)
    LOSSES.share_with(ToolboxRegistry('BasicSR', LOSS_REGISTRY._obj_map.get, LOSS_REGISTRY._do_register))


def _free_name(registry: Any, item: type) -> str:
    name = item.__name__
    return name if registry._obj_map.get(name, item) is item else f'MEA{name}'
