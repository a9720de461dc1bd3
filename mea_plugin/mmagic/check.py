"""Checks of an MMagic config before anything is built: names, arguments, and what would silently train something else.

Classes of MMagic, MMEngine and this package are checked strictly; those of third parties pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import DATASETS, MODEL_WRAPPERS, MODELS, OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.registry import init_default_scope

from mea_plugin.errors import InputError, suggestion
from mea_plugin.losses import HighFrequencyLoss
from mea_plugin.losses.schedule import SCHEDULES
from mea_plugin.mmagic.model_wrapper import ExtractionDistributedDataParallel
from mea_plugin.mmagic.networks import find_type
from mea_plugin.mmagic.optim_wrappers import SecondPass
from mea_plugin.mmagic.penalty import HighFrequencyTerm
from mea_plugin.mmagic.translation import TranslationExtraction
from mea_plugin.optim import SAM
from mea_plugin.options import require

__all__ = ['check_config']

_STRICT = ('mmagic', 'mmengine', 'mea_plugin')
_PARTS = ('generator', 'discriminator', 'pixel_loss', 'perceptual_loss', 'gan_loss', 'hf_loss', 'data_preprocessor')
_DECAYING = ('CosineAnnealingLR', 'PolyLR', 'ExponentialLR', 'MultiStepLR', 'StepLR', 'CosineRestartLR', 'OneCycleLR')


def check_config(cfg: Any, *, where: str, launcher: str = 'none', data: bool = True) -> None:
    """Check a config.

    Args:
        cfg: The config as MMEngine reads it.
        where: The file, for errors.
        launcher: How training is started; with a launcher the model's wrapper is checked too.
        data: Look into the data set's folders as well, by building it.

    Raises:
        InputError: The first thing found that cannot work, or that would train something else than it says.
    """
    init_default_scope(cfg.get('default_scope') or 'mmagic')
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(key):
            raise InputError(f'the section {key} is missing', where=where, do=f'Add {key}, or inherit a config')
    model = _check_model(cfg['model'], where)
    sam = _check_wrappers(cfg['optim_wrapper'], model, where)
    if sam and launcher != 'none':
        _check_distributed(cfg.get('model_wrapper_cfg'), model, where)
    if _is(model, HighFrequencyTerm):
        _check_schedule(cfg, where)
    _check_data(cfg, model, where, data)


def _is(found: Any, base: type) -> bool:
    return inspect.isclass(found) and issubclass(found, base)


def _check_type(registry: Any, options: Any, where: str) -> Any:
    """The class that ``type`` names, after checking the other options against it."""
    if not isinstance(options, Mapping):
        raise InputError(f'expected a dict, got {options!r}', where=where, do="Write dict(type='...', ...)")
    found = find_type(registry, require(options, 'type', where), f'{where}.type')
    if str(getattr(found, '__module__', '')).split('.')[0] in _STRICT:
        known = _arguments(found)
        for key in options:
            if known is not None and key not in ('type', '_scope_') and key not in known:
                raise InputError(f"unknown option '{key}'", where=where, do=suggestion(key, known))
    return found


def _arguments(found: Any) -> set[str] | None:
    """What a class takes: its own arguments, and those of its bases as far as it hands them on; None for anything."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known: set[str] = set()
    for cls in inspect.getmro(found) if inspect.isclass(found) else (found,):
        if inspect.isclass(found) and '__init__' not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__ if inspect.isclass(cls) else cls).parameters.values()
        known |= {p.name for p in parameters if p.kind in kinds and p.name != 'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return known
    return None


def _check_model(options: Any, where: str) -> Any:
    model = _check_type(MODELS, options, f'{where}: model')
    for key in _PARTS:
        if options.get(key):
            part = _check_type(MODELS, options[key], f'{where}: model.{key}')
            if part is HighFrequencyLoss:
                _try(lambda key=key: _build(HighFrequencyLoss, options[key]), f'{where}: model.{key}')
    schedule = options.get('hf_schedule', 'constant')
    if schedule not in SCHEDULES:
        raise InputError(
            f"no schedule '{schedule}'", where=f'{where}: model.hf_schedule', do=suggestion(str(schedule), SCHEDULES)
        )
    return model


def _build(cls: Any, options: Mapping[str, Any], *args: Any) -> Any:
    return cls(*args, **{key: value for key, value in options.items() if key not in ('type', '_scope_')})


def _try(build: Any, where: str) -> None:
    try:
        build()
    except (TypeError, ValueError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do='Correct its options') from error


def _check_wrappers(section: Mapping[str, Any], model: Any, where: str) -> bool:
    """Whether SAM acts anywhere."""
    networks = _networks(model)
    nested = {key: value for key, value in section.items() if isinstance(value, Mapping) and 'optimizer' in value}
    if networks and 'optimizer' not in section:
        wrong = [key for key in nested if key not in networks]
        missing = [key for key in networks if key not in nested]
        if wrong or missing:
            raise InputError(
                f'{model.__name__} has {" and ".join(networks)}, optim_wrapper has {" and ".join(nested) or "neither"}',
                where=f'{where}: optim_wrapper',
                do=f'Give one wrapper for each of {" and ".join(networks)}',
            )
    elif networks:
        raise InputError(
            f'{model.__name__} has several networks, and there is one optimizer',
            where=f'{where}: optim_wrapper',
            do=f'Give one wrapper for each of {" and ".join(networks)}',
        )
    wrappers = nested or {'': section}
    sam = [
        _check_wrapper(value, model, f'{where}: optim_wrapper{key and "." + key}') for key, value in wrappers.items()
    ]
    counts = {value.get('accumulative_counts', 1) for value in wrappers.values()}
    if networks and len(counts) > 1:
        raise InputError(
            f'the networks accumulate {" and ".join(map(str, sorted(counts)))} batches',
            where=f'{where}: optim_wrapper',
            do='Set the same accumulative_counts for both',
        )
    return any(sam)


def _networks(model: Any) -> tuple[str, ...]:
    from mmagic.models.base_models import BaseTranslationModel
    from mmagic.models.editors import SRGAN

    if _is(model, BaseTranslationModel):
        return ('generators', 'discriminators')
    return ('generator', 'discriminator') if _is(model, SRGAN) else ()


def _check_wrapper(options: Mapping[str, Any], model: Any, where: str) -> bool:
    wrapper = find_type(OPTIM_WRAPPERS, options.get('type', 'OptimWrapper'), f'{where}.type')
    settings = require(options, 'optimizer', where)
    optimizer = find_type(OPTIMIZERS, require(settings, 'type', f'{where}.optimizer'), f'{where}.optimizer.type')
    if optimizer is SAM:
        weights = [torch.nn.Parameter(torch.zeros(1))]
        _try(lambda: _build(SAM, settings, weights), f'{where}.optimizer')
    if (optimizer is SAM) != _is(wrapper, SecondPass):
        name = getattr(wrapper, '__name__', wrapper)
        what = f'{name} runs one pass, and SAM needs a second' if optimizer is SAM else f'{name} needs SAM'
        raise InputError(what, where=where, do='Use SAMOptimWrapper with SAM, OptimWrapper with any other optimizer')
    if optimizer is SAM and not _is(model, HighFrequencyTerm):
        raise InputError(
            f'{model.__name__} runs one pass, and SAM needs a second',
            where=f'{where.partition(": ")[0]}: model.type',
            do='Use ExtractionEditModel, ExtractionSRGAN, ExtractionPix2Pix or ExtractionCycleGAN',
        )
    return optimizer is SAM


def _check_distributed(options: Mapping[str, Any] | None, model: Any, where: str) -> None:
    """MMEngine's default wrapper runs forward and update itself, and never calls the model's step."""
    from mmengine.model import MMSeparateDistributedDataParallel

    wanted = MMSeparateDistributedDataParallel if _networks(model) else ExtractionDistributedDataParallel
    kind = (options or {}).get('type', 'MMDistributedDataParallel')
    if not _is(find_type(MODEL_WRAPPERS, kind, f'{where}: model_wrapper_cfg.type'), wanted):
        raise InputError(
            f"{kind} would hide SAM's second pass",
            where=f'{where}: model_wrapper_cfg',
            do=f"Set model_wrapper_cfg=dict(type='{wanted.__name__}')",
        )


def _check_schedule(cfg: Any, where: str) -> None:
    if cfg['model'].get('hf_schedule', 'constant') != 'lr':
        return
    where = f'{where}: model.hf_schedule'
    if not cfg['model'].get('hf_loss'):
        raise InputError('there is no hf_loss to schedule', where=where, do='Add hf_loss or remove hf_schedule')
    section = cfg.get('param_scheduler') or []
    schedulers = section if isinstance(section, list | tuple) else [section]
    if len(schedulers) == 1 and 'type' not in schedulers[0]:  # one for each network
        own = schedulers[0].get('generators') or schedulers[0].get('generator') or []
        schedulers = own if isinstance(own, list | tuple) else [own]
    kinds = [str(one.get('type')) for one in schedulers]
    for kind, one in zip(kinds, schedulers, strict=True):
        if kind in ('LinearLR', 'ConstantLR') and one.get('start_factor', one.get('factor', 1 / 3)) < 1:
            raise InputError("'lr' cannot follow a warm-up", where=where, do=f'Remove {kind}, or use constant')
    if not any(kind in _DECAYING or 'LrInterval' in kind for kind in kinds):
        raise InputError(
            "no scheduler lowers the learning rate, so the penalty's weight would stay 0 with 'lr'",
            where=where,
            do="Add param_scheduler=dict(type='CosineAnnealingLR', ...), or use 'constant'",
        )


def _check_data(cfg: Any, model: Any, where: str, data: bool) -> None:
    dataset = require(cfg['train_dataloader'], 'dataset', f'{where}: train_dataloader')
    at = f'{where}: train_dataloader.dataset'
    kind = find_type(DATASETS, require(dataset, 'type', at), f'{at}.type')
    steps = dataset.get('pipeline') or []
    packed = {key for step in steps if step.get('type') == 'PackInputs' for key in _list(step.get('keys', []))}
    if _is(model, TranslationExtraction) and packed:
        _check_domains(cfg['model'], packed, where)
    crops = [min(step['crop_size']) for step in steps if 'crop_size' in step]
    crops += [step['gt_patch_size'] for step in steps if 'gt_patch_size' in step]
    if crops and cfg['model'].get('hf_loss') and _is(model, HighFrequencyTerm):
        crop = torch.zeros(1, 1, min(crops), min(crops))
        _try(lambda: _build(HighFrequencyLoss, cfg['model']['hf_loss'])(crop, crop), f'{where}: model.hf_loss')
    if data and str(getattr(kind, '__module__', '')).split('.')[0] == 'mea_plugin':
        DATASETS.build({**dataset, 'pipeline': []})


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_domains(model: Mapping[str, Any], packed: set[str], where: str) -> None:
    wanted = {f'img_{domain}' for domain in model.get('related_domains') or ()}
    weights = model.get('loss_config') or {}
    if 'Cycle' in str(model['type']) and (model.get('hf_loss') or weights.get('paired_loss_weight')):
        wanted |= {f'paired_{domain}' for domain in model.get('reachable_domains') or ()}
    if missing := sorted(wanted - packed):
        raise InputError(
            f'the model wants {", ".join(missing)}, the pipeline packs {", ".join(sorted(packed))}',
            where=f'{where}: train_dataloader.dataset.pipeline',
            do='Give model and pipeline the same domains, and pack all their images',
        )
