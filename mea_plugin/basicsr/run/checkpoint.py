"""Checkpoints in BasicSR's layout that hold all of a run's state, and are trusted only when they are whole.

``models/net_g_N.pth`` (and ``net_d_N.pth``) and then ``training_states/N.state``, each written aside and renamed. The
state is BasicSR's, with one more key, ``mea``: what a resume that equals a run never stopped needs besides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mea_plugin.basicsr.checks.train import check_reach
from mea_plugin.basicsr.models.training_state import saved_states
from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.core.schema import shortened
from mea_plugin.training import checkpoints, random_state
from mea_plugin.training.agreement import by_all, by_first
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.run_identity import RUN, check_run, noted_run

__all__ = ['Resumed', 'Writer', 'find', 'point_to_networks', 'put_random_states_back', 'restore']


@dataclass
class Resumed:
    """A checkpoint that a run goes on from.

    Attributes:
        path: The state file.
        state: What it holds.
    """

    path: Path
    state: dict[str, Any]

    @property
    def iteration(self) -> int:
        """Iterations that were complete."""
        return int(self.state['iter'])

    @property
    def extra(self) -> dict[str, Any] | None:
        """What this package added; None for a state of BasicSR's own training."""
        return self.state.get('mea')

    @property
    def run(self) -> str | None:
        """Which run it is of, if it says."""
        return (self.extra or {}).get(RUN)

    @property
    def models(self) -> Path:
        """The folder of its network files."""
        return self.path.parent.parent / 'models'


class Writer:
    """Writes a model's checkpoints in place of ``BaseModel``'s methods, which write in place and ignore a full disk.

    Args:
        model: Any of BasicSR's models; its ``save`` then writes through this.
        ranks: Of which the first writes.
        devices: The GPUs of this process, whose random states belong to the state.
    """

    def __init__(self, model: Any, ranks: Ranks, devices: list[int]) -> None:
        self._model, self._ranks, self._devices = model, ranks, devices
        self._hashes: dict[str, str] = {}
        self._extra: dict[str, Any] = {}
        model.save_network, model.save_training_state = self._save_network, self._save_state

    def save(self, epoch: int, iteration: int, **extra: Any) -> None:
        """Write a checkpoint; called by all ranks, returns when it is whole.

        Args:
            epoch: The current epoch, -1 for the final weights without a state.
            iteration: Complete iterations; -1 likewise.
            extra: What else the state shall hold: plain values.

        Raises:
            OSError: On all ranks: the disk is full. Older checkpoints are untouched.
        """
        states = self._ranks.gather(random_state.capture(self._devices))
        own: dict[str, Any] = getattr(self._model, 'training_state', dict)()
        self._hashes = {}
        self._extra = {'version': checkpoints.VERSION, 'random': states, 'model': own, **extra}
        by_all(self._ranks, lambda: self._model.save(epoch, iteration))

    def _save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int,
        param_key: str | list[str] = 'params',
    ) -> None:
        """As ``BaseModel.save_network``."""
        if not self._ranks.is_first:
            return
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        content = {key: _weights(self._model.get_bare_model(one)) for one, key in zip(nets, keys, strict=True)}
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        self._hashes[name] = checkpoints.write(Path(self._model.opt['path']['models']) / name, content)

    def _save_state(self, epoch: int, current_iter: int) -> None:
        """As ``BaseModel.save_training_state``, with the rest of the state; last, because it vouches for the others."""
        if current_iter == -1 or not self._ranks.is_first:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self._model.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self._model.schedulers],
            'mea': {**self._extra, 'files': self._hashes, 'optimizers': _names(self._model)},
        }
        checkpoints.write(Path(self._model.opt['path']['training_states']) / f'{current_iter}.state', state)


def find(opt: Mapping[str, Any], ranks: Ranks, warn: Callable[[str], None]) -> Resumed | None:
    """The checkpoint that the options ask to go on from, if any: the same on all ranks, which all call this.

    Args:
        opt: All options. ``auto_resume``: the newest intact one of the folder's run; ``path.resume_state``: that file.
        ranks: Of which the first decides.
        warn: Called with a line on each one that is passed over; on the first rank.

    Raises:
        InputError: On all ranks: the named one is missing or damaged on any of them, none is intact, or it was written
            by a newer version.
    """
    read: dict[Path, dict[str, Any]] = {}  # on the first rank, which has to look into it to pick it
    path = by_first(ranks, lambda: _newest(opt, warn, read))
    return by_all(ranks, lambda: _open(path, read.get(path))) if path else None


def _newest(opt: Mapping[str, Any], warn: Callable[[str], None], read: dict[Path, dict[str, Any]]) -> Path | None:
    def check(path: Path) -> None:
        state = _read(path)
        check_run(state.get('mea'), run)
        read[path] = state

    if not opt['auto_resume']:
        named = opt['path'].get('resume_state')
        return Path(named) if named else None
    run = noted_run(Path(opt['path']['experiments_root']), warn)
    return checkpoints.newest_intact(saved_states(opt['path']['training_states']), check, warn)


def _open(path: Path, state: dict[str, Any] | None) -> Resumed:
    resumed = Resumed(path, state or _read(path))
    if resumed.extra:
        checkpoints.check_version(resumed.extra.get('version'), path)
    return resumed


def _read(path: Path) -> dict[str, Any]:
    """A state, with its network files looked at."""
    state = checkpoints.read(path)
    if not {'epoch', 'iter', 'optimizers', 'schedulers'} <= state.keys():
        raise InputError('is no training state of BasicSR', where=path, do='Give a file from training_states/')
    _check_kinds(state, path)
    models = path.parent.parent / 'models'
    hashes: dict[str, str] = (state.get('mea') or {}).get('files', {})
    if not hashes:  # of BasicSR's own training
        for file in models.glob(f'net_*_{state["iter"]}.pth'):
            if wrong := checkpoints.fault(file):
                raise InputError(f'its network {file} {wrong}', where=path, do='Resume from another checkpoint')
    for name, expected in hashes.items():
        file = models / name
        if not file.is_file() or hash_file(file) != expected:
            what = f'its network {file} is {"damaged" if file.is_file() else "missing"}'
            raise InputError(what, where=path, do='Resume from another checkpoint')
    return state


def _check_kinds(state: Mapping[str, Any], path: Path) -> None:
    """Refuse a state whose parts are not of the kinds that a resume relies on."""
    own = state.get('mea')
    right = all(type(state[key]) is int for key in ('epoch', 'iter'))
    right = right and all(type(state[key]) is list for key in ('optimizers', 'schedulers'))
    if own is not None:
        right = right and isinstance(own, dict)
        kinds = {'seen': int, 'seed': int, 'validated': int, 'random': list, 'model': dict, RUN: str, 'files': dict}
        right = right and all(type(own[key]) is kind for key, kind in kinds.items() if key in own)
        names = own.get('files', {}) if right else ()
        right = right and all(type(name) is str and Path(name).name == name for name in names)
    if not right:
        raise InputError('is a damaged training state', where=path, do='Resume from another checkpoint')


def point_to_networks(opt: dict[str, Any], resumed: Resumed) -> None:
    """Let the model load the checkpoint's networks, as BasicSR's ``check_resume`` does.

    ``path.ignore_resume_networks`` is respected. BasicSR looks for them in the new run's folder; here they are those
    beside the state.
    """
    path = opt['path']
    ignored = path.get('ignore_resume_networks') or ()
    for network in [key for key in opt if key.startswith('network_') and key not in ignored]:
        label = network.removeprefix('network_')
        path[f'pretrain_network_{label}'] = str(resumed.models / f'net_{label}_{resumed.iteration}.pth')
    for key in [key for key, value in path.items() if key.startswith('param_key') and value == 'params_ema']:
        path[key] = 'params'


def restore(model: Any, resumed: Resumed, warn: Callable[[str], None]) -> None:
    """Put optimizers, schedulers and what else the model keeps back; its networks are loaded when it is built.

    Args:
        model: As built from the option file.
        resumed: The checkpoint. Its schedules of the learning rate go on, whatever the option file says by now.
        warn: Takes a word on each schedule that the option file has otherwise.

    Raises:
        InputError: The checkpoint is one of other optimizers or schedulers, or its schedule ends before the training.
    """
    planned = [_schedule(scheduler) for scheduler in model.schedulers]
    theirs = (resumed.extra or {}).get('optimizers')
    if theirs is not None and theirs != _names(model):
        saved = shortened(' and '.join(map(str, theirs)))[1:-1]
        raise InputError(
            f'was saved with {saved}, the option file has {" and ".join(_names(model))}',
            where=resumed.path,
            do='Resume with the option file that it was trained with',
        )
    with _fitting(resumed.path):
        model.resume_training(resumed.state)
    for scheduler, plan in zip(model.schedulers, planned, strict=True):
        check_reach(scheduler, model.opt['train'], where=f'{resumed.path}: its schedule')
        differing = [key for key, value in _schedule(scheduler).items() if plan.get(key) != value]
        if differing:
            warn(f'{resumed.path}: {", ".join(differing)} of its learning rate schedule stay, not those of the options')
    if resumed.extra and hasattr(model, 'load_training_state'):
        with _fitting(resumed.path):
            model.load_training_state(resumed.extra['model'])


@contextlib.contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Turn what a state does to optimizers and models that it does not fit into one line."""
    try:
        yield
    except (ValueError, LookupError, AssertionError, RuntimeError, TypeError, AttributeError) as error:
        reason = shortened(' '.join(str(error).split()))[1:-1]
        raise InputError(
            f'does not fit the optimizers or schedulers of the option file ({type(error).__name__}: {reason})',
            where=path,
            do='Resume with the option file that it was trained with',
        ) from error


def put_random_states_back(resumed: Resumed, rank: int, world: int, devices: list[int]) -> None:
    """Put the random states of a rank back, if the checkpoint is of as many.

    Raises:
        InputError: They are none.
    """
    states = (resumed.extra or {}).get('random') or []
    if len(states) == world:
        with _fitting(resumed.path):
            random_state.restore(states[rank], devices)


def _schedule(scheduler: Any) -> dict[str, Any]:
    """What the option file says of it, and not how far it has come."""
    moving = ('last_epoch', 'cumulative_period')
    return {k: v for k, v in scheduler.state_dict().items() if not k.startswith('_') and k not in moving}


def _names(model: Any) -> list[str]:
    """The optimizers in words: a checkpoint of one cannot be loaded into another."""
    names = []
    for optimizer in model.optimizers:
        base = getattr(optimizer, 'base_optimizer', None)
        names.append(type(optimizer).__name__ + (f'({type(base).__name__})' if base else ''))
    return names


def _weights(network: nn.Module) -> dict[str, Any]:
    return {key.removeprefix('module.'): value.cpu() for key, value in network.state_dict().items()}
