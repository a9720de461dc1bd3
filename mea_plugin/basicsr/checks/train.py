"""Checks of the ``train`` section of a BasicSR option file, and of the networks that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

from mea_plugin.basicsr.checks.places import SCHEDULERS
from mea_plugin.basicsr.checks.schedule import check_schedule
from mea_plugin.basicsr.checks.sections.classes import is_own
from mea_plugin.basicsr.models.gan_model import check_gan_mode
from mea_plugin.basicsr.models.optimizers import check_optimizer
from mea_plugin.basicsr.models.precision import check_amp
from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys, check_section, require
from mea_plugin.defences.through import ThroughDefences
from mea_plugin.toolboxes.basicsr_networks import check_call, check_type, find
from mea_plugin.training.terms import read_terms, try_term

__all__ = ['check_reach', 'check_train']


def check_train(opt: Mapping[str, Any], model: Any, where: str) -> None:
    """Check what the section's class leaves open: what a model is trained with is built, and tried without values.

    Args:
        opt: All options; their keys and single values have been checked.
        model: The model's class.
        where: The file, for errors.

    Raises:
        InputError: The first thing found that cannot work.
    """
    train, at = opt['train'], f'{where}: train'
    _check_optimizers(train, model, at)
    for key, value in train.items():
        if key.endswith('_opt') and value:
            _check_loss(value, f'{at}.{key}')
    if 'gan_mode' in train:
        check_gan_mode(train['gan_mode'], where=f'{at}.gan_mode')
    if issubclass(model, SRGANModel):
        _check_discriminator_fits(opt, f'{where}: network_d')
    _check_scheduler(train, at)
    _check_terms(opt, at)
    if train.get('known_defences'):
        ThroughDefences(train['known_defences'], where=f'{at}.known_defences')
    _check_speed(opt, at)


def _check_optimizers(train: Mapping[str, Any], model: Any, where: str) -> None:
    for key, value in train.items():
        if not key.startswith('optim_'):
            continue
        section = f'{where}.{key}'
        name = require(check_section(value, section), 'type', section)
        check_optimizer(value, where=section)
        if getattr(model, 'get_optimizer', None) is BaseModel.get_optimizer and name != 'Adam':
            instead = 'ExtractionGANModel' if issubclass(model, SRGANModel) else 'ExtractionModel'
            what = f'{model.__name__} knows only Adam'
            do = f'Use model_type: {instead}, or a subclass with SAMModelMixin'
            raise InputError(what, where=f'{section}.type', do=do)


def _check_loss(options: Any, where: str) -> None:
    loss = check_type(LOSS_REGISTRY, options, where)
    if not _is_light(loss):
        return
    try:
        _built(options)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do=f'Correct the options of {loss.__name__}') from error


def _is_light(loss: Any) -> bool:
    """Whether a loss is known to fetch no weights when it is built."""
    return is_own(loss) and loss.__name__ != 'PerceptualLoss'


def _check_scheduler(train: Mapping[str, Any], where: str) -> None:
    options, at = train['scheduler'], f'{where}.scheduler'
    check_keys({require(options, 'type', at): None}, SCHEDULERS, f'{at}.type')
    scheduler, arguments = SCHEDULERS[options['type']], {key: value for key, value in options.items() if key != 'type'}
    check_call(scheduler, arguments, at, given=('optimizer',))
    try:
        built = scheduler(torch.optim.SGD([torch.zeros(1)], lr=1.0), **arguments)
    except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(str(error).rstrip('.'), where=at, do=f'Correct the options of {options["type"]}') from error
    check_reach(built, train, where=at)


def check_reach(scheduler: Any, train: Mapping[str, Any], *, where: str | Path) -> None:
    """Refuse a cosine schedule whose periods are over before the training is: BasicSR's has no learning rate then.

    Args:
        scheduler: Any of BasicSR's.
        train: The section; ``total_iter`` is used.
        where: Where the schedule comes from, for the error.

    Raises:
        InputError: It is.
    """
    ends = getattr(scheduler, 'cumulative_period', None)
    if ends and ends[-1] < train['total_iter'] - 1:  # the first iteration does not step
        what = f'the periods end at iteration {ends[-1]}, before total_iter {train["total_iter"]}'
        raise InputError(what, where=where, do='Make the periods longer (in a new run), or total_iter smaller')


def _check_speed(opt: Mapping[str, Any], where: str) -> None:
    train = opt['train']
    check_amp(train.get('amp'), gpu=torch.cuda.is_available() and opt.get('num_gpu') != 0, where=f'{where}.amp')
    compiled = train.get('compile')
    if isinstance(compiled, Mapping):
        check_call(torch.compile, compiled, f'{where}.compile', given=('model',))
    elif compiled not in (None, True, False):
        do = 'Write true, false, or options such as mode'
        raise InputError(f'got {compiled!r}', where=f'{where}.compile', do=do)
    parts = train.get('accumulate') or 1
    batch: Any = (opt['datasets'].get('train') or {}).get('batch_size_per_gpu')
    if _whole(batch, 1) and batch % parts:
        what = f'a batch of {batch} images cannot be split into {parts} equal parts'
        raise InputError(what, where=f'{where}.accumulate', do='Give a divisor of batch_size_per_gpu')


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


def _check_terms(opt: Mapping[str, Any], where: str) -> None:
    """Check the loss terms' types, arguments and schedules, and run them on blank crops."""
    train = opt['train']
    hf, schedule = train.get('hf_opt'), train.get('hf_schedule', 'constant')
    terms = read_terms(hf, schedule, train.get('extra_losses'), hf_option='hf_opt', where=where)
    check_schedule(terms, train)
    size = ((opt['datasets'] or {}).get('train') or {}).get('gt_size')
    for one in terms:
        if _is_light(check_type(LOSS_REGISTRY, one.loss, one.where)):
            try_term(one, partial(_built, one.loss), size if _whole(size, 1) else None)


def _built(options: Mapping[str, Any]) -> Any:
    # Not the toolbox's build_loss: it logs, and BasicSR's logger must not be set up before its log file is known.
    loss = find(LOSS_REGISTRY, options['type'], '')
    return loss(**{key: value for key, value in options.items() if key != 'type'})


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
