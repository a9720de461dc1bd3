"""Checks of the ``train`` section of a BasicSR option file, and of the networks that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.models.base_model import BaseModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

from mea_plugin.basicsr.gan_model import check_gan_mode
from mea_plugin.basicsr.networks import check_call, check_type, find
from mea_plugin.basicsr.optimizers import check_optimizer
from mea_plugin.basicsr.precision import check_amp
from mea_plugin.basicsr.schedule import check_schedule
from mea_plugin.errors import InputError
from mea_plugin.options import check_keys, check_section, require

__all__ = ['TRAIN_ONLY', 'check_train']

_LOOP = ('total_iter', 'warmup_iter', 'scheduler')  # what BasicSR's loop and its schedulers look up
_OURS = ('hf_opt', 'hf_schedule', 'amp', 'accumulate', 'channels_last', 'compile', 'gan_mode')
_OF_GANS = ('gan_opt', 'gan_mode', 'optim_d', 'net_d_iters', 'net_d_init_iters', 'ldl_opt')

TRAIN_ONLY = (*_OURS, *_OF_GANS)
"""Options that mean nothing outside the ``train`` section."""


def check_train(opt: Mapping[str, Any], model: Any, read: frozenset[str], where: str) -> None:
    """Check how a model is trained.

    Args:
        opt: All options.
        model: The model's class.
        read: The keys that it looks up.
        where: The file, for errors.

    Raises:
        InputError: The first thing found that cannot work.
    """
    train, at = opt['train'], f'{where}: train'
    _check_keys(train, model, read, at)
    if _number(require(train, 'total_iter', at)) < 1:
        raise InputError(f'total_iter is {train["total_iter"]!r}', where=at, do='Give 1 or more')
    _check_optimizers(train, model, at)
    for key, value in train.items():
        if key.endswith('_opt') and value:
            _check_loss(value, f'{at}.{key}')
    if issubclass(model, SRGANModel):
        _check_gan(opt, where)
    elif 'pixel_opt' in read and not train.get('pixel_opt') and not train.get('perceptual_opt'):
        raise InputError('there is neither pixel_opt nor perceptual_opt', where=at, do='Add pixel_opt')
    _check_scheduler(require(train, 'scheduler', at), f'{at}.scheduler')
    check_schedule(train, f'{at}.hf_schedule')
    _check_speed(opt, at)
    _check_penalty_fits(opt, where)


def _check_keys(train: Any, model: Any, read: frozenset[str], where: str) -> None:
    known = (*_LOOP, *sorted(read))
    for key in check_section(train, where, do=f'Keys: {", ".join(known)}'):
        if key not in known and key in TRAIN_ONLY:
            name = 'ExtractionGANModel' if key in _OF_GANS or issubclass(model, SRGANModel) else 'ExtractionModel'
            raise InputError(f"unknown option '{key}'", where=where, do=f'Set model_type: {name}, which knows it')
    check_keys(train, known, where)


def _check_optimizers(train: Mapping[str, Any], model: Any, where: str) -> None:
    for key in ('optim_g', 'optim_d') if issubclass(model, SRGANModel) else ('optim_g',):
        require(train, key, where)
    for key, value in train.items():
        if not key.startswith('optim_'):
            continue
        section = f'{where}.{key}'
        name = require(check_section(value, section), 'type', section)
        check_optimizer(value, where=section)
        if model.get_optimizer is BaseModel.get_optimizer and name != 'Adam':
            instead = 'ExtractionGANModel' if issubclass(model, SRGANModel) else 'ExtractionModel'
            what = f'{model.__name__} knows only Adam'
            raise InputError(what, where=f'{section}.type', do=f'Use model_type: {instead}')


def _check_loss(options: Any, where: str) -> None:
    loss = check_type(LOSS_REGISTRY, options, where)
    arguments = {key: value for key, value in options.items() if key != 'type'}
    if not loss.__module__.startswith('mea_plugin') and 'gan_type' not in arguments:
        return  # others may fetch weights when they are built
    try:
        loss(**arguments)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do=f'Correct the options of {loss.__name__}') from error


def _check_scheduler(options: Any, where: str) -> None:
    known = {
        'MultiStepLR': lr_scheduler.MultiStepRestartLR,
        'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
        'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
    }
    check_keys({require(check_section(options, where), 'type', where): None}, known, f'{where}.type')
    arguments = {key: value for key, value in options.items() if key != 'type'}
    check_call(known[options['type']], arguments, where, given=('optimizer',))


def _check_speed(opt: Mapping[str, Any], where: str) -> None:
    train = opt['train']
    check_amp(train.get('amp'), gpu=torch.cuda.is_available() and opt.get('num_gpu') != 0, where=f'{where}.amp')
    for key in ('channels_last', 'compile'):
        value = train.get(key)
        if key == 'compile' and isinstance(value, Mapping):
            check_call(torch.compile, value, f'{where}.compile', given=('model',))
        elif value not in (None, True, False):
            instead = 'true or false' if key == 'channels_last' else 'true, false, or options such as mode'
            raise InputError(f'{key} is {value!r}', where=where, do=f'Write {instead}')
    parts, batch = train.get('accumulate', 1), (opt['datasets'].get('train') or {}).get('batch_size_per_gpu')
    if not _whole(parts, 1):
        raise InputError(f'accumulate is {parts!r}', where=where, do='Give 1 or more micro-batches')
    if _whole(batch, 1) and batch % parts:
        what = f'a batch of {batch} images cannot be split into {parts} equal parts'
        raise InputError(what, where=f'{where}.accumulate', do='Give a divisor of batch_size_per_gpu')


def _check_gan(opt: Mapping[str, Any], where: str) -> None:
    train, at = opt['train'], f'{where}: train'
    require(opt, 'network_d', where)
    require(train, 'gan_opt', at)
    check_gan_mode(train.get('gan_mode', 'standard'), where=f'{at}.gan_mode')
    for key, least in (('net_d_iters', 1), ('net_d_init_iters', 0)):
        if not _whole(train.get(key, least), least):
            raise InputError(f'{key} is {train[key]!r}', where=at, do=f'Give a whole number of at least {least}')
    if train.get('ldl_opt') and not _number(train.get('ema_decay', 0)) > 0:
        do = 'Set train.ema_decay (0.999, say), or remove ldl_opt'
        raise InputError('ldl_opt compares with the averaged weights, and there are none', where=at, do=do)
    _check_discriminator_fits(opt, f'{where}: network_d')


def _check_discriminator_fits(opt: Mapping[str, Any], where: str) -> None:
    """Run the discriminator on crops without values: it may take only some sizes."""
    dataset, options = opt['datasets'].get('train') or {}, opt['network_d']
    size: Any = dataset.get('gt_size')
    if not _whole(size, 1):
        return
    network = check_type(ARCH_REGISTRY, options, where)
    crops = torch.empty(2, 1 if dataset.get('color') == 'y' else 3, size, size, device='meta')
    try:
        with torch.device('meta'), torch.no_grad():
            network(**{key: value for key, value in options.items() if key != 'type'})(crops)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if not isinstance(error, NotImplementedError) and 'meta' not in str(error):
            what = f'{network.__name__} cannot take crops of gt_size {size} ({str(error).splitlines()[0]})'
            raise InputError(what, where=where, do='Change its options, or gt_size') from error
    except Exception:  # it runs code that needs values, a GPU, or a compiler: the training will tell
        return


def _check_penalty_fits(opt: Mapping[str, Any], where: str) -> None:
    """Run the penalty once on an empty crop: its levels may be too many for the size."""
    size = ((opt['datasets'] or {}).get('train') or {}).get('gt_size')
    options = opt['train'].get('hf_opt')
    if not options or not isinstance(size, int):
        return
    crop = torch.zeros(1, 1, size, size)
    section = f'{where}: train.hf_opt'
    # Not the toolbox's build_loss: it logs, and BasicSR's logger must not be set up before its log file is known.
    penalty = find(LOSS_REGISTRY, options['type'], section)
    try:
        penalty(**{key: value for key, value in options.items() if key != 'type'})(crop, crop)
    except ValueError as error:
        raise InputError(str(error).rstrip('.'), where=section, do=f'The crop gt_size is {size}') from error


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0
