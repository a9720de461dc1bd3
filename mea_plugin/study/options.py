"""The option file of a study, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.errors import InputError, suggestion
from mea_plugin.evaluation.options import MeasureOptions
from mea_plugin.options import check_keys, check_number, check_section, load_options, require
from mea_plugin.query.options import check_name, section
from mea_plugin.study.placing import place_data

__all__ = ['AXES', 'Comparison', 'ImageSource', 'Method', 'StudyOptions', 'Tuning', 'VictimOptions', 'load_study']

AXES = ('victim', 'surrogate', 'queries', 'budget', 'defence', 'method', 'seed')
"""What a cell is a point of."""

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


@dataclass(frozen=True)
class ImageSource:
    """Images, and by which factor they are shrunk (MATLAB's bicubic) before they are queries.

    Attributes:
        images: A folder, a glob, or several.
        shrink: The factor.
        pick: Ask only about those with the most detail (``busiest``) or the least (``smoothest``).
        share: How many of all these are.
    """

    images: str | list[str]
    shrink: int = 1
    pick: str | None = None
    share: float = 0.25


@dataclass(frozen=True)
class VictimOptions:
    """A victim, and the images that it was trained on, as far as they are known: only for the domain distance."""

    victim: dict[str, Any]
    trained_on: ImageSource | None = None


@dataclass(frozen=True)
class Method:
    """How surrogates are trained: what is laid over their option files.

    Attributes:
        override: For all surrogates.
        surrogates: By surrogate, laid over that.
        length: Factor on the iterations.
        base: The method that this one is laid over, with what tuning chose for it.
        attack: How the attacker adapts to defences: ``repeats`` and ``denoise`` of
            :class:`~mea_plugin.defences.attack.AdaptedVictim`, and ``knows``: their options, so that those with an
            inverse are undone, and training goes through others (:mod:`mea_plugin.defences.known`).
        trials: Candidates of the tuning, by name.
    """

    override: dict[str, Any] = field(default_factory=dict)
    surrogates: dict[str, dict[str, Any]] = field(default_factory=dict)
    length: float = 1
    base: str | None = None
    attack: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, Method] = field(default_factory=dict)

    def overrides(self, surrogate: str) -> list[dict[str, Any]]:
        """What is laid over one surrogate's options, in this order."""
        return [one for one in (self.override, self.surrogates.get(surrogate)) if one]


@dataclass(frozen=True)
class Comparison:
    """One method against another.

    Attributes:
        name: How tables call it.
        method: The one that is judged.
        against: The other.
        note: What differs between the two, and what does not.
        at: Whether they had equal ``iterations`` or equal ``time``.
    """

    name: str
    method: str
    against: str
    note: str = ''
    at: str = 'iterations'


@dataclass(frozen=True)
class Tuning:
    """Where trials are judged: on test sets and seeds that no table uses.

    Attributes:
        test_sets: As those of the study.
        seeds: None of them the study's.
        axes: Values of ``victim``, ``queries`` and ``budget`` that trials are run at.
    """

    test_sets: list[Any]
    seeds: tuple[int, ...]
    axes: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class StudyOptions:
    """A checked option file; see docs/studies.md."""

    name: str
    output: Path
    results: Path
    reuse: tuple[Path, ...]
    victims: dict[str, VictimOptions]
    queries: dict[str, ImageSource]
    budgets: tuple[int, ...]
    defences: dict[str, list[Any]]
    surrogates: dict[str, dict[str, Any]]
    methods: dict[str, Method]
    seeds: tuple[int, ...]
    exclude: tuple[dict[str, Any], ...]
    test_sets: list[Any]
    measure: MeasureOptions
    comparisons: tuple[Comparison, ...]
    tuning: Tuning | None
    where: str
    content: dict[str, Any]

    @property
    def undefended(self) -> str:
        """The name of the empty list of defences; nothing without the axis."""
        return next((name for name, defences in self.defences.items() if not defences), '')

    def attack(self, method: str) -> dict[str, Any]:
        """How a method takes answers: what the methods that it is laid over say, and then its own."""
        return {key: value for name in self.chain(method) for key, value in self.methods[name].attack.items()}

    def unadapted(self, method: str) -> str:
        """What a method would be without defences: what it is laid over without ``attack``, else itself."""
        plain = [name for name in self.chain(method) if not self.attack(name)]
        return plain[-1] if plain else method

    def chain(self, method: str) -> list[str]:
        """A method and what it is laid over, the first one first.

        Raises:
            InputError: It is laid over itself.
        """
        names = [method]
        while (base := self.methods[names[-1]].base) is not None:
            if base in names:
                where = f'{self.where}: methods.{method}.base'
                raise InputError('the method is based on itself', where=where, do='Remove that')
            names.append(base)
        return names[::-1]


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
    _check_names(study)
    _check_trials(study)
    _check_metrics(study)
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


def _check_names(study: StudyOptions) -> None:
    """Every name that the file mentions is one that it defines."""
    known: dict[str, list[Any]] = {
        'victim': list(study.victims),
        'surrogate': list(study.surrogates),
        'queries': list(study.queries),
        'budget': list(study.budgets),
        'defence': list(study.defences),
        'method': list(study.methods),
        'seed': list(study.seeds),
    }
    for index, one in enumerate(study.exclude):
        where = f'{study.where}: exclude[{index}]'
        check_keys(one, AXES, where)
        for axis, value in one.items():
            for each in value if isinstance(value, list) else [value]:
                _check_known(each, known[axis], axis, where)
    for name, method in study.methods.items():
        where = f'{study.where}: methods.{name}'
        if method.base is not None:
            _check_known(method.base, known['method'], 'method', f'{where}.base')
            study.chain(name)
        for part in (method, *method.trials.values()):
            for surrogate in part.surrogates:
                _check_known(surrogate, known['surrogate'], 'surrogate', f'{where}.surrogates')
    for axis, values in (study.tuning.axes if study.tuning else {}).items():
        for each in values:
            _check_known(each, known[axis], axis, f'{study.where}: tuning')


def _check_known(value: Any, known: list[Any], axis: str, where: str) -> None:
    if value not in known:
        raise InputError(f'no {axis} {value!r}', where=where, do=suggestion(str(value), list(map(str, known))))


def _check_metrics(study: StudyOptions) -> None:
    """Methods are compared image by image, and in numbers that can be had here."""
    where = f'{study.where}: metrics'
    for metric in study.measure.metrics:
        if metric.kind != 'pair':
            raise InputError(f'{metric.name} has no value per image', where=where, do='Use metrics such as psnr_rgb')
        if metric.missing:
            raise InputError(f'{metric.name} cannot be computed here ({metric.missing})', where=where, do='Remove it')


def _check_trials(study: StudyOptions) -> None:
    """Methods that are compared were tuned with the same number of trials."""
    counts = {name: len(study.methods[study.chain(name)[0]].trials) for name in study.methods}
    if any(counts.values()) and study.tuning is None:
        raise InputError('there are trials, but no tuning', where=study.where, do='Add tuning: test_sets and seeds')
    if study.tuning and (shared := set(study.tuning.seeds) & set(study.seeds)):
        raise InputError(
            f'seed {min(shared)} is one of the study, too', where=f'{study.where}: tuning.seeds', do='Use others'
        )
    for one in study.comparisons:
        if counts[one.method] != counts[one.against]:
            raise InputError(
                f'{one.method} has {counts[one.method]} trials, {one.against} has {counts[one.against]}',
                where=f'{study.where}: comparisons, {one.name}',
                do='Tune both with the same number of trials',
            )
