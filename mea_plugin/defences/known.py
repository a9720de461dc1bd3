"""What an attacker who knows the defences' options does about them: undoes some, and trains through others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.registry import build_defences

__all__ = ['can_be_imitated', 'can_be_undone', 'imitated_entries', 'undo']


def can_be_undone(defence: AnswerDefence) -> bool:
    """Whether it has ``undo(answer)``, which gives the answer back as far as it can be had without the key."""
    return callable(getattr(defence, 'undo', None))


def can_be_imitated(defence: AnswerDefence) -> bool:
    """Whether it has ``operators(height, width)``, the matrices that do the same to an image's columns and rows."""
    return callable(getattr(defence, 'operators', None))


def undo(defences: Sequence[AnswerDefence], answer: np.ndarray) -> np.ndarray:
    """Take away what can be undone, the last one first.

    Args:
        defences: In the order in which they were applied.
        answer: uint8 ``(H, W, 3)``, RGB.
    """
    for defence in reversed(defences):
        if can_be_undone(defence):
            answer = defence.undo(answer)  # type: ignore[attr-defined]
    return answer


def imitated_entries(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a list of defences in an option file, those that an attacker's training can imitate."""
    return [one for one in entries if can_be_imitated(build_defences([one])[0])]
