"""The protocol that every black box speaks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

__all__ = ['Victim']


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
