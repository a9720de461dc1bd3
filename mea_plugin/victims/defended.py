"""A victim that is asked through its defences."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from mea_plugin.core.files import hash_json
from mea_plugin.core.schema import Text
from mea_plugin.core.signatures import checked
from mea_plugin.defences.registry import build_defences
from mea_plugin.victims import Victim, build_victim

__all__ = ['DefendedVictim']


class DefendedVictim:
    """Any victim behind defences on its answers.

    Args:
        victim: The victim, or its options.
        defences: Sections of :func:`~mea_plugin.defences.registry.build_defences`, applied in this order.
        name: How tables call it; by default the victim's name.

    Attributes:
        victim: Who answers.
        scale: The victim's.
        fingerprint: Of the victim's and of all defences with their options and keys: another defence is another victim.

    With noise that is fresh for every answer, the same image does not get the same answer, unlike any other victim's:
    answers follow from the key and from how many were given before. A ledger keeps the first one.

    Raises:
        InputError: The victim or a defence cannot be made.
    """

    @checked('victim')
    def __init__(
        self, victim: Victim | Mapping[str, Any], defences: list[Mapping[str, Any]], name: Text | None = None
    ) -> None:
        self._defences = build_defences(defences, where='victim.defences')
        if not isinstance(victim, Victim):
            victim = build_victim(victim, where='victim.victim')
        self.victim = victim
        self.name, self.scale = name or victim.name, victim.scale
        described = [defence.describe() for defence in self._defences]
        self.fingerprint = hash_json({'type': 'defended', 'victim': victim.fingerprint, 'defences': described})
        self._count = 0
        self._lock = threading.Lock()

    @property
    def concurrent(self) -> bool | None:
        """Whether several threads may ask at once, as the victim says; None when it says nothing."""
        return getattr(self.victim, 'concurrent', None)

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """As any victim's.

        Args:
            images: uint8 arrays ``(h, w, 3)``, RGB.
        """
        with self._lock:
            first = self._count
            self._count += len(images)
        return [
            self.defend(image, answer, first + number)
            for number, (image, answer) in enumerate(zip(images, self.victim.query(images), strict=True))
        ]

    def defend(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """What the victim's own answer becomes; see :class:`~mea_plugin.defences.base.AnswerDefence`."""
        for defence in self._defences:
            answer = defence.apply(query, answer, count)
        return answer
