"""What an attacker who knows the defences' options does about them: undoes some, and trains through others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mea_plugin.defences.base import AnswerDefence, Linear, Undoable
from mea_plugin.defences.registry import build_defences

__all__ = ['can_be_undone', 'imitated_entries', 'undo']


def can_be_undone(entries: list[Mapping[str, Any]]) -> bool:
    """Whether any defence of a list in an option file can be."""
    return any(isinstance(defence, Undoable) for defence in build_defences(entries))


def imitated_entries(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a list of defences in an option file, those that an attacker's training can imitate: the linear ones."""
    return [one for one in entries if isinstance(build_defences([one])[0], Linear)]


def undo(defences: Sequence[AnswerDefence], answer: np.ndarray) -> np.ndarray:
    """Take away what can be undone, the last one first.

    Args:
        defences: In the order in which they were applied.
        answer: uint8 ``(H, W, 3)``, RGB.
    """
    for defence in reversed(defences):
        if isinstance(defence, Undoable):
            answer = defence.undo(answer)
    return answer
