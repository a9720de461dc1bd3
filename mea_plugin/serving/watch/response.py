"""What is done about a score: the higher it is, the more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.registry import build_defences
from mea_plugin.serving.options import ActionOptions

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
    def from_options(cls, entries: Iterable[ActionOptions], where: str) -> Response:
        """Make the defences.

        Args:
            entries: Of the option file.
            where: The file and option, for errors.

        Raises:
            InputError: A defence cannot be made.
        """
        return cls(
            [
                Action(
                    entry.above,
                    entry.wait_s,
                    build_defences(list(entry.defences), where=f'{where}[{number}].defences'),
                    entry.refuse,
                )
                for number, entry in enumerate(entries)
            ]
        )


_ANSWER = Action()
