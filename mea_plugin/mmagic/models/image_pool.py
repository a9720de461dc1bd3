"""CycleGAN's pool of earlier fakes, with draws that can be given out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmagic.models.editors.cyclegan.cyclegan_modules import GANImageBuffer
from torch import Tensor

__all__ = ['ImagePool', 'given', 'load_pool', 'pool_state']


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


def pool_state(pool: GANImageBuffer) -> dict[str, Any]:
    """What a pool holds, MMagic's or this one: to be saved and given to :func:`load_pool`."""
    return {'images': list(getattr(pool, 'image_buffer', ()))}


def load_pool(pool: GANImageBuffer, state: Mapping[str, Any], device: torch.device) -> None:
    """Let a pool hold what another held; the last images, if it is smaller."""
    if pool.buffer_size > 0:
        pool.image_buffer = [image.to(device) for image in state['images'][-pool.buffer_size :]]
        pool.img_num = len(pool.image_buffer)
