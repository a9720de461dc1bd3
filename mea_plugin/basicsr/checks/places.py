"""Refuses keys of a BasicSR option file in sections where nobody reads them, and names the section they belong to.

Most sections are classes (:mod:`mea_plugin.basicsr.checks.sections`). Those of networks, losses, optimizers, schedulers
and metrics are signatures: what the registered class or function takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from basicsr.models import lr_scheduler
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils import FileClient
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from mea_plugin.basicsr.checks.sections.classes import (
    dataset_sections,
    extra_keys,
    is_checked,
    is_own,
    model_sections,
)
from mea_plugin.basicsr.checks.sections.file import DistOptions, LoggerOptions, WandbOptions
from mea_plugin.basicsr.checks.sections.train import ExtractionGANTrain, ExtractionTrain, StyleGAN2Train
from mea_plugin.basicsr.models.optimizers import optimizer_keys
from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys
from mea_plugin.core.schema import Options
from mea_plugin.toolboxes.basicsr_networks import find

__all__ = ['SCHEDULERS', 'TOP_LEVEL', 'Place', 'check_places', 'places_of']

SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}
"""BasicSR's schedulers by the names that option files give them."""

_BACKENDS: Mapping[str, frozenset[str]] = {
    'disk': frozenset(),
    'lmdb': frozenset({'readonly', 'lock', 'readahead', 'max_readers', 'max_spare_txns', 'meminit'}),
    'memcached': frozenset(inspect.signature(FileClient._backends['memcached']).parameters),
}
_METRIC = ('type', 'better', 'reference')
_NEVER_READ = dict.fromkeys(('shuffle', 'use_shuffle'), 'Remove it: the training set is always shuffled')
_MOST_HOMES = 3
TOP_LEVEL = 'the top level of the file'


class Place(NamedTuple):
    """A section that an option file has or may have."""

    path: str
    """Where it stands: ``train.optim_g``; empty for the top level."""
    section: Any
    """What stands there; None for nothing."""
    keys: frozenset[str] | None
    """The keys that are read there; None where any may be."""


def check_places(opt: Mapping[str, Any], model: Any, where: str) -> None:
    """Check that every key stands in a section where it is read.

    Sections of models and data sets of third parties pass, unless their class names its keys: ``option_keys``, a
    mapping of ``top``, ``path``, ``train``, ``val`` or ``datasets`` to the keys it reads there besides its bases'.

    Args:
        opt: All options.
        model: The model's class.
        where: The file, for errors.

    Raises:
        InputError: A key does not; the line says where it belongs, or which key it resembles.
    """
    places = list(places_of(opt, model))
    for place in places:
        if not isinstance(place.section, Mapping) or place.keys is None:
            continue
        at = f'{where}: {place.path}' if place.path else where
        for key in place.section:
            if key in place.keys:
                continue
            do = _home(str(key), place, places) or _NEVER_READ.get(key) or _other_model(key, place, model)
            if not do:
                check_keys({key: None}, place.keys, at)
            raise InputError(f"unknown option '{key}'", where=at, do=do)


def _home(key: str, place: Place, places: Iterable[Place]) -> str:
    """An instruction that names the sections in which a key is read; those within its own first."""
    homes = [one.path for one in places if one is not place and one.keys and key in one.keys]
    homes.sort(key=lambda path: not path.startswith(f'{place.path}.'))
    named = [f'{path}.{key}' if path else TOP_LEVEL for path in homes[:_MOST_HOMES]]
    return f'Move it to {" or ".join(named)}' if named else ''


def _other_model(key: str, place: Place, model: Any) -> str:
    """An instruction that names the model of this package that reads a key of ``train``."""
    if place.path != 'train' or key not in ExtractionGANTrain.model_fields:
        return ''
    plain = key in ExtractionTrain.model_fields and not issubclass(model, SRGANModel)
    return f'Set model_type: {"ExtractionModel" if plain else "ExtractionGANModel"}, which knows it'


def places_of(opt: Mapping[str, Any], model: Any) -> Iterator[Place]:
    """The sections of a file, in the order in which they are looked at; wrong ones are left to other checks.

    Args:
        opt: All options.
        model: The model's class.
    """
    for name, section in (('top', opt), *((name, opt.get(name)) for name in ('path', 'train', 'val'))):
        kinds: list[type[Options]] = [getattr(one, name) for one in model_sections(model)]
        known = frozenset({*_fields(kinds), *extra_keys(model, name)})
        yield Place('' if name == 'top' else name, section, known if is_checked(model) or name == 'val' else None)
    for key, section in opt.items():
        if str(key).startswith('network_'):
            yield Place(str(key), section, _registered_keys(ARCH_REGISTRY, section))
    if is_checked(model):
        yield from _train_places(_mapping(opt.get('train')), model)
    for name, one in _mapping(_mapping(opt.get('val')).get('metrics')).items():
        yield Place(f'val.metrics.{name}', one, _registered_keys(METRIC_REGISTRY, one, _METRIC, ('img', 'img2')))
    yield Place('logger', opt.get('logger'), _fields([LoggerOptions]))
    yield Place('logger.wandb', _mapping(opt.get('logger')).get('wandb'), _fields([WandbOptions]))
    yield Place('dist_params', opt.get('dist_params'), _fields([DistOptions]))
    for phase, section in _mapping(opt.get('datasets')).items():
        yield from _dataset_places(f'datasets.{phase}', section)


def _train_places(train: Mapping[str, Any], model: Any) -> Iterator[Place]:
    for key, section in train.items():
        path = f'train.{key}'
        if str(key).startswith('optim_'):
            few = any(one.train is StyleGAN2Train for one in model_sections(model))
            yield Place(path, section, frozenset({'type', 'lr'}) if few else optimizer_keys(section))
        elif str(key).endswith('_opt'):
            yield Place(path, section, _registered_keys(LOSS_REGISTRY, section))
        elif key == 'scheduler':
            kind = SCHEDULERS.get(str(_mapping(section).get('type')))
            yield Place(path, section, _arguments(kind, given=('optimizer',)))
        elif key == 'compile':
            yield Place(path, section, _arguments(torch.compile, (), ('model',)))


def _dataset_places(path: str, section: Any) -> Iterator[Place]:
    found = _registered(DATASET_REGISTRY, section)
    known = frozenset({*_fields(dataset_sections(found)), *extra_keys(found, 'datasets')})
    yield Place(path, section, known if found is not None and is_checked(found) else None)
    backend = _mapping(section).get('io_backend')
    keys = _BACKENDS.get(str(_mapping(backend).get('type')))
    yield Place(f'{path}.io_backend', backend, keys if keys is None else keys | {'type'})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _fields(kinds: Iterable[type[Options]]) -> frozenset[str]:
    return frozenset(key for kind in kinds for key in kind.model_fields)


def _registered(registry: Any, section: Any) -> Any:
    """What a section's ``type`` names, or None."""
    try:
        return find(registry, _mapping(section).get('type'), '')
    except InputError:
        return None


def _registered_keys(
    registry: Any, section: Any, keys: tuple[str, ...] = ('type',), given: tuple[str, ...] = ()
) -> frozenset[str] | None:
    return _arguments(_registered(registry, section), keys, given)


def _arguments(found: Any, keys: tuple[str, ...] = ('type',), given: tuple[str, ...] = ()) -> frozenset[str] | None:
    """The arguments of a class or function, and ``keys``; None where it takes any, or there is none.

    Some of BasicSR's, and of this package's, take any and do nothing with them: SwinIR, and the metrics.
    """
    if found is None:
        return None
    parameters = inspect.signature(found).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()) and not is_own(found):
        return None
    named = [key for key, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return frozenset({*keys, *named} - set(given))
