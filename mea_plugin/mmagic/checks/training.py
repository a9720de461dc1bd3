"""Checks of how a run is driven: its loop, its checkpoints, its validation, and what makes it fast."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmagic.registry import LOOPS
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys
from mea_plugin.mmagic.checks.config_types import check_count, check_dict, check_type
from mea_plugin.mmagic.run.speed import check_speed
from mea_plugin.toolboxes.mmagic_networks import find_type

__all__ = ['check_training']


def check_training(cfg: Any, where: str) -> None:
    """Check a config.

    Raises:
        InputError: What cannot be stopped and taken up exactly, or would not do what it says.
    """
    _check_loop(cfg['train_cfg'], f'{where}: train_cfg')
    _check_val_loop(cfg.get('val_cfg'), f'{where}: val_cfg')
    _check_checkpoints(cfg, f'{where}: default_hooks.checkpoint')
    check_speed(cfg, where)


def _check_loop(options: Mapping[str, Any], where: str) -> None:
    by_epoch = options.get('by_epoch')
    kind = find_type(LOOPS, options['type'], f'{where}.type') if 'type' in options else None
    if kind is EpochBasedTrainLoop or (kind is None and by_epoch is not False):
        raise InputError(
            'training by epochs cannot be taken up within one',
            where=where,
            do="Write train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=...)",
        )
    if kind in (None, IterBasedTrainLoop):
        given = ('by_epoch',) if kind is None else ()
        check_type(LOOPS, {'type': 'IterBasedTrainLoop', **options}, where, given=given)
        if options.get('max_iters') is None:
            raise InputError('max_iters is missing', where=where, do='Add it')
        check_count(options, 'val_interval', 1, where)
        check_count(options, 'val_begin', 0, where)


def _check_val_loop(options: Any, where: str) -> None:
    if options is None:
        return
    name = check_dict(options, where).get('type', 'ValLoop')
    if find_type(LOOPS, name, f'{where}.type') is ValLoop:
        raise InputError(
            "ValLoop does not know MMagic's metrics, which hold their own number of images",
            where=where,
            do="Write val_cfg=dict(type='MultiValLoop'), for one set or several",
        )


def _check_checkpoints(cfg: Any, where: str) -> None:
    """That they are written between two windows of accumulated gradients, and while the run lasts."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if not isinstance(hook, Mapping) or find_type(HOOKS, hook.get('type'), f'{where}.type') is not CheckpointHook:
        return
    # Its class takes anything and hands it on.
    known = set(inspect.signature(CheckpointHook).parameters) - {'kwargs'}
    check_keys({key: value for key, value in hook.items() if key not in ('type', 'priority', '_scope_')}, known, where)
    interval = hook.get('interval', -1)
    if isinstance(interval, bool) or not isinstance(interval, int):
        raise InputError(f'interval is {interval!r}', where=where, do='Give a number of iterations, or -1 for none')
    if interval > 0 and hook.get('by_epoch', True):
        raise InputError(
            f'an interval of {interval} epochs means nothing to a loop of iterations',
            where=where,
            do='Set by_epoch=False',
        )
    check_count(hook, 'max_keep_ckpts', -1, where)
    check_count(hook, 'save_begin', 0, where)
    if '://' in str(hook.get('out_dir') or ''):
        raise InputError(f'{hook["out_dir"]} is no folder', where=f'{where}.out_dir', do='Give one')
    if str(hook.get('filename_tmpl') or '{}').count('{}') != 1:
        raise InputError(
            f'{hook["filename_tmpl"]} has not one {{}}', where=f'{where}.filename_tmpl', do="Write 'iter_{}.pth'"
        )
    section = cfg['optim_wrapper']
    nested = [one for one in section.values() if isinstance(one, Mapping)] if 'optimizer' not in section else [section]
    count = max((one.get('accumulative_counts', 1) for one in nested), default=1)
    for key in ('interval', 'save_begin'):
        if hook.get(key, 0) > 0 and hook[key] % count:
            raise InputError(
                f'{hook[key]} iterations end within a window of {count} accumulated batches, whose gradients no '
                'checkpoint holds',
                where=f'{where}.{key}',
                do=f'Give a multiple of {count}',
            )
