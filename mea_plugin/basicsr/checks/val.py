"""Checks of the ``val`` section of a BasicSR option file: its metrics, their options, and what they compare with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY

from mea_plugin.basicsr.checks.sections.classes import is_own
from mea_plugin.basicsr.metrics import METRICS, check_metric
from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.run.validation import REFERENCES
from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_section
from mea_plugin.toolboxes.basicsr_networks import check_type

__all__ = ['check_val']

_IMAGES = ('img', 'img2')
_OURS = ('better', 'reference')


def check_val(opt: Mapping[str, Any], model: Any, where: str) -> None:
    """Check the metrics of a validation.

    Args:
        opt: All options; the section's keys and single values have been checked.
        model: The model's class.
        where: The file, for errors.

    Raises:
        InputError: The first thing found that cannot work.
    """
    for name, options in ((opt.get('val') or {}).get('metrics') or {}).items():
        section = f'{where}: val.metrics.{name}'
        arguments = {key: value for key, value in check_section(options, section).items() if key not in _OURS}
        metric = check_type(METRIC_REGISTRY, arguments, section, given=_IMAGES)
        check_metric(options, metric, section)
        _check_reference(options, metric, model, section)
        _check_sets(options, metric, opt, section)


def _check_reference(options: Mapping[str, Any], metric: Any, model: Any, where: str) -> None:
    reference = options.get('reference')
    if reference is None:
        return
    if reference not in REFERENCES:
        raise InputError(f"no reference '{reference}'", where=where, do=suggestion(str(reference), REFERENCES))
    if 'img2' not in inspect.signature(metric).parameters:
        raise InputError(f'{options["type"]} looks at one image', where=where, do='Remove reference')
    if not (inspect.isclass(model) and issubclass(model, ExtractionModel)):  # it would compare with gt all the same
        do = 'Set model_type: ExtractionModel or ExtractionGANModel'
        raise InputError(f'{model.__name__} does not know the option reference', where=where, do=do)


def _check_sets(options: Mapping[str, Any], metric: Any, opt: Mapping[str, Any], where: str) -> None:
    """That some set has what the metric compares with, and that ours are given colours."""
    sets = {phase: one for phase, one in opt['datasets'].items() if str(phase).split('_')[0] == 'val'}
    grey = [phase for phase, one in sets.items() if isinstance(one, Mapping) and one.get('color') == 'y']
    if metric in METRICS and grey:
        what = f'datasets.{grey[0]} is of Y alone, and {options["type"]} takes colour images'
        raise InputError(what, where=where, do='Remove color: y there')
    if options.get('reference') == 'victim' and sets and not any(_may_have_victim(one) for one in sets.values()):
        raise InputError(
            "no validation set has the victim's responses",
            where=where,
            do='Use type: FidelityDataset with dataroot_victim',
        )


def _may_have_victim(dataset: Any) -> bool:
    if not isinstance(dataset, Mapping) or dataset.get('dataroot_victim'):
        return True
    found = DATASET_REGISTRY._obj_map.get(dataset.get('type'))
    return found is not None and not is_own(found)
