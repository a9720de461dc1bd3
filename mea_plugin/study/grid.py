"""The cells of a study: which there are, in which order, and what each is called."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.defences.known import imitated_entries
from mea_plugin.study.options import AXES, StudyFile

__all__ = ['Cell', 'draw', 'naming', 'study_cells', 'surrogate_section', 'trial_cells']


@dataclass(frozen=True)
class Cell:
    """One extraction: a point of the grid, or a trial of the tuning.

    Attributes:
        victim: Names and numbers of the option file.
        surrogate: Likewise.
        queries: Likewise.
        budget: How many images are asked about.
        method: Likewise.
        seed: Of the draw of images and of the training.
        trial: The candidate, in a trial.
        defence: Of the victim's answers; empty in a study without that axis.
    """

    victim: str
    surrogate: str
    queries: str
    budget: int
    method: str
    seed: int
    trial: str | None = None
    defence: str = ''

    @property
    def id(self) -> str:
        """A name that can be a file's."""
        trial = f'.trial-{self.trial}' if self.trial else ''
        asked = f'{self.queries}-{self.budget}' + (f'.{self.defence}' if self.defence else '')
        return f'{self.victim}.{self.surrogate}.{asked}.{self.method}.s{self.seed}{trial}'

    @property
    def axes(self) -> dict[str, Any]:
        """Names and numbers by axis."""
        found = {axis: getattr(self, axis) for axis in AXES}
        return found if self.defence else {axis: value for axis, value in found.items() if axis != 'defence'}


@contextmanager
def naming(study: StudyFile, cell: Cell) -> Iterator[None]:
    """Let an error that is raised inside name the cell that cannot run."""
    try:
        yield
    except InputError as error:
        if cell.id in error.where or cell.id in error.what:
            raise
        place = f'{error.where}: ' if error.where else ''
        raise InputError(f'cell {cell.id}: {place}{error.what}', where=study.where, do=error.do) from None


def study_cells(study: StudyFile) -> list[Cell]:
    """All cells of the tables, seed by seed, so that a study that is stopped early has all methods.

    Raises:
        InputError: ``exclude`` leaves none.
    """
    defences = study.defences or ['']
    order = (study.seeds, study.victims, study.surrogates, study.queries, study.budgets, defences, study.methods)
    cells = [
        Cell(victim, surrogate, queries, budget, method, seed, defence=defence)
        for seed, victim, surrogate, queries, budget, defence, method in itertools.product(*order)
    ]
    kept = [cell for cell in cells if not any(_is_at(cell, one.axes) for one in study.exclude)]
    if not kept:
        raise InputError('no cell is left', where=f'{study.where}: exclude', do='Exclude less')
    return kept


def trial_cells(study: StudyFile) -> list[Cell]:
    """All trials: each candidate of each method at the values of the axes that ``tuning`` names."""
    if study.tuning is None:
        return []
    cells = [
        replace(cell, seed=seed, trial=trial)
        for cell in study_cells(study)
        if cell.seed == study.seeds[0] and _is_at(cell, study.tuning.axes)
        for trial in study.methods[cell.method].trials
        for seed in study.tuning.seeds
    ]
    _check_all_tuned(study, cells)
    return sorted(cells, key=lambda cell: study.tuning.seeds.index(cell.seed) if study.tuning else 0)


def _check_all_tuned(study: StudyFile, trials: Sequence[Cell]) -> None:
    """A method with trials is tuned with every surrogate that it is used with."""
    tuned = {(cell.surrogate, cell.method) for cell in trials}
    for cell in study_cells(study):
        method = study.chain(cell.method)[0]
        if study.methods[method].trials and (cell.surrogate, method) not in tuned:
            raise InputError(
                f'cell {cell.id} has no trial of {method} with {cell.surrogate} to choose by',
                where=f'{study.where}: tuning',
                do='Tune at victims, queries and budgets that are not excluded',
            )


def surrogate_section(study: StudyFile, cell: Cell, chosen: str | None = None) -> dict[str, Any]:
    """The section that :func:`~mea_plugin.extract.toolboxes.read_surrogate` takes.

    Args:
        study: Its options.
        cell: A cell.
        chosen: The trial that tuning has chosen for the cell's surrogate and method.
    """
    own = study.surrogates[cell.surrogate]
    overrides, length = list(own.overrides), own.length
    for name in study.chain(cell.method):
        method = study.methods[name]
        trial = method.trials.get(cell.trial or chosen or '')
        for one in (method, trial):
            if one is not None:
                overrides += one.overrides(cell.surrogate)
                length *= one.length
    section = {**own.model_dump(exclude_unset=True), 'override': overrides, 'length': length, 'seed': cell.seed}
    if study.attack(cell.method).knows and (imitated := imitated_entries(study.defences.get(cell.defence, []))):
        section['known_defences'] = imitated
    return section


def draw(names: Iterable[str], budget: int, seed: int) -> list[str]:
    """The images that a budget is spent on: the first of a seeded order, so that a larger budget adds to a smaller.

    Args:
        names: Of all images.
        budget: How many.
        seed: Of the order.

    Returns:
        In the order of their names.
    """
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return sorted(order[:budget])


def _is_at(cell: Cell, axes: Mapping[str, Sequence[Any]]) -> bool:
    return all(getattr(cell, axis) in values for axis, values in axes.items())
