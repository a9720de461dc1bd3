"""Check that a term's schedule ``lr`` means something: the learning rate must fall during the run, and not rise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import PARAM_SCHEDULERS

from mea_plugin.core.errors import InputError
from mea_plugin.mmagic.models.objective import terms_of
from mea_plugin.toolboxes.mmagic_networks import find_type

__all__ = ['check_schedule']

_WARMING = ('OneCycleLR', 'OneCycleParamScheduler')
_STEPWISE = {'StepLR': 'step_size', 'MultiStepLR': 'milestones'}


def check_schedule(cfg: Any, where: str) -> None:
    """Check a config with a loss term that follows the learning rate; without one, nothing.

    Args:
        cfg: The whole config.
        where: The file, for errors.

    Raises:
        InputError: No scheduler lowers the learning rate within the run, or one raises it.
    """
    schedulers = _schedulers(cfg, where)
    following = [one for one in terms_of(cfg['model'], where=f'{where}: model') if one.schedule == 'lr']
    if not following:
        return
    where = following[0].schedule_at
    iterations = cfg['train_cfg'].get('max_iters')
    falls = [_falls(name, one, iterations, where) for name, one in schedulers]
    if not any(falls):
        raise InputError(
            "no scheduler lowers the learning rate, so the term's weight would stay 0 with 'lr'",
            where=where,
            do="Add param_scheduler=dict(type='CosineAnnealingLR', ...), or use 'constant'",
        )


def _schedulers(cfg: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The generator's schedulers of the learning rate, with their classes' names as if they were ``...LR``."""
    where = f'{where}: param_scheduler'
    section = cfg.get('param_scheduler') or []
    schedulers = list(section) if isinstance(section, list | tuple) else [section]
    if len(schedulers) == 1 and isinstance(schedulers[0], Mapping) and 'type' not in schedulers[0]:
        own = schedulers[0].get('generators') or schedulers[0].get('generator') or []
        schedulers = list(own) if isinstance(own, list | tuple) else [own]
    found = []
    for one in schedulers:
        if not isinstance(one, Mapping) or 'type' not in one:
            raise InputError(f'expected a scheduler with a type, got {one!r}', where=where, do="Write dict(type='...')")
        kind = find_type(PARAM_SCHEDULERS, one['type'], f'{where}.type')
        name = getattr(kind, '__name__', str(kind)).replace('ParamScheduler', 'LR')
        if one.get('param_name', 'lr') == 'lr' and not name.endswith('Momentum'):
            found.append((name, one))
    return found


def _falls(name: str, options: Mapping[str, Any], iterations: int | None, where: str) -> bool:
    """Whether a scheduler lowers the learning rate within the run; one that is not known here is trusted to."""
    if name in _WARMING:
        raise InputError("'lr' cannot follow a warm-up", where=where, do=f'Remove {name}, or use constant')
    if name in ('LinearLR', 'ConstantLR', 'LinearLrInterval'):
        start = options.get('start_factor', options.get('factor', 1 / 3))
        end = options.get('end_factor', 1.0)
        if start < end:
            raise InputError("'lr' cannot follow a warm-up", where=where, do=f'Remove {name}, or use constant')
        return bool(end < start)
    if iterations is None or options.get('by_epoch', True):
        return _gamma_falls(name, options)
    if name == 'CosineAnnealingLR' and options.get('T_max', iterations) < iterations:
        raise InputError(
            f'CosineAnnealingLR has T_max {options["T_max"]}, and after so many of the {iterations} iterations the '
            'learning rate rises again',
            where=where,
            do='Set T_max to max_iters',
        )
    if name in _STEPWISE:
        first = options.get(_STEPWISE[name])
        first = min(first) if isinstance(first, list | tuple) and first else first
        if isinstance(first, int) and first >= iterations:
            return False
    return _gamma_falls(name, options)


def _gamma_falls(name: str, options: Mapping[str, Any]) -> bool:
    return name not in (*_STEPWISE, 'ExponentialLR') or bool(options.get('gamma', 0.1) < 1)
