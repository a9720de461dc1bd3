"""An attacker who knows that there is a defence: asks several times, undoes what can be undone, cleans the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np

from mea_plugin.core.files import hash_json
from mea_plugin.core.schema import Number, Whole
from mea_plugin.core.signatures import checked
from mea_plugin.defences.base import AnswerDefence
from mea_plugin.defences.known import undo
from mea_plugin.victims import Victim

__all__ = ['AdaptedVictim']


class AdaptedVictim:
    """A victim as such an attacker sees it: the mean of repeated answers, undone, denoised.

    Args:
        victim: Who is asked.
        repeats: How often each image is asked about; all of these are queries. Only noise that is fresh for every
            answer goes away.
        denoise: Strength of non-local means (Buades et al., CVPR 2005, as OpenCV has it), in grey levels; 0: none.
        known: Defences whose options are known, in the order in which they were applied: those that have an inverse are
            undone.

    Raises:
        InputError: A number is out of range.
    """

    @checked('attack')
    def __init__(
        self,
        victim: Victim,
        *,
        repeats: Annotated[int, Whole(1)] = 1,
        denoise: Annotated[float, Number(0, 100)] = 0.0,
        known: Sequence[AnswerDefence] = (),
    ) -> None:
        self.victim, self.name, self.scale = victim, victim.name, victim.scale
        self._repeats, self._denoise, self._known = repeats, denoise, known
        description = {'type': 'adapted', 'victim': victim.fingerprint, 'repeats': repeats, 'denoise': denoise}
        if known:
            description['known'] = [defence.describe() for defence in known]
        if self._denoise:
            description['opencv'] = cv2.__version__.split('.')[:2]
        self.fingerprint = hash_json(description)

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """As any victim's."""
        return [self._clean(image) for image in images]

    def _clean(self, image: np.ndarray) -> np.ndarray:
        answers = self.victim.query([image] * self._repeats)
        answer = answers[0]
        if self._repeats > 1:
            answer = np.rint(np.mean(answers, axis=0)).astype(np.uint8)
        answer = undo(self._known, answer)
        if self._denoise:
            answer = cv2.fastNlMeansDenoisingColored(answer, None, self._denoise, self._denoise, 5, 13)
        return answer
