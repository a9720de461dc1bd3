"""Which figures a report has, out of everything that was found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mea_plugin.report import figures
from mea_plugin.report.curves import read_extraction
from mea_plugin.report.figures import Style, styles_of, to_svg
from mea_plugin.report.prices import budget_curves
from mea_plugin.report.sources import Results, Source
from mea_plugin.report.spectra import Spectra
from mea_plugin.report.views import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['Drawing', 'draw', 'draw_sets', 'file_name']

_WIDE = 4.0  # inches, from which on a figure takes the page's whole width
_MEANS = {'fidelity': 'Fidelity', 'quality': 'Task quality', 'own': 'The answers by themselves'}


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: For file names.
        title: What it shows, in a sentence or less.
        figure: Of matplotlib.
    """

    name: str
    title: str
    figure: Figure

    @property
    def svg(self) -> str:
        """For the page."""
        return to_svg(self.figure, self.title)

    @property
    def is_wide(self) -> bool:
        """Whether it takes the page's whole width."""
        return float(self.figure.get_figwidth()) > _WIDE


def draw_sets(results: Results, spectra: Spectra) -> list[dict[str, list[Drawing]]]:
    """The figures of each test set, by its name, for each evaluation."""
    return [
        {
            test_set['name']: list(_of_set(results, index, test_set, spectra))
            for test_set in source.evaluation['test_sets']
        }
        for index, source in enumerate(results.sources)
    ]


def draw(results: Results) -> list[Drawing]:
    """All other figures: by budget, of training, of flatness."""
    return [*_by_budget(results.sources), *_of_training(results), *_of_flatness(results)]


def file_name(*parts: str) -> str:
    """A file's name without its ending: letters, digits and ``._-``."""
    return '-'.join(re.sub(r'[^\w.-]+', '-', part).strip('-.') or 'x' for part in parts)


def _styles(source: Source) -> dict[str, Style]:
    return styles_of(source.evaluation['models'], list(source.evaluation['seeds']))


def _prefix(results: Results, name: str) -> str:
    """What tells the figures of several results apart."""
    return f'{name}: ' if len(results.sources) + len(results.flatness) > 1 else ''


def _of_set(results: Results, index: int, test_set: Mapping[str, Any], spectra: Spectra) -> Iterator[Drawing]:
    source = results.sources[index]
    evaluation, name, styles = source.evaluation, test_set['name'], _styles(source)
    prefix = _prefix(results, source.name)
    file = (source.name, name) if prefix else (name,)
    for kind in KINDS:
        if any(one['mean'] for one in test_set[kind].values()):
            title = f'{prefix}{_MEANS[kind]} on {name}: means and 95 % confidence intervals.'
            yield Drawing(file_name(*file, kind), title, figures.means(evaluation, name, kind, styles=styles))
        if any(one['kind'] == kind for one in test_set['differences']):
            title = f'{prefix}{_MEANS[kind]} on {name}: paired differences; filled where they are decided.'
            yield Drawing(file_name(*file, kind, 'differences'), title, figures.differences(evaluation, name, kind))
    radii, means = spectra.mean(index, name)
    if len(radii) > 1:
        titles = {key: 'ground truth' if key == 'truth' else key.removeprefix('model:') for key in means}
        victim = next((m['name'] for m in evaluation['models'] if m['role'] == 'victim'), None)
        named = {titles[key]: decibels for key, decibels in means.items()}
        figure = figures.power_spectra(radii, named, reference=victim, styles=styles)
        yield Drawing(
            file_name(*file, 'spectra'), f'{prefix}Power spectra of Y on {name}, mean of the images shown.', figure
        )


def _by_budget(sources: list[Source]) -> Iterator[Drawing]:
    """The first metric's fidelity over the number of queries, where extractions differ in that."""
    styles = next((_styles(source) for source in sources if source.extraction and source.extraction.queries), None)
    for one in budget_curves(sources):
        figure = figures.fidelity_by_budget(one.series, label=one.label, references=one.references, styles=styles)
        title = f'Fidelity by budget on {one.test_set}: {one.about["title"]} to the victim.'
        yield Drawing(file_name(one.test_set, 'budget'), title, figure)


def _of_training(results: Results) -> Iterator[Drawing]:
    for source in results.sources:
        if source.extraction is None:
            continue
        logs = read_extraction(source.extraction.folder)
        prefix, styles = _prefix(results, source.name), _styles(source)
        file = (source.name,) if prefix else ()
        for what, title in (('losses', 'Training: losses.'), ('validation', 'Training: validation.')):
            runs = {run: getattr(log, what) for run, log in logs.items() if getattr(log, what)}
            if runs:
                figure = figures.training_curves(runs, styles=styles)
                yield Drawing(file_name(*file, 'training', what), prefix + title, figure)


def _of_flatness(results: Results) -> Iterator[Drawing]:
    for measured in results.flatness:
        name, landscapes = str(measured['name']), measured['landscapes']
        prefix = _prefix(results, name)
        file = (name, 'flatness') if prefix else ('flatness',)
        styles = next((_styles(source) for source in results.sources), None)
        if any(measured['trajectories'].values()):
            figure = figures.trajectory(measured['trajectories'], styles=styles)
            title = f'{prefix}Flatness along the training: of sharpness, eigenvalue and trace, less is flatter.'
            yield Drawing(file_name(*file, 'trajectory'), title, figure)
        if any(one.get('line') for one in landscapes.values()):
            title = f'{prefix}Loss along a random direction through the weights, in units of each filter.'
            yield Drawing(file_name(*file, 'line'), title, figures.landscape_line(landscapes, styles=styles))
        if any(one.get('plane') for one in landscapes.values()):
            title = (
                f'{prefix}Loss on a plane through the weights, in units of each filter; + marks the trained network.'
            )
            yield Drawing(file_name(*file, 'plane'), title, figures.landscape_plane(landscapes))
