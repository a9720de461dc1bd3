"""Checks of an MMagic config before anything is built: names, arguments, and what would silently train something else.

Classes of MMagic, MMEngine, torch and this package are checked strictly; those of third parties pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmagic.registry import MODELS
from mmengine.registry import init_default_scope

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys
from mea_plugin.defences.through import ThroughDefences
from mea_plugin.mmagic.checks.config_types import check_count, check_dict, check_type, is_kind
from mea_plugin.mmagic.checks.data import check_data
from mea_plugin.mmagic.checks.optim import check_distributed, check_wrappers, networks_of
from mea_plugin.mmagic.checks.schedule import check_schedule
from mea_plugin.mmagic.checks.terms import check_terms
from mea_plugin.mmagic.checks.training import check_training
from mea_plugin.mmagic.checks.validation import check_validation
from mea_plugin.mmagic.models.objective import ExtractionArguments
from mea_plugin.mmagic.models.translation import TranslationExtraction

__all__ = ['check_config']

_PARTS = ('generator', 'discriminator', 'pixel_loss', 'perceptual_loss', 'gan_loss', 'data_preprocessor')


def check_config(cfg: Any, *, where: str, launcher: str = 'none', data: bool = True) -> None:
    """Check a config.

    Args:
        cfg: The config as MMEngine reads it.
        where: The file, for errors.
        launcher: How training is started; with a launcher the model's wrapper is checked too.
        data: Look into the data set's folders as well.

    Raises:
        InputError: The first thing found that cannot work, or that would train something else than it says.
    """
    init_default_scope(cfg.get('default_scope') or 'mmagic')
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(key):
            raise InputError(f'the section {key} is missing', where=where, do=f'Add {key}, or inherit a config')
        check_dict(cfg[key], f'{where}: {key}')
    kind = _check_model(cfg['model'], where)
    sam = check_wrappers(cfg['optim_wrapper'], kind, cfg['model'], where)
    _check_length(cfg, kind, where)
    check_training(cfg, where)
    ours = is_kind(kind, ExtractionArguments)
    if launcher != 'none' and (ours or sam):
        check_distributed(cfg.get('model_wrapper_cfg'), kind, cfg['model'], sam, where)
    if ours:
        check_schedule(cfg, where)
    check_data(cfg, kind, where, folders=data)
    check_validation(cfg, kind, where, folders=data)
    if cfg.get('load_from') and '://' not in cfg['load_from'] and not Path(cfg['load_from']).is_file():
        raise InputError(f'no such weight file {cfg["load_from"]}', where=f'{where}: load_from', do='Check the path')


def _check_model(options: Any, where: str) -> Any:
    model = check_type(MODELS, options, f'{where}: model')
    for key in _PARTS:
        if options.get(key):
            check_type(MODELS, options[key], f'{where}: model.{key}')
    check_terms(options, None, f'{where}: model')
    if options.get('known_defences'):
        ThroughDefences(options['known_defences'], where=f'{where}: model.known_defences')
    if options.get('loss_config') and is_kind(model, TranslationExtraction):
        check_keys(options['loss_config'], model.loss_weights, f'{where}: model.loss_config')
    return model


def _check_length(cfg: Mapping[str, Any], kind: Any, where: str) -> None:
    """That a run's last iteration completes a step of a GAN; MMEngine sees to it where there is one optimizer."""
    iterations = cfg['train_cfg'].get('max_iters')
    if iterations is None:
        return
    check_count(cfg['train_cfg'], 'max_iters', 1, f'{where}: train_cfg')
    networks = networks_of(kind, cfg['model'])
    count = max((cfg['optim_wrapper'][name].get('accumulative_counts', 1) for name in networks), default=1)
    if iterations % count:
        raise InputError(
            f'{iterations} iterations end within a window of {count} accumulated batches, whose last gradients would '
            'be lost',
            where=f'{where}: train_cfg.max_iters',
            do=f'Give a multiple of {count}',
        )
