"""Whether the sections of a study's option file fit each other."""

from __future__ import annotations

from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.study.options import StudyFile

__all__ = ['check_consistent']

_PLURALS = {'victim': 'victims', 'budget': 'budgets', 'defence': 'defences'}


def check_consistent(study: StudyFile) -> None:
    """Check names that the file mentions, metrics, and that methods that are compared were tuned alike.

    Raises:
        InputError: The first thing found that does not fit.
    """
    _check_names(study)
    _check_trials(study)
    _check_metrics(study)


def _check_names(study: StudyFile) -> None:
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
        for axis, values in one.axes.items():
            for each in values:
                _check_known(each, known[axis], axis, f'{study.where}: exclude[{index}].{axis}')
    for name, method in study.methods.items():
        where = f'{study.where}: methods.{name}'
        if method.base is not None:
            _check_known(method.base, known['method'], 'method', f'{where}.base')
            study.chain(name)
        for part in (method, *method.trials.values()):
            for surrogate in part.surrogates:
                _check_known(surrogate, known['surrogate'], 'surrogate', f'{where}.surrogates')
    for index, pair in enumerate(study.comparisons):
        for role in ('method', 'against'):
            _check_known(getattr(pair, role), known['method'], 'method', f'{study.where}: comparisons[{index}].{role}')
    for axis, values in (study.tuning.axes if study.tuning else {}).items():
        for each in values:
            _check_known(each, known[axis], axis, f'{study.where}: tuning.{_PLURALS.get(axis, axis)}')


def _check_known(value: Any, known: list[Any], axis: str, where: str) -> None:
    if value not in known:
        raise InputError(f'no {axis} {value!r}', where=where, do=suggestion(str(value), list(map(str, known))))


def _check_metrics(study: StudyFile) -> None:
    """Methods are compared image by image, and in numbers that can be had here."""
    where = f'{study.where}: metrics'
    for metric in study.measured:
        if metric.kind != 'pair':
            raise InputError(f'{metric.name} has no value per image', where=where, do='Use metrics such as psnr_rgb')
        if metric.missing:
            raise InputError(f'{metric.name} cannot be computed here ({metric.missing})', where=where, do='Remove it')


def _check_trials(study: StudyFile) -> None:
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
