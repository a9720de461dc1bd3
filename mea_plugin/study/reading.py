"""Reads the option file of a study: every section by itself, then what they say of each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, check_number, check_section, load_options, require
from mea_plugin.evaluation.options import MeasureOptions
from mea_plugin.query.options import check_name, section
from mea_plugin.study.consistency import check_consistent
from mea_plugin.study.data_root import place_data
from mea_plugin.study.options import Comparison, ImageSource, Method, StudyOptions, Tuning, VictimOptions

__all__ = ['load_study']

_PICKS = ('busiest', 'smoothest')
_KEYS = (
    'name',
    'output',
    'results',
    'reuse',
    'victims',
    'queries',
    'budgets',
    'defences',
    'surrogates',
    'methods',
    'seeds',
    'exclude',
    'test_sets',
    'metrics',
    'weights',
    'comparisons',
    'tuning',
)


def load_study(path: str | Path, *, data: Path | None = None, output: Path | None = None) -> StudyOptions:
    """Read a study's option file.

    Args:
        path: The file.
        data: The folder that stands for ``datasets`` in sources of images.
        output: Instead of the folder that the file names; results then go below it, too.

    Raises:
        InputError: An option is missing, unknown, of the wrong kind, or names something that there is not.
    """
    where = str(path)
    options = load_options(path)
    check_keys(options, _KEYS, where)
    content = dict(options)
    options = place_data(options, data) if data else options
    name = check_name(require(options, 'name', where), f'{where}: name')
    folder = output or Path(str(options.get('output') or Path('results') / 'study' / name))
    results = folder / 'results' if output or not options.get('results') else Path(str(options['results']))
    study = StudyOptions(
        name=name,
        output=folder,
        results=results,
        reuse=_folders(options.get('reuse') or [], f'{where}: reuse'),
        victims={key: _victim(value, at) for key, value, at in _named(options, 'victims', where)},
        queries={key: _source(value, at, may_pick=True) for key, value, at in _named(options, 'queries', where)},
        budgets=_numbers(options, 'budgets', where, least=1),
        defences=_defences(options, where),
        surrogates={key: dict(check_section(value, at)) for key, value, at in _named(options, 'surrogates', where)},
        methods={key: _method(value, at) for key, value, at in _named(options, 'methods', where)},
        seeds=_numbers(options, 'seeds', where, least=0),
        exclude=tuple(_list(options.get('exclude') or [], f'{where}: exclude')),
        test_sets=_list(require(options, 'test_sets', where), f'{where}: test_sets'),
        measure=MeasureOptions.parse({k: options[k] for k in ('metrics', 'weights') if k in options}, where, []),
        comparisons=tuple(_comparisons(options, where)),
        tuning=_tuning(options.get('tuning'), f'{where}: tuning'),
        where=where,
        content=content,
    )
    check_consistent(study)
    return study


def _named(options: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Any, str]]:
    """The entries of a section: name, value, and where they stand. Dots would be taken for parts of a cell's name."""
    found = []
    for name, value in section(options, key, where).items():
        checked = check_name(name, f'{where}: {key}')
        if '.' in checked:
            raise InputError(f"'{checked}' has a dot", where=f'{where}: {key}', do='Use letters, digits, _ -')
        found.append((checked, value, f'{where}: {key}.{checked}'))
    return found


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f'expected a list, got {value!r}', where=where, do='Write - lines below it')
    return value


def _folders(value: Any, where: str) -> tuple[Path, ...]:
    folders = [Path(str(one)) for one in _list(value, where)]
    for folder in folders:
        if not (folder / 'cells').is_dir():
            raise InputError(f'{folder} has no cells', where=where, do='Name the results folders of other studies')
    return tuple(folders)


def _numbers(options: Mapping[str, Any], key: str, where: str, *, least: int) -> tuple[int, ...]:
    values = _list(require(options, key, where), f'{where}: {key}')
    for value in values:
        check_number({key: value}, key, where, least=least, most=2**31)
    if not values or len(set(values)) != len(values):
        raise InputError(f'{key} is {values}', where=f'{where}: {key}', do='Give one or more, each once')
    return tuple(int(value) for value in values)


def _victim(value: Any, where: str) -> VictimOptions:
    check_keys(value, ('victim', 'trained_on'), where)
    trained = value.get('trained_on')
    return VictimOptions(
        dict(section(value, 'victim', where)), None if trained is None else _source(trained, f'{where}.trained_on')
    )


def _source(value: Any, where: str, *, may_pick: bool = False) -> ImageSource:
    check_keys(value, ('images', 'shrink', *(('pick', 'share') if may_pick else ())), where)
    images = require(value, 'images', where)
    if not isinstance(images, str) and not (isinstance(images, list) and all(isinstance(one, str) for one in images)):
        raise InputError(f'images is {images!r}', where=where, do='Give a folder, a glob, an LMDB, or a list of these')
    check_number(value, 'shrink', where, least=1, optional=True)
    pick = value.get('pick')
    if pick not in (None, *_PICKS):
        raise InputError(f'pick is {pick!r}', where=where, do=suggestion(str(pick), _PICKS))
    if pick is None and value.get('share') is not None:
        raise InputError('share goes with pick', where=where, do=f'Add pick: {" or ".join(_PICKS)}')
    check_number(value, 'share', where, least=0.001, most=1, whole=False, optional=True)
    return ImageSource(images, int(value.get('shrink') or 1), pick, float(value.get('share') or 0.25))


def _method(value: Any, where: str, *, is_trial: bool = False) -> Method:
    keys = ('override', 'surrogates', 'length') + (() if is_trial else ('base', 'attack', 'trials'))
    value = {} if value is None else value
    check_keys(value, keys, where)
    check_number(value, 'length', where, least=0.001, most=1000, whole=False, optional=True)
    trials = check_section(value.get('trials') or {}, f'{where}.trials')
    if trials and value.get('base') is not None:
        raise InputError('a method with a base has no trials of its own', where=where, do='Remove one of the two')
    return Method(
        override=dict(check_section(value.get('override') or {}, f'{where}.override')),
        surrogates={
            str(key): dict(check_section(one, f'{where}.surrogates.{key}'))
            for key, one in check_section(value.get('surrogates') or {}, f'{where}.surrogates').items()
        },
        length=float(value.get('length') or 1),
        base=value.get('base'),
        attack=_attack(value.get('attack'), f'{where}.attack'),
        trials={
            check_name(key, f'{where}.trials').replace('.', '_'): _method(one, f'{where}.trials.{key}', is_trial=True)
            for key, one in trials.items()
        },
    )


def _attack(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    check_keys(value, ('repeats', 'denoise', 'knows'), where)
    if not isinstance(value.get('knows', False), bool):
        raise InputError(f'knows is {value["knows"]!r}', where=where, do='Write true or false')
    check_number(value, 'repeats', where, least=1, most=1000, optional=True)
    check_number(value, 'denoise', where, most=100, whole=False, optional=True)
    return {key: one for key, one in value.items() if one is not None}


def _defences(options: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    """By name; one of them is empty, so that there is something to compare with."""
    if options.get('defences') is None:
        return {}
    found = {key: _list(value, at) for key, value, at in _named(options, 'defences', where)}
    if not any(not defences for defences in found.values()):
        raise InputError('every one is a defence', where=f'{where}: defences', do='Add none: []')
    return found


def _comparisons(options: Mapping[str, Any], where: str) -> list[Comparison]:
    """Those of the file; without any, every method is compared with the first."""
    first, *others = options['methods']
    if options.get('comparisons') is None:
        return [Comparison(str(one), str(one), str(first)) for one in others]
    found = []
    for index, one in enumerate(_list(options['comparisons'], f'{where}: comparisons')):
        at = f'{where}: comparisons[{index}]'
        check_keys(one, ('name', 'method', 'against', 'note', 'at'), at)
        method, against = (str(require(one, key, at)) for key in ('method', 'against'))
        for method_name in (method, against):
            if method_name not in options['methods']:
                do = suggestion(method_name, map(str, options['methods']))
                raise InputError(f"no method '{method_name}'", where=at, do=do)
        if one.get('at', 'iterations') not in ('iterations', 'time'):
            raise InputError(f'at is {one["at"]!r}', where=at, do='Write iterations or time')
        name = str(one.get('name') or f'{method} against {against}')
        found.append(Comparison(name, method, against, str(one.get('note') or ''), one.get('at', 'iterations')))
    return found


def _tuning(value: Any, where: str) -> Tuning | None:
    if value is None:
        return None
    check_keys(value, ('test_sets', 'seeds', 'victims', 'queries', 'budgets', 'defences'), where)
    axes = {}
    for plural, axis in (
        *(('victims', 'victim'), ('queries', 'queries'), ('budgets', 'budget'), ('defences', 'defence')),
    ):
        if value.get(plural) is not None:
            axes[axis] = tuple(_list(value[plural], f'{where}.{plural}'))
    test_sets = _list(require(value, 'test_sets', where), f'{where}.test_sets')
    return Tuning(test_sets, _numbers(value, 'seeds', where, least=0), axes)
