"""The option file of a study."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator
from typing_extensions import Self

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Flag, FolderName, Images, Number, Options, Registered, Section, Text, Whole, refusal
from mea_plugin.evaluation.options import MetricOptions
from mea_plugin.extract.test_sets import TestImages
from mea_plugin.extract.toolboxes import SurrogateOptions
from mea_plugin.metrics.metric import Metric

__all__ = ['AXES', 'AttackOptions', 'Comparison', 'ImageSource', 'Method', 'QuerySource', 'StudyFile', 'Tuning']


def _check_dots(name: str) -> str:
    if '.' in name:  # it would be taken for a part of a cell's name
        raise refusal(f"'{name}' has a dot", do='Use letters, digits, _ -')
    return name


def _check_once(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) != len(values):
        raise refusal(f'got {list(values)}', do='Give each once')
    return values


def _check_cells(folder: Path) -> Path:
    if not (folder / 'cells').is_dir():
        raise refusal(f'{folder} has no cells', do='Name the results folders of other studies')
    return folder


Name = Annotated[FolderName, AfterValidator(_check_dots)]
TrialName = Annotated[FolderName, AfterValidator(lambda name: name.replace('.', '_'))]
Names = Text | list[Text]
Count = Annotated[int, Whole(0, 2**31)]
Seeds = Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(_check_once)]
Budgets = Annotated[tuple[Annotated[int, Whole(1, 2**31)], ...], Field(min_length=1), AfterValidator(_check_once)]
MAY_BE_EMPTY = BeforeValidator(lambda value: {} if value is None else value)
Defences = list[Annotated[Any, Registered('defence')]]
TestSets = Annotated[tuple[TestImages, ...], Field(min_length=1)]


class ImageSource(Options):
    """A source of images."""

    images: Images
    """A folder, a glob, an LMDB folder, or a list of these."""
    shrink: Annotated[int, Whole(1)] = 1
    """Factor by which images are shrunk first (MATLAB's bicubic)."""


class QuerySource(ImageSource):
    """Images that attackers query with."""

    pick: Literal['busiest', 'smoothest'] | None = None
    """Query only with the images that have the most detail (`busiest`) or the least (`smoothest`)."""
    share: Annotated[float, Number(0.001, 1)] = 0.25
    """Share of the images that `pick` takes."""

    @model_validator(mode='after')
    def _check_share(self) -> Self:
        if self.pick is None and 'share' in self.model_fields_set:
            raise refusal('share goes with pick', do='Add pick: busiest or smoothest')
        return self


class VictimOptions(Options):
    """A victim of the study."""

    victim: Annotated[Section, Registered('victim')]
    """The model that is queried."""
    trained_on: ImageSource | None = None
    """Images that it was trained on, if known: for the distance between domains."""


class AttackOptions(Options):
    """An attacker's adaptation to defences; see :class:`~mea_plugin.victims.adapted.AdaptedVictim`."""

    repeats: Annotated[int, Whole(1, 1000)] = 1
    """Queries for each image, whose answers are averaged."""
    denoise: Annotated[float, Number(0, 100)] = 0.0
    """Strength of non-local means on the answers, in grey levels; 0 for none."""
    knows: Flag = False
    """The attacker knows the defences' options: inverts those with an inverse, and trains through linear ones."""


class Trial(Options):
    """A candidate of the tuning: options that replace the surrogates'."""

    override: dict[str, Any] = Field(default={})
    """Options for all surrogates."""
    surrogates: dict[Text, dict[str, Any]] = Field(default={})
    """Options for some surrogates, by name; they replace those of `override`."""
    length: Annotated[float, Number(0.001, 1000)] = 1.0
    """Factor on the iterations."""

    def overrides(self, surrogate: str) -> list[dict[str, Any]]:
        """The overrides of one surrogate's options, in the order in which they apply."""
        return [one for one in (self.override, self.surrogates.get(surrogate)) if one]


class Method(Trial):
    """A way of training surrogates: options that replace theirs."""

    base: Text | None = None
    """The method that this one changes, with the trial that tuning chose for it."""
    attack: AttackOptions = AttackOptions()
    """The attacker's adaptation to defences."""
    trials: dict[TrialName, Annotated[Trial, MAY_BE_EMPTY]] = Field(default={})
    """Candidates of the tuning, by name."""

    @model_validator(mode='after')
    def _check_trials(self) -> Self:
        if self.trials and self.base is not None:
            raise refusal('a method with a base has no trials of its own', do='Remove one of the two')
        return self


class Comparison(Options):
    """One method against another."""

    method: Text
    """The method that is judged."""
    against: Text
    """The other method."""
    name: Text = Field(default_factory=lambda data: f'{data.get("method")} against {data.get("against")}')
    """Name in tables; by default `METHOD against AGAINST`."""
    note: Text = ''
    """What differs between the two, and what does not."""
    at: Literal['iterations', 'time'] = 'iterations'
    """What both had the same of."""


class Exclusion(Options):
    """Cells to leave out: those that match all that is named, a value or a list of values each."""

    victim: Names | None = None
    """Names of victims."""
    surrogate: Names | None = None
    """Names of surrogates."""
    queries: Names | None = None
    """Names of sources of queries."""
    budget: Count | list[Count] | None = None
    """Budgets."""
    defence: Names | None = None
    """Names of lists of defences."""
    method: Names | None = None
    """Names of methods."""
    seed: Count | list[Count] | None = None
    """Seeds."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values by axis, of the axes that are named."""
        given = self.model_dump(exclude_unset=True)
        return {axis: value if isinstance(value, list) else [value] for axis, value in given.items()}


AXES = tuple(Exclusion.model_fields)
"""The axes of the grid, in the order of a cell's name."""


class Tuning(Options):
    """Where trials are judged: on test sets and seeds that no table uses."""

    test_sets: TestSets
    """Images that are neither queries nor test images."""
    seeds: Seeds
    """Seeds of the trials; none of the study's."""
    victims: list[Text] | None = None
    """Names of the victims that trials are run with; by default all."""
    queries: list[Text] | None = None
    """Names of the sources of queries that trials are run with; by default all."""
    budgets: list[Count] | None = None
    """Budgets that trials are run with; by default all."""
    defences: list[Text] | None = None
    """Names of the lists of defences that trials are run with; by default all."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values by axis, of the axes that are named."""
        axes = {'victim': self.victims, 'queries': self.queries, 'budget': self.budgets, 'defence': self.defences}
        return {axis: values for axis, values in axes.items() if values is not None}


def _every_method(data: Mapping[str, Any]) -> tuple[Comparison, ...]:
    first, *others = data.get('methods', ('',))
    return tuple(Comparison(name=one, method=one, against=first) for one in others)


class StudyFile(MetricOptions):
    """The option file of a study: a grid of extractions."""

    name: FolderName
    """Name of the study."""
    output: Path = Field(default_factory=lambda data: Path('results') / 'study' / data.get('name', ''))
    """Folder for query sets, trainings and logs; by default `results/study/NAME`."""
    results: Path = Field(default_factory=lambda data: data.get('output', Path()) / 'results')
    """Folder for the results of cells, tables and figures; by default `OUTPUT/results`."""
    reuse: tuple[Annotated[Path, AfterValidator(_check_cells)], ...] = ()
    """Results folders of other studies, whose cells count for this one."""
    victims: Annotated[dict[Name, VictimOptions], Field(min_length=1)]
    """Victims of one scale, by name."""
    queries: Annotated[dict[Name, QuerySource], Field(min_length=1)]
    """Sources of the images that attackers query with, by name."""
    budgets: Budgets
    """Numbers of queries."""
    defences: Annotated[dict[Name, Defences], Field(min_length=1)] = Field(default={})
    """Lists of defences on the victim's answers, by name; one is empty (`none: []`), to compare with."""
    surrogates: Annotated[dict[Name, SurrogateOptions], Field(min_length=1)]
    """Networks to train on the victim's answers, by name."""
    methods: Annotated[
        dict[Name, Annotated[Method, MAY_BE_EMPTY]],
        Field(min_length=1),
    ]
    """Ways of training surrogates, by name."""
    seeds: Seeds
    """Seeds of the draw of images and of the training."""
    exclude: tuple[Exclusion, ...] = ()
    """Cells to leave out."""
    test_sets: TestSets
    """Images to measure on."""
    comparisons: tuple[Comparison, ...] = Field(default_factory=_every_method)
    """Methods to compare; by default every one with the first."""
    tuning: Tuning | None = None
    """Where trials of methods are judged."""

    _where: str = PrivateAttr('')
    _content: dict[str, Any] = PrivateAttr({})

    @model_validator(mode='after')
    def _check_defences(self) -> Self:
        if self.defences and all(self.defences.values()):
            raise refusal('every one is a defence', do='Add none: []', at='defences')
        return self

    def read_from(self, where: str, content: Mapping[str, Any]) -> Self:
        """Note the option file and its content, for errors and for the results."""
        self._where, self._content = where, dict(content)
        return self

    @property
    def where(self) -> str:
        """The option file, for errors."""
        return self._where

    @property
    def content(self) -> dict[str, Any]:
        """The option file's content."""
        return self._content

    @cached_property
    def measured(self) -> list[Metric]:
        """The metrics, in the order of the file; the first one decides."""
        return self.find_metrics(f'{self.where}: ')

    @property
    def undefended(self) -> str:
        """The name of the empty list of defences; nothing without the axis."""
        return next((name for name, defences in self.defences.items() if not defences), '')

    def attack(self, method: str) -> AttackOptions:
        """A method's adaptation to defences: that of the methods below it, and then its own."""
        attacks = [self.methods[name].attack for name in self.chain(method)]
        return AttackOptions(
            **{key: value for one in attacks for key, value in one.model_dump(exclude_unset=True).items()}
        )

    def unadapted(self, method: str) -> str:
        """The method without adaptation to defences: the last one below it without ``attack``, else itself."""
        plain = [name for name in self.chain(method) if not self.attack(name).model_fields_set]
        return plain[-1] if plain else method

    def chain(self, method: str) -> list[str]:
        """A method and the methods below it (its ``base`` and theirs), the first one first.

        Raises:
            InputError: It is its own base.
        """
        names = [method]
        while (base := self.methods[names[-1]].base) is not None:
            if base in names:
                where = f'{self.where}: methods.{method}.base'
                raise InputError('the method is based on itself', where=where, do='Remove that')
            names.append(base)
        return names[::-1]
