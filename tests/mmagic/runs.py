"""Small training runs of the whole runner: stopped, killed, taken up, and compared to the bit."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tests.mmagic import gan, tiny

NUMBERS = itertools.count()
LOADED: list[int] = []
"""The indices of all samples that were loaded in this process."""

ADAM = {'type': 'Adam', 'lr': 2e-3}
SAM = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 2e-3}


class NoisyImages(Dataset):
    """Pairs as the model's pipeline would give them, augmented with random numbers of all three kinds."""

    def __init__(self, name: str, count: int = 7) -> None:
        make = tiny.edit_batch if name in ('EditModel', 'SRGAN') else tiny.translation_batch
        self.samples = [make(seed, count=1) for seed in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        LOADED.append(index)
        inputs, sample = self.samples[index]['inputs'], self.samples[index]['data_samples'][0]
        shift = int(torch.randint(0, 99, ()) + np.random.randint(0, 99))  # noqa: NPY002 - as MMagic's transforms do
        if isinstance(inputs, dict):
            return {'inputs': {key: one[0] + shift for key, one in inputs.items()}, 'data_samples': sample}
        return {'inputs': inputs[0] + shift, 'data_samples': sample}


def config(name: str, folder: Path, *, sam: bool = False, optimizer: dict | None = None, **options: Any) -> Any:
    """What the runner takes: 6 iterations, checkpoints every 2, no validation."""
    from mmengine.config import Config
    from mmengine.registry import DATASETS

    DATASETS.register_module(module=NoisyImages, force=True)
    count = options.pop('accumulative_counts', 1)
    wrapper = {
        'type': 'SAMOptimWrapper' if sam else 'OptimWrapper',
        'optimizer': optimizer or (SAM if sam else ADAM),
        'accumulative_counts': count,
    }
    networks = {'SRGAN': ('generator', 'discriminator'), 'EditModel': ()}.get(name, ('generators', 'discriminators'))
    wrappers = {'constructor': 'MultiOptimWrapperConstructor', **dict.fromkeys(networks, wrapper)}
    model = gan.config_of(name, **({'buffer_size': 2} if name == 'CycleGAN' else {}), hf_loss=tiny.HF)
    base = {
        'default_scope': 'mmagic',
        'experiment_name': f'run{next(NUMBERS)}',  # MMEngine keeps one message hub for all runs of a name and second
        'work_dir': str(folder),
        'model': model,
        'train_dataloader': {
            'batch_size': 2,
            'num_workers': 0,
            'dataset': {'type': 'NoisyImages', 'name': name},
            'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
        },
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 6},
        'optim_wrapper': wrappers if networks else wrapper,
        'param_scheduler': {'type': 'MultiStepLR', 'milestones': [3, 5], 'gamma': 0.5, 'by_epoch': False},
        'default_hooks': {
            'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False},
            'logger': {'type': 'LoggerHook', 'interval': 1, 'log_metric_by_epoch': False},
        },
        'randomness': {'seed': 5},
        'log_level': 'WARNING',
    }
    cfg = Config(base)
    cfg.merge_from_dict(options)
    return cfg


def validation(name: str, sets: int = 1, **hook: Any) -> dict:
    """Options for validating every 2 iterations on that many sets, and keeping the best."""
    loader = {
        'batch_size': 1,
        'num_workers': 0,
        'dataset': {'type': 'NoisyImages', 'name': name, 'count': 3},
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    }
    evaluators = [{'type': 'Evaluator', 'metrics': [{'type': 'MAE', 'prefix': f'set{one}'}]} for one in range(sets)]
    return {
        'train_cfg.val_interval': 2,
        'val_cfg': {'type': 'MultiValLoop'},
        'val_dataloader': [loader] * sets,
        'val_evaluator': evaluators,
        'default_hooks.checkpoint.save_best': 'set0/MAE',
        'default_hooks.checkpoint.rule': 'less',
        **hook,
    }


def make_runner(cfg: Any, *hooks: Any) -> Any:
    """The runner, with random numbers that are not those of any other."""
    from mea_plugin.mmagic.run.runner import ExtractionRunner

    class Runner(ExtractionRunner):
        """Without what takes most of the time of a run this small: asking the machine, formatting the config."""

        def _log_env(self, env_cfg: dict) -> None:
            pass

        def dump_config(self) -> None:
            pass

    torch.manual_seed(next(NUMBERS))
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def signal_at(iteration: int, number: int = signal.SIGTERM, event: str = 'after_train_iter', batch: int = 0) -> Any:
    """A hook that sends this process a signal in an iteration, or in a batch of the validation after it."""
    from mmengine.hooks import Hook

    class Signal(Hook):
        pass

    def send(self: Any, runner: Any, batch_idx: int = 0, **kwargs: Any) -> None:
        done = runner.iter + (event == 'after_train_iter')
        if done == iteration and (batch_idx == batch or 'train' in event):
            os.kill(os.getpid(), number)

    setattr(Signal, event, send)
    return Signal()


def final_state(folder: Path, iteration: int = 6) -> dict:
    """The last checkpoint, without what tells of names and times."""
    from mea_plugin.training import checkpoints

    state = checkpoints.read(folder / f'iter_{iteration}.pth')
    history = state['mea'].pop('history')
    state['mea'].pop('run')
    state['logged'] = {key: one for key, one in history.items() if 'time' not in key and 'per_' not in key}
    state['logged'].pop('train/peak_memory', None)
    for key in ('meta', 'message_hub'):
        state.pop(key)
    return state


def differences(first: Any, second: Any, where: str = '') -> list[str]:
    """Where two states are not the same to the bit."""
    if isinstance(first, torch.Tensor):
        same = isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [where]
    if isinstance(first, dict) and isinstance(second, dict):
        odd = [f'{where}.{key}' for key in first.keys() ^ second.keys()]
        pairs = {key: (first[key], second[key]) for key in first.keys() & second.keys()}
        return odd + [one for key, pair in pairs.items() for one in differences(*pair, f'{where}.{key}')]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [where]
        pairs = enumerate(zip(first, second, strict=True))
        return [one for index, pair in pairs for one in differences(*pair, f'{where}[{index}]')]
    return [] if first == second else [where]
