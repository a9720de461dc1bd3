"""Who is evaluated: baselines, victim, surrogates, and the row above which agreement means nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json
from mea_plugin.evaluation.results import EvaluatedModel
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.victims import Victim
from mea_plugin.victims.remote import RemoteVictim

__all__ = ['CEILING', 'VICTIM', 'Models', 'check_seeds', 'gather_models']

VICTIM = 'victim'
"""How tables and pictures call the victim."""

CEILING = 'ceiling'
"""How they call the victim's answers with noise of one grey level."""


@dataclass(frozen=True)
class Models:
    """All models of an evaluation, in the order of tables: baselines, victim, surrogates.

    Attributes:
        members: By name.
        described: Their rows; the ceiling, which is no model, comes last.
        scale: Of all of them.
        noisy: Makes the ceiling's answer of the victim's; None without that row.
    """

    members: dict[str, Victim]
    described: list[EvaluatedModel]
    scale: int
    noisy: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def victim(self) -> str | None:
        """The victim's name, where there is a victim."""
        return VICTIM if VICTIM in self.members else None

    def named(self, role: str) -> list[str]:
        """The names of one role."""
        return [model.name for model in self.described if model.role == role]

    @property
    def rows(self) -> list[str]:
        """All names, the ceiling's too."""
        return [model.name for model in self.described]

    def can_be_asked_again(self, name: str) -> bool:
        """Whether a model answers for nothing; one behind a network may be paid for each answer."""
        return not isinstance(self.members[name], RemoteVictim | RecordedVictim)


def gather_models(
    victim: Victim | None,
    surrogates: Mapping[str, Victim],
    baselines: Mapping[str, Victim],
    *,
    ceiling: bool = False,
    prefix: str = '',
) -> Models:
    """Put all models together.

    Args:
        victim: The reference of fidelity; without one, only task quality is measured.
        surrogates: Networks trained to behave like it, by name.
        baselines: Models to beat, by name.
        ceiling: Whether there is a row for the victim's answers with noise.
        prefix: The option file, for errors.

    Raises:
        InputError: A name is taken twice, scales differ, or there is no model.
    """
    members: dict[str, Victim] = {}
    described = []
    scale = victim.scale if victim else None
    victims = {VICTIM: victim} if victim else {}
    for role, some in (('baseline', baselines), ('victim', victims), ('surrogate', surrogates)):
        for name, model in some.items():
            option = f'{prefix}{role}s.{name}'
            reserved = (name == VICTIM and role != 'victim') or (name == CEILING and ceiling)
            if name in members or reserved:
                raise InputError(f"the name '{name}' is taken", where=option, do='Choose another name')
            scale = scale or model.scale
            if model.scale != scale:
                other = f'the victim has {scale}' if victim else f'another model has {scale}'
                raise InputError(f'its scale is {model.scale}, {other}', where=option, do='Compare models of one scale')
            members[name] = model
            described.append(EvaluatedModel(name, role, model.name, model.fingerprint))
    if scale is None:
        raise InputError('there is no model', where=f'{prefix}victim', do='Add a victim, surrogates or baselines')
    noisy = None
    if ceiling:
        if victim is None:
            raise InputError('there is no victim to add noise to', where=f'{prefix}ceiling', do='Remove it')
        noisy = import_module('mea_plugin.metrics.ceiling').noisy
        fingerprint = hash_json({'type': CEILING, 'of': victim.fingerprint})
        described.append(EvaluatedModel(CEILING, CEILING, 'victim, with noise of one grey level', fingerprint))
    return Models(members, described, scale, noisy)


def check_seeds(seeds: Mapping[str, Sequence[str]], surrogates: Sequence[str], where: str) -> None:
    """Check groups of models that differ in their seed alone.

    Raises:
        InputError: A group is empty, is called like a model, or names something that is no surrogate or in two groups.
    """
    seen: set[str] = set()
    for group, names in seeds.items():
        at = f'{where}.{group}'
        if group in surrogates or group in (VICTIM, CEILING):
            raise InputError(f"'{group}' is the name of a model, too", where=at, do='Give the group another name')
        if not names:
            raise InputError('the group is empty', where=at, do='Name the surrogates that differ in their seed alone')
        for name in names:
            if name not in surrogates:
                raise InputError(f"no surrogate is called '{name}'", where=at, do=_known(surrogates))
            if name in seen:
                raise InputError(f"'{name}' is there twice", where=at, do='Name each surrogate once')
            seen.add(name)


def _known(names: Sequence[str]) -> str:
    return f'Known: {", ".join(names) or "none"}'
