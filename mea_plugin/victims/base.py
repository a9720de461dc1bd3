"""The protocol that every black box speaks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from mea_plugin.core.errors import InputError

__all__ = ['Victim', 'check_answer']


@runtime_checkable
class Victim(Protocol):
    """A black box: images in, images out.

    Attributes:
        name: How tables call it.
        scale: Output height and width divided by the input's: 1 for style transfer, 4 for x4 super-resolution.
        fingerprint: A stable hash of what answers (weights and options); another fingerprint is another victim.
    """

    name: str
    scale: int
    fingerprint: str

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Answer a list of images.

        Args:
            images: uint8 arrays ``(H, W, 3)``, RGB, of any sizes.

        Returns:
            One uint8 array ``(scale * H, scale * W, 3)``, RGB, per image, in the same order; the same image always gets
            the same answer.
        """
        ...


def check_answer(victim: Victim, query: np.ndarray, answer: np.ndarray) -> None:
    """Check what a victim answered.

    Raises:
        InputError: It is no uint8 image of ``victim.scale`` times the query's size.
    """
    expected = (query.shape[0] * victim.scale, query.shape[1] * victim.scale, 3)
    if answer.dtype != np.uint8 or answer.shape != expected:
        raise InputError(
            f'answered {answer.dtype} {answer.shape} to a query of {query.shape}; expected uint8 {expected}',
            where=f'victim {victim.name}',
            do='Check its scale',
        )
