"""CycleGAN's pool of earlier fakes, with draws that can be given out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmagic.models.editors.cyclegan.cyclegan_modules import GANImageBuffer
from torch import Tensor

__all__ = ['ImagePool', 'given']


class ImagePool(GANImageBuffer):
    """MMagic's ``GANImageBuffer``; a draw can be set, so that two passes see the same one.

    Args:
        buffer_size: How many images it holds; 0 for none.
        buffer_ratio: The chance that an earlier image is given out instead of the new one.
    """

    def __init__(self, buffer_size: int, buffer_ratio: float = 0.5) -> None:
        super().__init__(buffer_size, buffer_ratio)
        self.draw: Tensor | None = None

    def query(self, images: Tensor) -> Tensor:
        """The draw that was set, or a new one: ``(N, C, H, W)``, without a graph."""
        draw: Tensor = super().query(images) if self.draw is None else self.draw
        return draw


@contextmanager
def given(pools: Mapping[str, ImagePool], draws: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the pools give out these draws in the body, and keep what they hold."""
    try:
        for domain, draw in draws.items():
            pools[domain].draw = draw
        yield
    finally:
        for pool in pools.values():
            pool.draw = None
