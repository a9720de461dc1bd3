"""Training a surrogate, or a victim, with MMEngine's runner; also on a CPU, with checked configs, exact resume."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import distributed

import mea_plugin.mmagic  # noqa: F401 - registers
from mea_plugin.core.cli import is_of_the_disk, run_tool
from mea_plugin.core.errors import InputError, RunError, Stopped
from mea_plugin.core.launch import leave_process_group
from mea_plugin.mmagic.checks.check import check_config
from mea_plugin.mmagic.run.runner import ExtractionRunner
from mea_plugin.mmagic.run.state import bare_model
from mea_plugin.toolboxes.command_lines import mmagic_parser
from mea_plugin.toolboxes.mmagic_config import load_config
from mea_plugin.training import checkpoints

__all__ = ['WEIGHTS', 'main']

WEIGHTS = 'surrogate.pth'
"""What training leaves in the work folder besides checkpoints: the weights alone, which load without executing code."""

_AMP = {'OptimWrapper': 'AmpOptimWrapper', 'SAMOptimWrapper': 'SAMAmpOptimWrapper'}


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = mmagic_parser().parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, _settings(args.cfg_options))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    if args.amp:
        _use_amp(cfg, args.config)
    if args.auto_scale_lr:
        _scale_lr(cfg, args.config)
    if args.resume:
        cfg.resume = True
    _check_devices(cfg, args.config)
    check_config(cfg, where=args.config, launcher=args.launcher)
    try:
        runner = _run(cfg, args.config)
        if is_main_process():
            _write_weights(runner)
        if runner.lock is not None:
            runner.lock.release()
        del runner
    except (InputError, OSError, Stopped) as error:
        if isinstance(error, Stopped) or _is_gloo():  # NCCL might wait for the others, who may not have failed
            traceback.clear_frames(error.__traceback__)  # they hold the networks
            leave_process_group()
        raise
    leave_process_group()


def _settings(words: Sequence[str] | None) -> dict[str, Any] | None:
    """The options of ``--cfg-options``, as MMEngine's own action reads them."""
    if words is None:
        return None
    for word in words:
        if '=' not in word:
            raise InputError(f"'{word}' sets nothing", where='--cfg-options', do='Give KEY=VALUE')
    found = argparse.Namespace()
    DictAction([], 'options', nargs='+')(argparse.ArgumentParser(), found, words)
    return found.options


def _is_gloo() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == 'gloo'


def _check_devices(cfg: Config, where: str) -> None:
    """That the GPUs which are asked for are there; without any, and unless one is asked for, a CPU does.

    Raises:
        InputError: They are not.
    """
    count = torch.cuda.device_count()
    if str(cfg.get('device') or '').startswith('cuda') and not count:
        raise InputError(f'there is no GPU for {cfg.device}', where=f'{where}: device', do='Remove it, or set cpu')
    local = int(os.environ['LOCAL_RANK'])
    if cfg.launcher in ('pytorch', 'mpi') and count and local >= count:
        raise InputError(
            f'there is no GPU for process {local} of this machine, which has {count}',
            where=f'--launcher {cfg.launcher}',
            do='Start one process for each GPU, or hide them with CUDA_VISIBLE_DEVICES=',
        )


class _FirstStep(Hook):
    """Notes that a step has been taken: from then on an error is no longer one of the config's."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.taken = False

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """See the class."""
        self.taken = True


def _run(cfg: Config, where: str) -> ExtractionRunner:
    """Train.

    Raises:
        InputError: Something fails before the first step is complete: a part that cannot be built, data that do not fit
            the pipeline, images that do not fit the network.
        OSError: The disk is full or cannot be written to.
    """
    first = _FirstStep()
    try:
        runner = ExtractionRunner.from_cfg(cfg)
        runner.register_hook(first)
        runner.train()
    except (InputError, RunError):
        raise
    except Exception as error:
        if first.taken:
            raise
        if isinstance(error, OSError) and is_of_the_disk(error):  # which is no fault of the config's
            raise OSError(error.errno, error.strerror, error.filename or cfg.work_dir) from error
        reason = ' '.join(str(error).split()) or 'no reason given'
        raise InputError(
            f'training cannot start ({type(error).__name__}: {reason})',
            where=where,
            do='Correct the config; with MEA_DEBUG=1 the whole traceback is shown',
        ) from error
    return runner


def _wrappers(cfg: Config) -> list[Any]:
    """The sections that describe one optimizer wrapper each."""
    section = cfg.get('optim_wrapper') or {}
    nested = [value for value in section.values() if isinstance(value, dict) and 'optimizer' in value]
    return [section] if 'optimizer' in section else nested


def _use_amp(cfg: Config, where: str) -> None:
    for wrapper in _wrappers(cfg):
        kind = wrapper.get('type', 'OptimWrapper')
        if kind not in (*_AMP, *_AMP.values()):
            raise InputError(f'--amp does not know {kind}', where=where, do=f'Use one of {", ".join(_AMP)}')
        wrapper['type'] = _AMP.get(kind, kind)
        wrapper.setdefault('loss_scale', 'dynamic')
        if not torch.cuda.is_available():
            wrapper.setdefault('dtype', 'bfloat16')


def _scale_lr(cfg: Config, where: str) -> None:
    """MMEngine scales by the config's ``auto_scale_lr.base_batch_size``."""
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise InputError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size', where=where, do='Add it to the config, or scale lr'
        )
    cfg.auto_scale_lr.enable = True


def _write_weights(runner: Any) -> None:
    # Networks that are wrapped one by one carry the wrapper in their names.
    state = {key.replace('.module.', '.'): value.cpu() for key, value in bare_model(runner).state_dict().items()}
    checkpoints.write(Path(runner.work_dir) / WEIGHTS, {'state_dict': state})


if __name__ == '__main__':
    sys.exit(run_tool(main))
