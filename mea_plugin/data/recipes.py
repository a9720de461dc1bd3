"""What is made of one image: a low-resolution one, a benchmark's pair, or the crops of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import check_pair
from mea_plugin.data.resize import Like, downscale, mod_crop

__all__ = ['BenchmarkRecipe', 'BicubicRecipe', 'Recipe', 'SubImageRecipe', 'crop_starts']


class Recipe(Protocol):
    """What :func:`mea_plugin.data.batch.run_batch` does to each image; a frozen dataclass of its settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its files go, below the output folder."""
        ...

    def plan(self, name: str, images: Sequence[np.ndarray], paths: Sequence[Path]) -> list[str]:
        """The files that :meth:`make` will make, relative to the output folder.

        Args:
            name: Of the image, without extension.
            images: What was read from ``paths``: uint8 ``(H, W, 3)``.
            paths: For errors.

        Raises:
            InputError: The images cannot be used.
        """
        ...

    def make(self, name: str, images: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """The planned files and their content, in the same order."""
        ...


@dataclass(frozen=True)
class BicubicRecipe:
    """One bicubic low-resolution image, of the part whose size is a multiple of the scale."""

    scale: int
    like: Like = 'matlab'

    @property
    def folders(self) -> tuple[str, ...]:
        """The output folder itself."""
        return ('.',)

    def plan(self, name: str, images: Sequence[np.ndarray], paths: Sequence[Path]) -> list[str]:
        """See :class:`Recipe`."""
        _check_at_least(self.scale, images[0], paths[0])
        return [f'{name}.png']

    def make(self, name: str, images: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """See :class:`Recipe`."""
        yield f'{name}.png', downscale(images[0], self.scale, like=self.like)


@dataclass(frozen=True)
class BenchmarkRecipe:
    """A pair of the layout that tools/evaluate.py and BasicSR's ``PairedImageDataset`` read."""

    scale: int
    like: Like = 'matlab'

    @property
    def folders(self) -> tuple[str, ...]:
        """Ground truth and low resolution."""
        return ('HR', f'LRx{self.scale}')

    def plan(self, name: str, images: Sequence[np.ndarray], paths: Sequence[Path]) -> list[str]:
        """See :class:`Recipe`."""
        _check_at_least(self.scale, images[0], paths[0])
        return [f'{folder}/{name}.png' for folder in self.folders]

    def make(self, name: str, images: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """See :class:`Recipe`."""
        yield f'HR/{name}.png', mod_crop(images[0], self.scale)
        yield f'LRx{self.scale}/{name}.png', downscale(images[0], self.scale, like=self.like)


@dataclass(frozen=True)
class SubImageRecipe:
    """Aligned crops of a pair (ground truth first), numbered row by row: ``NAME_s001.png``.

    Attributes:
        scale: Of the pair.
        crop: Height and width of a crop, in pixels of the ground truth; a multiple of ``scale``, like ``step``.
        step: From one crop to the next.
        thresh: A last strip of more than so many pixels gets a crop of its own, which overlaps the one before, as in
            BasicSR's ``extract_subimages``; a smaller one is dropped.
        skip_small: Leave out images smaller than a crop, instead of refusing them.
    """

    scale: int
    crop: int
    step: int
    thresh: int = 0
    skip_small: bool = False

    @property
    def folders(self) -> tuple[str, ...]:
        """Ground truth and low resolution."""
        return ('HR', f'LRx{self.scale}')

    def plan(self, name: str, images: Sequence[np.ndarray], paths: Sequence[Path]) -> list[str]:
        """See :class:`Recipe`."""
        hr, lr = images
        check_pair(lr.shape, hr.shape, self.scale, where=paths[0])
        if not self.skip_small:
            _check_at_least(self.crop, hr, paths[0], what='the crop', do='Remove it, lower --crop or add --skip-small')
        count = sum(1 for _ in self._corners(hr))
        return [f'{folder}/{name}_s{index:03d}.png' for index in range(1, count + 1) for folder in self.folders]

    def make(self, name: str, images: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """See :class:`Recipe`."""
        for index, corner in enumerate(self._corners(images[0]), 1):
            for folder, image, shrink in zip(self.folders, images, (1, self.scale), strict=True):
                y, x, size = (value // shrink for value in (*corner, self.crop))
                yield f'{folder}/{name}_s{index:03d}.png', image[y : y + size, x : x + size]

    def _corners(self, hr: np.ndarray) -> Iterator[tuple[int, int]]:
        """Top left corners, row by row."""
        for y in crop_starts(hr.shape[0], self.crop, self.step, self.thresh):
            for x in crop_starts(hr.shape[1], self.crop, self.step, self.thresh):
                yield y, x


def crop_starts(length: int, crop: int, step: int, thresh: int) -> list[int]:
    """Where the crops of an axis start.

    Args:
        length: Of the axis.
        crop: Of a crop.
        step: From one crop to the next.
        thresh: A last strip wider than this gets a crop that overlaps the one before.

    Returns:
        The starts, rising; none when the axis is shorter than a crop.
    """
    starts = list(range(0, length - crop + 1, step))
    if starts and length - (starts[-1] + crop) > thresh:
        starts.append(length - crop)
    return starts


def _check_at_least(
    size: int, image: np.ndarray, path: Path, *, what: str = 'the scale', do: str = 'Remove the image'
) -> None:
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise InputError(f'{width}x{height} pixels are smaller than {what} of {size}', where=path, do=do)
