"""The whole state of a training run, as a checkpoint holds it: MMEngine's own format, and what that leaves out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mea_plugin.mmagic.models.image_pool import load_pool, pool_state
from mea_plugin.training import random_state
from mea_plugin.training.checkpoints import VERSION
from mea_plugin.training.run_identity import RUN

__all__ = [
    'KEY',
    'bare_model',
    'devices',
    'load_rest',
    'optimizer_names',
    'training_state',
    'weights_state',
    'wrappers',
]

KEY = 'mea'
"""Of what this package adds to MMEngine's checkpoints."""

# What these hooks of MMEngine and MMagic remember, and put into no checkpoint.
_MEMORIES = {'EarlyStoppingHook': ('best_score', 'wait_count'), 'ReduceLRSchedulerHook': ('sum_value', 'count')}


def bare_model(runner: Any) -> Any:
    """The model without the distributed wrapper around it; wrappers of its networks stay."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def devices() -> list[int]:
    """The GPU whose random state is this process's."""
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


def wrappers(runner: Any) -> dict[str, OptimWrapper]:
    """The optimizer wrappers by network; the one of a model with one optimizer has no name."""
    wrapper = runner.optim_wrapper
    return dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}


def optimizer_names(wrapper: OptimWrapper) -> list[str]:
    """The class of an optimizer and, if it has one, of the base that steps for it."""
    optimizer = wrapper.optimizer
    base = getattr(optimizer, 'base_optimizer', None)
    return [type(one).__name__ for one in (optimizer, base) if one is not None]


def weights_state(runner: Any) -> dict[str, Any]:
    """Weights and what describes them, on the CPU: what MMEngine's best checkpoints hold. For rank 0."""
    state: dict[str, Any] = _detached(_weights_state(runner))
    return state


def _weights_state(runner: Any) -> dict[str, Any]:
    meta = {
        'epoch': runner.epoch,
        'iter': runner.iter,
        'cfg': runner.cfg_text,
        'seed': runner.seed,
        'experiment_name': runner.experiment_name,
        'time': time.strftime('%Y%m%d_%H%M%S'),
        'mmengine_version': mmengine.__version__,
    }
    dataset = runner.train_dataloader.dataset
    if hasattr(dataset, 'metainfo'):
        meta['dataset_meta'] = _plain(dataset.metainfo)
    state: dict[str, Any] = {
        'meta': meta,
        'state_dict': bare_model(runner).state_dict(),
        'message_hub': _hub_state(runner.message_hub),
    }
    runner.call_hook('before_save_checkpoint', checkpoint=state)
    return state


def training_state(runner: Any, *, optimizers: bool = True, schedulers: bool = True, validate: bool = False) -> Any:
    """Everything that a run needs to go on as if it had never stopped. All ranks call this, between two iterations.

    Args:
        runner: The run.
        optimizers: Whether the optimizers' states belong to it.
        schedulers: Whether the parameter schedulers' do.
        validate: Whether the validation of the last iteration is still to come.

    Returns:
        On rank 0 numbers, text, lists, dicts and tensors on the CPU, which training does not touch any more; elsewhere
        None. Random states are those of all ranks.
    """
    random = runner.ranks.gather(random_state.capture(devices()))
    if not runner.ranks.is_first:
        return None
    state = _weights_state(runner)
    if optimizers:
        state['optimizer'] = runner.optim_wrapper.state_dict()
    if schedulers and runner.param_schedulers is not None:
        state['param_schedulers'] = _each(runner.param_schedulers, lambda one: _plain(one.state_dict()))
    model, loop = bare_model(runner), runner.train_loop
    state[KEY] = {
        'version': VERSION,
        RUN: runner.run_name,
        'random': random,
        'seed': loop.seed,
        'samples': loop.samples,
        'world': runner.ranks.world,
        'optimizers': {name: optimizer_names(wrapper) for name, wrapper in wrappers(runner).items()},
        'counts': {name: int(wrapper._inner_count) for name, wrapper in wrappers(runner).items()},
        'buffers': dict(_unsaved_buffers(model)),
        'pools': {name: pool_state(pool) for name, pool in _pools(model).items()},
        'model': model.training_state() if hasattr(model, 'training_state') else {},
        'hooks': {name: _plain(memory) for name, memory in _memories(runner).items()},
        'history': {name: _history_state(buffer) for name, buffer in runner.message_hub.log_scalars.items()},
        'validate': validate,
        'stopped_early': bool(loop.stop_training),
    }
    return _detached(state)


def load_rest(runner: Any, state: Mapping[str, Any]) -> None:
    """Put back what MMEngine's checkpoints leave out, random states aside: they are the last thing to be put back."""
    model = bare_model(runner)
    for name, wrapper in wrappers(runner).items():
        wrapper._inner_count = state['counts'][name]
    for name, buffer in _unsaved_buffers(model):
        if name in state['buffers'] and state['buffers'][name].shape == buffer.shape:
            buffer.data.copy_(state['buffers'][name])
    for name, pool in _pools(model).items():
        load_pool(pool, state['pools'][name], next(model.parameters()).device)
    if hasattr(model, 'load_training_state'):
        model.load_training_state(state['model'])
    for hook in runner.hooks:
        vars(hook).update(state['hooks'].get(type(hook).__name__, {}))
    for name, history in state['history'].items():
        values, counts = history['values'].numpy(), history['counts'].numpy()
        runner.message_hub.log_scalars[name] = HistoryBuffer(values, counts, history['max_length'])
        runner.message_hub._resumed_keys[name] = True


def _hub_state(hub: Any) -> dict[str, Any]:
    """MMEngine's notes without the logged numbers, whose class only newer versions of torch can be told to read."""
    state = hub.state_dict()
    info = {key: _plain(value) for key, value in state['runtime_info'].items()}
    resumed = {key: value for key, value in state['resumed_keys'].items() if key in info}
    return {'log_scalars': {}, 'runtime_info': info, 'resumed_keys': resumed}


def _history_state(buffer: HistoryBuffer) -> dict[str, Any]:
    values, counts = buffer.data
    return {
        'values': torch.from_numpy(np.asarray(values, np.float64)),
        'counts': torch.from_numpy(np.asarray(counts, np.int64)),
        'max_length': buffer.max_length,
    }


def _unsaved_buffers(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The buffers that are in no state dict, such as the step counter of MMagic's SRGAN."""
    saved = set(model.state_dict())
    return [(name, buffer) for name, buffer in model.named_buffers() if name not in saved]


def _pools(model: Any) -> dict[str, Any]:
    """The pools of earlier fakes of MMagic's CycleGAN and of ours, by domain."""
    return dict(getattr(model, 'image_buffers', None) or {})


def _memories(runner: Any) -> dict[str, dict[str, Any]]:
    found = {type(hook).__name__: hook for hook in runner.hooks}
    return {
        name: {key: getattr(found[name], key) for key in keys if hasattr(found[name], key)}
        for name, keys in _MEMORIES.items()
        if name in found
    }


def _each(schedulers: Any, function: Any) -> Any:
    """A function of each scheduler, in MMEngine's list or dict of lists."""
    if isinstance(schedulers, Mapping):
        return {name: [function(one) for one in own] for name, own in schedulers.items()}
    return [function(one) for one in schedulers]


def _plain(value: Any) -> Any:
    """The same with Python's own types; what has no counterpart among them is left out."""
    if isinstance(value, Mapping):
        items = {key: _plain(one) for key, one in value.items()}
        return {key: one for key, one in items.items() if one is not None or value[key] is None}
    if isinstance(value, list | tuple):
        return type(value)(_plain(one) for one in value) if type(value) in (list, tuple) else [*map(_plain, value)]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str | bytes | Tensor | None) else None


def _detached(value: Any) -> Any:
    """The same with tensors of its own on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to('cpu', copy=True)
    if isinstance(value, OrderedDict):
        copy = OrderedDict((key, _detached(one)) for key, one in value.items())
        vars(copy).update(vars(value))  # torch notes versions of modules there
        return copy
    if isinstance(value, Mapping):
        return {key: _detached(one) for key, one in value.items()}
    return type(value)(map(_detached, value)) if isinstance(value, list | tuple) else value
