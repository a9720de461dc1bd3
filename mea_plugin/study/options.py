"""What a study's option file says, as :mod:`mea_plugin.study.reading` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.evaluation.options import MeasureOptions

__all__ = ['AXES', 'Comparison', 'ImageSource', 'Method', 'StudyOptions', 'Tuning', 'VictimOptions']

AXES = ('victim', 'surrogate', 'queries', 'budget', 'defence', 'method', 'seed')
"""What a cell is a point of."""


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
            :class:`~mea_plugin.victims.adapted.AdaptedVictim`, and ``knows``: their options, so that those with an
            inverse are undone, and training goes through linear ones (:mod:`mea_plugin.defences.known`).
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
