"""The test sets of an option file as folders that an evaluation can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.core.schema import Options, Text, Whole, refusal
from mea_plugin.data.prepare import make_benchmark
from mea_plugin.data.resize import downscale
from mea_plugin.data.sources import image_source
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.evaluation.results import Protocol
from mea_plugin.evaluation.sets import check_sets

__all__ = ['TestImages', 'prepare_test_sets']


class TestImages(Options):
    """Images to measure on; `gt` or `lq` must be there."""

    __test__ = False  # no test class of pytest's

    name: Text
    """Name of the test set."""
    lq: Text | None = None
    """Images that the models get, a folder or another source; by default bicubic makes them of `gt`."""
    gt: Text | None = None
    """Folder of the ground truth."""
    target: Text | None = None
    """Folder of images that answers shall look like, for metrics of whole sets such as FID."""
    shrink: Annotated[int, Whole(1)] = 1
    """Factor by which `lq` is shrunk first; only without `gt`."""

    @model_validator(mode='after')
    def _check_images(self) -> Self:
        if self.lq is None and self.gt is None:
            raise refusal(f'{self.name} has no images', do='Give lq or gt')
        if self.shrink > 1 and self.lq is not None and self.gt is not None:
            raise refusal(f'got {self.shrink}, and there is a gt', do='Remove one of the two', at='shrink')
        return self


def prepare_test_sets(entries: Sequence[TestImages], output: Path, scale: int, *, where: str) -> list[dict[str, Any]]:
    """Make low-resolution images by bicubic from ``gt``, or shrink ``lq``, below a folder; bad images are met here.

    A victim of scale 1 has no ground truth: its test sets have ``lq`` only.

    Args:
        entries: The test sets.
        output: Each set gets a folder of its name there, unless its images can be used as they are.
        scale: The victim's.
        where: The option, for errors.

    Returns:
        ``name``, ``lq``, ``gt`` and ``target`` as folders.

    Raises:
        InputError: An entry or an image cannot be used.
    """
    test_sets = [_prepare(one, output / one.name, scale, f'{where}[{index}]') for index, one in enumerate(entries)]
    check_sets(parse_test_sets(test_sets, where), scale=scale, border=Protocol(scale).border, prefix=f'{where}: ')
    return test_sets


def _prepare(entry: TestImages, folder: Path, scale: int, where: str) -> dict[str, Any]:
    found = entry.model_dump(exclude_unset=True, exclude={'shrink'})
    if entry.lq is not None:
        if entry.shrink == 1 and Path(entry.lq).is_dir():
            return found
        for name, path in image_source(entry.lq, where=where).items():
            image = read_rgb(path)
            write_png(folder / 'lq' / f'{name}.png', downscale(image, entry.shrink) if entry.shrink > 1 else image)
        return {**found, 'lq': str(folder / 'lq')}
    if scale == 1:
        raise InputError(f'{entry.name} has no lq', where=where, do='Give the images to ask about as lq')
    make_benchmark([str(entry.gt)], folder, scale=scale, where=where)
    return {'name': entry.name, 'lq': str(folder / f'LRx{scale}'), **found, 'gt': str(folder / 'HR')}
