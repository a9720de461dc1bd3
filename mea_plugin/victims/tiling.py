"""Large images cut into overlapping tiles, so that memory is bounded by the tile and not by the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mea_plugin.core.errors import InputError

__all__ = ['Tiling']


class Cut(NamedTuple):
    """One tile along one axis, in pixels of the image.

    Attributes:
        start, stop: What the network sees.
        first, last: What of its answer is kept, the end excluded.
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tiling:
    """How images above a limit are cut.

    All tiles of an image have one size and lie inside it, so that they go through the network in batches, and the
    image's borders are the tiles' borders: padding inside the network acts there as it does without tiles. They begin
    at multiples of ``multiple``, where the network's windows and strides begin as well. With an overlap of at least the
    network's receptive field's radius the answer is that of the whole image, up to float rounding (one grey level);
    networks with global statistics (instance norm, attention over the image) have no such radius.

    Attributes:
        pixels: Height times width above which an image is cut, and which no tile exceeds, its context included.
        overlap: Context on each side of a tile, in pixels of the input, whose answer is thrown away; rounded up to a
            multiple of ``multiple``.
        multiple: What the network's height and width are multiples of.

    Raises:
        InputError: No tile is that small.
    """

    pixels: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        least = (2 * self._context + self.multiple) ** 2
        if self.pixels < least:
            raise InputError(
                f'tile_pixels is {self.pixels}, too few for an overlap of {self.overlap}',
                where='victim.tile_pixels',
                do=f'Give at least {least}, or a smaller tile_overlap',
            )

    def applies(self, image: np.ndarray) -> bool:
        """Whether an image ``(H, W, 3)`` is above the limit."""
        return image.shape[0] * image.shape[1] > self.pixels

    def answer(
        self, ask: Callable[[np.ndarray], list[np.ndarray]], image: np.ndarray, *, scale: int, batch_size: int
    ) -> np.ndarray:
        """The answer to an image, put together from those to its tiles.

        Args:
            ask: From uint8 tiles ``(N, h, w, 3)`` to N answers ``(scale * h, scale * w, 3)``.
            image: uint8 ``(H, W, 3)``.
            scale: Output size by input size.
            batch_size: How many tiles are asked together.

        Returns:
            uint8 ``(scale * H, scale * W, 3)``.
        """
        height, width = image.shape[:2]
        image = self._padded(image)
        rows, columns = self._cuts(*image.shape[:2])
        whole = np.empty((image.shape[0] * scale, image.shape[1] * scale, 3), np.uint8)
        tiles = [(row, column) for row in rows for column in columns]
        for begin in range(0, len(tiles), batch_size):
            some = tiles[begin : begin + batch_size]
            batch = np.stack([image[row.start : row.stop, column.start : column.stop] for row, column in some])
            for (row, column), answer in zip(some, ask(batch), strict=True):
                whole[_kept(row, scale), _kept(column, scale)] = answer[_inner(row, scale), _inner(column, scale)]
        return np.ascontiguousarray(whole[: height * scale, : width * scale])

    @property
    def _context(self) -> int:
        return _round_up(self.overlap, self.multiple)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """Padded as :func:`mea_plugin.core.networks.forward_padded` pads the whole image."""
        pad_h, pad_w = (-length % self.multiple for length in image.shape[:2])
        if not pad_h and not pad_w:
            return image
        reflects = pad_h < image.shape[0] and pad_w < image.shape[1]
        return np.pad(image, ((0, pad_h), (0, pad_w), (0, 0)), mode='reflect' if reflects else 'edge')

    def _cuts(self, height: int, width: int) -> tuple[list[Cut], list[Cut]]:
        """Rows and columns of tiles, as square as the image allows."""
        tall = wide = math.isqrt(self.pixels)
        if height < tall:
            wide = self.pixels // height
        elif width < wide:
            tall = self.pixels // width
        return self._along(height, tall), self._along(width, wide)

    def _along(self, length: int, longest: int) -> list[Cut]:
        """The fewest equal tiles of at most ``longest`` pixels, and those no longer than need be."""
        if length <= longest:
            return [Cut(0, length, 0, length)]
        context = self._context
        inner = length - 2 * context
        most = longest // self.multiple * self.multiple - 2 * context
        core = _round_up(math.ceil(inner / math.ceil(inner / most)), self.multiple)
        starts = [min(start, length - core - 2 * context) for start in range(0, inner, core)]
        edges = [0, *(start + context for start in starts[1:]), length]
        return [
            Cut(start, start + core + 2 * context, first, last)
            for start, first, last in zip(starts, edges, edges[1:], strict=False)
        ]


def _kept(cut: Cut, scale: int) -> slice:
    """Where the answer goes."""
    return slice(cut.first * scale, cut.last * scale)


def _inner(cut: Cut, scale: int) -> slice:
    """What of a tile's answer goes there."""
    return slice((cut.first - cut.start) * scale, (cut.last - cut.start) * scale)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
