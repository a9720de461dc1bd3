"""Checks of a BasicSR option file before anything is built: keys, names, values, data that cannot be used."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from mea_plugin.basicsr.checks.paired_data import check_fidelity_data, check_paired_data
from mea_plugin.basicsr.checks.places import check_places
from mea_plugin.basicsr.checks.sections.classes import dataset_sections, is_checked, is_own, model_sections
from mea_plugin.basicsr.checks.sections.data import DatasetOptions, TrainLoaderOptions
from mea_plugin.basicsr.checks.sections.file import DistOptions, LoggerOptions, ModelFile
from mea_plugin.basicsr.checks.train import check_train
from mea_plugin.basicsr.checks.val import check_val
from mea_plugin.basicsr.data.fidelity_dataset import FidelityDataset
from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys, check_section, require
from mea_plugin.core.schema import Options
from mea_plugin.toolboxes.basicsr_networks import check_type, find

__all__ = ['check_options']


def check_options(opt: dict[str, Any], *, where: str, data: bool = True) -> None:
    """Check a whole option file.

    Sections of BasicSR and of this package are checked strictly. Those of models and data sets of third parties pass,
    unless the class names its keys (:func:`~mea_plugin.basicsr.checks.places.check_places`).

    Args:
        opt: The options as read from the file.
        where: The file, for errors.
        data: Look at the data sets' folders too.

    Raises:
        InputError: The first thing found that cannot work.
    """
    model = find(MODEL_REGISTRY, require(opt, 'model_type', where), f'{where}: model_type')
    check_places(opt, model, where)
    sections = model_sections(model) if is_checked(model) else []
    for kind in [one.top for one in sections] or [ModelFile]:
        kind.parse_document(_known(kind, opt), where)
    for key in (key for key in opt if str(key).startswith('network_')):
        _check_network(opt[key], f'{where}: {key}')
    for name in ('path', 'train'):
        _parse([getattr(one, name) for one in sections], opt.get(name), f'{where}: {name}')
    if sections:
        check_train(opt, model, where)
    _parse([LoggerOptions], opt['logger'], f'{where}: logger')
    _parse([DistOptions], opt.get('dist_params'), f'{where}: dist_params')
    _parse([one.val for one in model_sections(model)], opt.get('val'), f'{where}: val')
    check_val(opt, model, where)
    require(opt['datasets'], 'train', f'{where}: datasets')
    for phase, dataset in opt['datasets'].items():
        _check_dataset(str(phase), dataset, opt, f'{where}: datasets.{phase}', data)


def _parse(kinds: Iterable[type[Options]], section: Any, where: str) -> None:
    for kind in kinds:
        if section is not None:
            kind.parse(_known(kind, section), where)


def _known(kind: type[Options], section: Any) -> Any:
    """What a class checks of a section; the section's other keys are those of another class, or were passed."""
    return (
        {key: section[key] for key in kind.model_fields if key in section} if isinstance(section, Mapping) else section
    )


def _check_network(options: Any, where: str) -> None:
    """Build it without values."""
    network = check_type(ARCH_REGISTRY, options, where)
    if not is_own(network):
        return
    try:
        with torch.device('meta'):
            network(**{key: value for key, value in options.items() if key != 'type'})
    except (AssertionError, TypeError, ValueError) as error:
        what = f'{network.__name__} cannot be built ({str(error) or type(error).__name__})'
        raise InputError(what, where=where, do='Correct its options') from error
    except Exception:  # it runs code that needs values, a GPU, or a compiler: the training will tell
        return


def _check_dataset(phase: str, dataset: Any, opt: dict[str, Any], where: str, data: bool) -> None:
    kind = phase.split('_')[0]
    if kind not in ('train', 'val', 'test'):
        check_keys({phase: None}, ('train', 'val', 'test'), where.rpartition('.')[0])
    found = find(DATASET_REGISTRY, require(check_section(dataset, where), 'type', where), f'{where}.type')
    _parse([TrainLoaderOptions if kind == 'train' else DatasetOptions], dataset, where)
    without_gpu = opt.get('num_gpu') == 0 or not torch.cuda.is_available()
    if kind == 'train' and dataset.get('prefetch_mode') == 'cuda' and without_gpu:
        do = 'Remove prefetch_mode'
        raise InputError('prefetch_mode cuda needs a GPU, and this run has none', where=where, do=do)
    if not is_checked(found):
        return
    _parse(dataset_sections(found), dataset, where)
    if data and inspect.isclass(found) and issubclass(found, PairedImageDataset):
        check_paired_data(dataset, kind, opt, where)
    if found is FidelityDataset:
        if kind == 'train':
            raise InputError('it is for validation', where=f'{where}.type', do='Train with CachedPairedImageDataset')
        for key in ('dataroot_lq', 'dataroot_victim'):
            require(dataset, key, where)
        if data:
            check_fidelity_data(dataset, opt, where)
