"""Going on from a checkpoint: which one, whether it is this run's, and everything in it put back."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper

from mea_plugin.core.errors import InputError
from mea_plugin.mmagic.run.state import KEY, bare_model, load_rest, optimizer_names, wrappers
from mea_plugin.toolboxes.mmagic_compat import with_log_history
from mea_plugin.training import checkpoints
from mea_plugin.training.agreement import by_all, by_first
from mea_plugin.training.run_identity import RUN, check_run, noted_run

__all__ = ['check_fits_anywhere', 'checkpoints_in', 'find_checkpoint', 'resume']

_START_ANEW = 'Resume from a checkpoint of this run, or start anew in another work folder'


def checkpoints_in(folder: Path, template: str) -> list[Path]:
    """The checkpoints of a folder, newest first.

    Args:
        folder: Perhaps not there.
        template: How they are named, with ``{}`` for the iteration.
    """
    head, tail = template.split('{}')
    pattern = re.compile(re.escape(head) + r'(\d+)' + re.escape(tail))
    paths = folder.iterdir() if folder.is_dir() else ()
    found = [(int(match[1]), path) for path in paths if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def find_checkpoint(runner: Any) -> Path | None:
    """The newest intact checkpoint of the work folder's run, on all ranks; each that is passed over is logged.

    Raises:
        InputError: There are some, and none is intact.
    """
    warn = runner.logger.warning

    def find() -> Path | None:
        hook = runner.checkpoint_hook
        paths, noted = checkpoints_in(hook.folder(runner), hook.filename_tmpl), _noted(Path(runner.work_dir))
        if not paths and noted:  # under another name, as MMEngine's own may be
            paths = [noted]
        for path in paths[: paths.index(noted)] if noted and noted in paths else ():
            if noted and path.stat().st_mtime_ns < noted.stat().st_mtime_ns:
                runner.logger.warning(f'{path} is passed over: {noted} is newer, so it is of an earlier run')
                paths.remove(path)
        run = noted_run(Path(runner.work_dir), warn)
        return checkpoints.newest_intact(paths, lambda path: check_run(_own(_read(path)), run), warn)

    return by_first(runner.ranks, find)


def _noted(folder: Path) -> Path | None:
    try:
        path = Path((folder / 'last_checkpoint').read_text().strip())
    except OSError:
        return None
    return path if path.is_file() else None


def resume(runner: Any, path: str | Path) -> str | None:
    """Put back what a checkpoint holds; until all of it has been looked at, nothing changes.

    Returns:
        Which run it is of, if it says.

    Raises:
        InputError: It cannot be read, was written by a newer version, or belongs to another network or optimizer.
    """
    state = by_all(runner.ranks, lambda: _read(path))
    by_all(runner.ranks, lambda: _check(runner, state, str(path)))
    own = state.get(KEY)
    _rename(runner, state)
    runner.call_hook('after_load_checkpoint', checkpoint=state)
    bare_model(runner).load_state_dict(state['state_dict'])
    loop = runner.train_loop
    loop._epoch, loop._iter = state['meta']['epoch'], state['meta']['iter']
    _take_seed(runner, state['meta'].get('seed') if own is None else own['seed'])
    runner.message_hub.load_state_dict(state['message_hub'])
    by_all(runner.ranks, lambda: _load_optimizers(runner, state, str(path)))
    _load_schedulers(runner, state)
    if own is None:
        runner.logger.warning(
            f'{path} was written by MMEngine alone. The run goes on from it, but not bit for bit: random states, pools '
            'of earlier fakes and step counters start anew, and data come in another order'
        )
    else:
        load_rest(runner, own)
        loop.take_up(own)
    runner.logger.info(f'resumed from {path} at iteration {loop.iter}')
    return (own or {}).get(RUN)


def check_fits_anywhere(runner: Any, state: Mapping[str, Any], path: str) -> None:
    """Refuse weights to start from of which the model can use none; MMEngine only warns.

    Raises:
        InputError: No weight has the name and shape of one of the model's.
    """
    loaded = _plain_names(state.get('state_dict', state))
    own = _plain_names(bare_model(runner).state_dict())
    if not any(name in own and own[name].shape == getattr(value, 'shape', None) for name, value in loaded.items()):
        raise InputError(
            f'holds no weight of {type(bare_model(runner)).__name__}', where=path, do='Check load_from and model'
        )


def _read(path: str | Path) -> dict[str, Any]:
    """A checkpoint, read without executing code in it."""
    state: dict[str, Any] = with_log_history(checkpoints.read(path))
    return state


def _own(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    own = state.get(KEY)
    return own if isinstance(own, Mapping) else None


def _check(runner: Any, state: Mapping[str, Any], path: str) -> None:
    own = state.get(KEY)
    if own is not None:
        checkpoints.check_version(own.get('version'), path)
    if missing := sorted({'meta', 'state_dict', 'message_hub', 'optimizer'} - set(state)):
        raise InputError(f'holds no {missing[0]}, so it is no training state', where=path, do=_START_ANEW)
    _check_network(_plain_names(state['state_dict']), _plain_names(bare_model(runner).state_dict()), path)
    if 'ema_state_dict' in state and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        raise InputError('was written with EMAHook, and this run has none', where=path, do='Add it to custom_hooks')
    _check_optimizers(runner, state, path)
    schedulers, here = state.get('param_schedulers') or [], runner.param_schedulers or []
    if _lengths(schedulers) != _lengths(here):
        raise InputError('was written with other parameter schedulers', where=path, do=_START_ANEW)


def _check_network(loaded: Mapping[str, Any], own: Mapping[str, Any], path: str) -> None:
    for name in [*own, *loaded]:
        if name not in loaded or name not in own:
            what = f'has no weight {name}' if name in own else f'has a weight {name} that this model has not'
        elif loaded[name].shape != own[name].shape:
            what = f'has {name} in the shape {tuple(loaded[name].shape)}, and this model in {tuple(own[name].shape)}'
        else:
            continue
        raise InputError(f'is of another network: it {what}', where=path, do=_START_ANEW)


def _check_optimizers(runner: Any, state: Mapping[str, Any], path: str) -> None:
    here = wrappers(runner)
    saved = {name: state['optimizer'].get(name) for name in here} if '' not in here else {'': state['optimizer']}
    names = (state.get(KEY) or {}).get('optimizers')
    for name, wrapper in here.items():
        before = saved[name]
        if not isinstance(before, Mapping) or 'param_groups' not in before:
            raise InputError(f'holds no optimizer of {name or "the model"}', where=path, do=_START_ANEW)
        now = optimizer_names(wrapper)
        if names is not None:
            differ = names.get(name) != now
        else:  # MMEngine notes no names: go by what tells torch's optimizers apart
            groups = (before['param_groups'][0], wrapper.optimizer.param_groups[0])
            differ = any((key in groups[0]) != (key in groups[1]) for key in ('betas', 'momentum', 'rho'))
        if differ:
            whose = f' for {name}' if name else ''
            other = ' with '.join(names[name]) if names and names.get(name) else 'another optimizer'
            raise InputError(
                f'was written with {other}{whose}, here is {" with ".join(now)}', where=path, do=_START_ANEW
            )


def _load_optimizers(runner: Any, state: Mapping[str, Any], path: str) -> None:
    for name, wrapper in wrappers(runner).items():
        _load_optimizer(wrapper, state['optimizer'][name] if name else state['optimizer'], path)


def _load_optimizer(wrapper: OptimWrapper, state: dict[str, Any], path: str) -> None:
    state = dict(state)
    if not state.get('loss_scaler', True):  # of a precision that needs none
        del state['loss_scaler']
    try:
        wrapper.load_state_dict(state)
    except (ValueError, KeyError, RuntimeError) as error:
        reason = ' '.join(str(error).split())
        raise InputError(f"holds another optimizer's state ({reason})", where=path, do=_START_ANEW) from error


def _load_schedulers(runner: Any, state: Mapping[str, Any]) -> None:
    saved, here = state.get('param_schedulers') or [], runner.param_schedulers or []
    pairs = [(saved, here)] if isinstance(saved, list) else [(saved[name], here[name]) for name in here]
    for states, schedulers in pairs:
        for own, scheduler in zip(states, schedulers, strict=True):
            scheduler.load_state_dict({key: _like(value, vars(scheduler).get(key)) for key, value in own.items()})


def _like(value: Any, example: Any) -> Any:
    """A dict as the class of dict that it was before it was saved."""
    return type(example)(value) if isinstance(value, dict) and isinstance(example, dict) else value


def _lengths(schedulers: Any) -> Any:
    if isinstance(schedulers, Mapping):
        return {name: len(own) for name, own in schedulers.items()}
    return len(schedulers)


def _take_seed(runner: Any, seed: int | None) -> None:
    """The run's seed is the checkpoint's."""
    if seed is None or seed == runner.seed:
        return
    if runner._randomness_cfg.get('seed') is not None:
        runner.logger.warning(f'the seed is {seed}, as in the checkpoint, and not {runner.seed}')
    runner._randomness_cfg.update(seed=seed)
    runner.set_randomness(**runner._randomness_cfg)


def _plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights by their names without those of distributed wrappers around single networks."""
    return {key.removeprefix('module.').replace('.module.', '.'): value for key, value in state.items()}


def _rename(runner: Any, state: dict[str, Any]) -> None:
    """Let the weights have the names of this run's model: with or without distributed wrappers in them."""
    own = list(bare_model(runner).state_dict())
    weights = state['state_dict']
    loaded = _plain_names(weights)
    state['state_dict'] = OrderedDict(zip(own, (loaded[key] for key in _plain_names(dict.fromkeys(own))), strict=True))
    if hasattr(weights, '_metadata'):
        state['state_dict']._metadata = weights._metadata
    if 'ema_state_dict' in state:
        average = state['ema_state_dict']
        within = {key.removeprefix('module.'): value for key, value in average.items() if key.startswith('module.')}
        within = _plain_names(within)
        rest = {key: value for key, value in average.items() if not key.startswith('module.')}
        named = {f'module.{key}': within[name] for key, name in zip(own, _plain_names(dict.fromkeys(own)), strict=True)}
        state['ema_state_dict'] = OrderedDict({**named, **rest})
