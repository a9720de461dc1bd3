"""What is done about a score: the higher it is, the more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys, check_number, require
from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.registry import build_defences

__all__ = ['Action', 'Response']


@dataclass(frozen=True)
class Action:
    """What a query gets.

    Attributes:
        above: The score from which on.
        wait_s: Seconds until the customer's next query is answered.
        defences: What its answer goes through.
        refuse: Whether it is answered at all.
    """

    above: float = 0.0
    wait_s: float = 0.0
    defences: Sequence[AnswerDefence] = ()
    refuse: bool = False

    @property
    def name(self) -> str:
        """For logs and metrics: the strongest thing that it does."""
        return 'refuse' if self.refuse else 'degrade' if self.defences else 'slow' if self.wait_s else 'answer'

    def defend(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Apply the defences; see :meth:`~mea_plugin.defences.base.AnswerDefence.apply`."""
        for defence in self.defences:
            answer = defence.apply(query, answer, count)
        return answer


class Response:
    """Actions by score.

    Args:
        actions: In any order. A score gets the one with the highest ``above`` that it reaches, alone: actions do not
            add up.
    """

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        self._actions = sorted(actions, key=lambda action: action.above, reverse=True)

    def action(self, score: float) -> Action:
        """What a score gets."""
        return next((action for action in self._actions if score >= action.above), _ANSWER)

    @classmethod
    def parse(cls, entries: Any, where: str) -> Response:
        """From a list in an option file.

        Raises:
            InputError: It is no list, an entry does nothing, or a defence cannot be made.
        """
        if not isinstance(entries, list):
            raise InputError(f'expected a list, got {entries!r}', where=where, do='Write - {above: ...} lines below it')
        return cls([_action(entry, f'{where}[{number}]') for number, entry in enumerate(entries)])


_ANSWER = Action()


def _action(entry: Any, where: str) -> Action:
    check_keys(entry, ('above', 'wait_s', 'defences', 'refuse'), where)
    require(entry, 'above', where)
    check_number(entry, 'above', where, least=0.01, most=1000, whole=False)
    check_number(entry, 'wait_s', where, most=86400, whole=False, optional=True)
    refuse = entry.get('refuse', False)
    if not isinstance(refuse, bool):
        raise InputError(f'refuse is {refuse!r}', where=where, do='Write true or false')
    defences = build_defences(entry.get('defences') or [], where=f'{where}.defences')
    action = Action(float(entry['above']), float(entry.get('wait_s') or 0), defences, refuse)
    if action.name == 'answer':
        raise InputError('nothing is done', where=where, do='Add wait_s, defences or refuse: true')
    return action
