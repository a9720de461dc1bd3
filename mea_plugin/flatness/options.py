"""The option file of a flatness measurement, checked and completed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, check_number, require
from mea_plugin.flatness.criterion import Criterion
from mea_plugin.flatness.runs import Run, read_runs
from mea_plugin.query.options import check_name

__all__ = ['FlatnessOptions', 'radius_key']

_KEYS = (
    *('name', 'output', 'queries', 'samples', 'crop', 'batch_size', 'seed', 'device', 'mode', 'loss', 'runs'),
    *('sharpness', 'hessian', 'landscape'),
)
_MODES = ('eval', 'train')
_LARGEST_SEED = 2**32 - 1  # torch takes more, but a few are counted on from it
_DEFAULTS: dict[str, Any] = {'samples': 32, 'crop': 32, 'batch_size': 4, 'seed': 0, 'device': 'auto', 'mode': 'eval'}
_SHARPNESS = {'radii': [0.01, 0.05], 'steps': 10, 'adaptive': False}
_HESSIAN = {'iterations': 100, 'tolerance': 1e-2, 'probes': 32}
_LANDSCAPE: dict[str, Any] = {'line': {'extent': 1.0, 'points': 21}, 'plane': {'extent': 1.0, 'points': 11}}


@dataclass(frozen=True)
class FlatnessOptions:
    """A checked option file.

    Attributes:
        name: Of the measurement.
        queries: The query set's folder.
        runs: What is measured.
        criterion: The loss.
        samples: How many crops it is taken over.
        crop: Their height and width, in pixels of the query.
        batch_size: Crops that go through a network together.
        seed: Of the crops and of everything random.
        mode: Of the networks, ``eval`` or ``train``.
        sharpness: ``radii``, ``steps`` and ``adaptive``; None leaves it out.
        hessian: ``iterations``, ``tolerance`` and ``probes``; None leaves it out.
        landscape: ``line`` and ``plane``, each ``extent`` and ``points`` or None; None leaves both out.
        where: The file, for errors.
    """

    name: str
    queries: Path
    runs: list[Run]
    criterion: Criterion
    samples: int
    crop: int
    batch_size: int
    seed: int
    mode: str
    sharpness: dict[str, Any] | None
    hessian: dict[str, Any] | None
    landscape: dict[str, Any] | None
    where: str = ''

    @classmethod
    def parse(cls, options: Mapping[str, Any], where: str = '') -> FlatnessOptions:
        """Check the options of a file.

        Raises:
            InputError: One is missing, unknown or out of range, or a run has no checkpoint.
        """
        prefix = f'{where}: ' if where else ''
        check_keys(options, _KEYS, where or 'options')
        name = check_name(require(options, 'name', where), where)
        usual = {**_DEFAULTS, **{key: options[key] for key in _DEFAULTS if options.get(key) is not None}}
        for key in ('samples', 'crop', 'batch_size'):
            check_number(usual, key, where, least=1)
        check_number(usual, 'seed', where, most=_LARGEST_SEED)
        if usual['mode'] not in _MODES:
            raise InputError(f'mode is {usual["mode"]!r}', where=where, do=suggestion(str(usual['mode']), _MODES))
        sharpness = _sharpness(_section(options, 'sharpness', _SHARPNESS, prefix), f'{prefix}sharpness')
        hessian = _hessian(_section(options, 'hessian', _HESSIAN, prefix), f'{prefix}hessian')
        landscape = _landscape(_section(options, 'landscape', _LANDSCAPE, prefix), f'{prefix}landscape')
        return cls(
            name=name,
            queries=Path(str(require(options, 'queries', where))).expanduser(),
            criterion=Criterion.from_options(options.get('loss') or {}, f'{prefix}loss'),
            runs=read_runs(require(options, 'runs', where), str(usual['device']), f'{prefix}runs'),
            samples=int(usual['samples']),
            crop=int(usual['crop']),
            batch_size=int(usual['batch_size']),
            seed=int(usual['seed']),
            mode=str(usual['mode']),
            sharpness=sharpness,
            hessian=hessian,
            landscape=landscape,
            where=where,
        )


def radius_key(radius: float) -> str:
    """A radius as a JSON file's key."""
    return f'{radius:g}'


def _section(options: Mapping[str, Any], key: str, defaults: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    """Defaults where it is not there, with what it says laid over them where it is; None for ``~`` or ``false``."""
    value = options.get(key, {})
    if value is None or value is False:
        return None
    check_keys(value, defaults, f'{prefix}{key}')
    return {**defaults, **value}


def _sharpness(options: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    if options is None:
        return None
    radii = options['radii']
    if not isinstance(radii, list) or not radii:
        raise InputError(f'radii is {radii!r}', where=where, do='Give a list, for example [0.01, 0.05]')
    for radius in radii:
        number = isinstance(radius, int | float) and not isinstance(radius, bool)
        if not number or not 0 < radius <= sys.float_info.max:
            raise InputError(f'{radius!r} is no radius', where=f'{where}.radii', do='Give numbers above 0')
    if len({radius_key(radius) for radius in radii}) < len(radii):
        raise InputError(f'a radius stands twice in {radii}', where=f'{where}.radii', do='Remove one')
    check_number(options, 'steps', where)
    if not isinstance(options['adaptive'], bool):
        raise InputError(f'adaptive is {options["adaptive"]!r}', where=where, do='Write true or false')
    return {**options, 'radii': sorted(float(radius) for radius in radii), 'steps': int(options['steps'])}


def _hessian(options: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    if options is None:
        return None
    for key in ('iterations', 'probes'):
        check_number(options, key, where, least=1)
    check_number(options, 'tolerance', where, whole=False)
    return {key: int(options[key]) for key in ('iterations', 'probes')} | {'tolerance': float(options['tolerance'])}


def _landscape(options: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    if options is None:
        return None
    checked = {key: _grid(options, key, where) for key in _LANDSCAPE}
    return checked if any(checked.values()) else None


def _grid(options: dict[str, Any], key: str, where: str) -> dict[str, Any] | None:
    grid = _section(options, key, _LANDSCAPE[key], f'{where}.')
    if grid is None:
        return None
    at = f'{where}.{key}'
    check_number(grid, 'points', at, least=3)
    if grid['points'] % 2 == 0:
        raise InputError(f'points is {grid["points"]}', where=at, do='Give an odd number: the one in the middle is 0')
    check_number(grid, 'extent', at, whole=False)
    if grid['extent'] == 0:
        raise InputError('extent is 0', where=at, do='Give a number above 0')
    return {'extent': float(grid['extent']), 'points': int(grid['points'])}
