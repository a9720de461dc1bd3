"""BasicSR's command line and option file, read without executing anything in them."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import dist_util, set_random_seed

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.metrics import better_value
from mea_plugin.core.errors import InputError
from mea_plugin.core.launch import join_process_group
from mea_plugin.core.options import apply_overrides, dump_options, load_options
from mea_plugin.core.paths import expanded
from mea_plugin.toolboxes.command_lines import basicsr_parser

__all__ = ['parse_options']


def parse_options(
    root_path: str | Path,
    is_train: bool = True,
    argv: Sequence[str] | None = None,
) -> tuple[dict[str, Any], argparse.Namespace]:
    """Do what BasicSR's ``parse_options`` does: the same arguments, the same result.

    Differences: YAML tags and ``--force_yml`` cannot run code, unknown keys are refused, ``--local-rank`` is understood
    as well (torch >= 2 passes it so), and a metric that is a distance is ``better: lower`` unasked. The arguments hold
    one thing more: ``option_text``, the file with its bases and overrides laid into it.

    Args:
        root_path: The folder that gets ``experiments/`` (``results/`` when testing).
        is_train: Training or testing.
        argv: Command-line arguments; those of the process by default.

    Raises:
        InputError: The option file cannot be used.
    """
    args = basicsr_parser().parse_args(argv)
    opt = load_options(args.opt)
    apply_overrides(opt, args.force_yml or ())
    args.option_text = dump_options(opt)  # before anything is completed or taken apart
    check_options(opt, where=args.opt)
    opt['num_gpu'] = _gpu_count(opt.get('num_gpu'), args.opt)

    opt['dist'] = args.launcher != 'none'
    if opt['dist']:
        port = (opt.get('dist_params') or {}).get('port')
        join_process_group(args.launcher, gpu=opt['num_gpu'] > 0, port=port)
    opt['rank'], opt['world_size'] = dist_util.get_dist_info()

    if opt.get('manual_seed') is None:
        opt['manual_seed'] = random.randint(1, 10000)
    set_random_seed(opt['manual_seed'] + opt['rank'])

    opt['auto_resume'] = args.auto_resume
    opt['is_train'] = is_train
    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'
    _complete_datasets(opt)
    _complete_metrics(opt)
    _complete_paths(opt, Path(root_path), is_train)
    return opt, args


def _gpu_count(num_gpu: int | str | None, where: str) -> int:
    available = torch.cuda.device_count()
    if num_gpu is None or isinstance(num_gpu, str):  # auto
        return available
    if num_gpu > available:
        raise InputError(f'num_gpu is {num_gpu}, this machine has {available}', where=where, do='Use num_gpu: auto')
    return num_gpu


def _complete_datasets(opt: dict[str, Any]) -> None:
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key in ('dataroot_gt', 'dataroot_lq', 'dataroot_victim'):
            if dataset.get(key) is not None:
                dataset[key] = str(expanded(dataset[key]))


def _complete_metrics(opt: dict[str, Any]) -> None:
    """Let BasicSR's own models know the distances too."""
    for options in ((opt.get('val') or {}).get('metrics') or {}).values():
        if better_value(options) == 'lower':
            options['better'] = 'lower'


def _complete_paths(opt: dict[str, Any], root: Path, is_train: bool) -> None:
    path = opt.setdefault('path', {})
    path.setdefault('resume_state', None)
    for key, value in path.items():
        if value is not None and ('resume_state' in key or 'pretrain_network' in key):
            path[key] = str(expanded(value))
    if not is_train:
        results = root / 'results' / opt['name']
        path.update(results_root=str(results), log=str(results), visualization=str(results / 'visualization'))
        return
    experiments = root / 'experiments' / opt['name']
    path['experiments_root'] = path['log'] = str(experiments)
    for key in ('models', 'training_states', 'visualization'):
        path[key] = str(experiments / key)
    if 'debug' in opt['name']:
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
        if opt.get('val'):
            opt['val']['val_freq'] = 8
