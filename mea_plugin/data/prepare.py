"""Makes folders of images that the toolboxes and tools/evaluate.py read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import list_images
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch import BatchResult, run_batch
from mea_plugin.data.recipes import BenchmarkRecipe, BicubicRecipe, SubImageRecipe
from mea_plugin.data.resize import Like, check_scale
from mea_plugin.data.sources import by_stem, image_source, merge_sources

__all__ = ['make_benchmark', 'make_bicubic', 'make_sub_images']


def make_bicubic(
    source: str | Path,
    output: str | Path,
    *,
    scale: int,
    like: Like = 'matlab',
    jobs: int = 1,
    where: str = '--input',
) -> BatchResult:
    """Make bicubic low-resolution images, ``OUTPUT/NAME.png``; each image is first cropped to a multiple of the scale.

    Args:
        source: A folder, or ``embedded:query``, ``embedded:test``.
        output: Folder for the result; see :func:`~mea_plugin.data.batch.run_batch`.
        scale: At least 1.
        like: See :func:`~mea_plugin.data.resize.bicubic`.
        jobs: Processes to use.
        where: The option that names the images, for errors.

    Raises:
        InputError: An image, a folder or the scale cannot be used.
    """
    recipe = BicubicRecipe(check_scale(scale), like)
    images = {name: (path,) for name, path in image_source(source, where=where).items()}
    return run_batch(recipe, images, output, jobs=jobs, where=where)


def make_benchmark(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    scale: int,
    like: Like = 'matlab',
    jobs: int = 1,
    where: str = '--input',
) -> BatchResult:
    """Make a benchmark folder: ``OUTPUT/HR/NAME.png``, cropped to a multiple of the scale, and ``OUTPUT/LRxSCALE``.

    Args:
        sources: Folders, ``embedded:query``, ``embedded:test``; no name may be in two of them.
        output: As in :func:`make_bicubic`, like the other arguments.
        scale: At least 1.
        like: Whose bicubic.
        jobs: Processes to use.
        where: The option that names the images, for errors.

    Raises:
        InputError: An image, a folder or the scale cannot be used.
    """
    recipe = BenchmarkRecipe(check_scale(scale), like)
    images = {name: (path,) for name, path in merge_sources(sources, where=where).items()}
    return run_batch(recipe, images, output, jobs=jobs, where=where)


def make_sub_images(
    source: str | Path,
    output: str | Path,
    *,
    scale: int,
    crop: int = 160,
    step: int = 160,
    thresh: int = 0,
    skip_small: bool = False,
    jobs: int = 1,
    where: str = '--input',
) -> BatchResult:
    """Cut a benchmark folder into aligned crops, ``OUTPUT/HR/NAME_s001.png`` and ``OUTPUT/LRxSCALE/NAME_s001.png``.

    Small files make a training loader read no more than it needs.

    Args:
        source: Folder with ``HR`` and ``LRxSCALE``.
        output: As in :func:`make_bicubic`.
        scale: Of the benchmark folder.
        crop: Height and width of a crop in pixels of the ground truth, a multiple of the scale.
        step: From one crop to the next, likewise.
        thresh: See :class:`~mea_plugin.data.recipes.SubImageRecipe`.
        skip_small: Leave out images smaller than a crop, instead of refusing them.
        jobs: Processes to use.
        where: The option that names the folder, for errors.

    Raises:
        InputError: An image has no partner, a pair's sizes do not differ by the scale, an image is smaller than the
            crop, or a folder or number cannot be used.
    """
    check_scale(scale)
    for option, value in (('--crop', crop), ('--step', step)):
        if value < 1 or value % scale:
            raise InputError(
                f'{value} is no multiple of the scale {scale}', where=option, do='Give a multiple, above 0'
            )
    if thresh < 0:
        raise InputError(f'{thresh} is below 0', where='--thresh', do='Give 0 or more')
    recipe = SubImageRecipe(scale, crop, step, thresh, skip_small)
    return run_batch(recipe, _pairs(expanded(source), scale, where), output, jobs=jobs, where=where)


def _pairs(folder: Path, scale: int, where: str) -> dict[str, tuple[Path, Path]]:
    """Ground truth and low-resolution image of a benchmark folder, by name."""
    hr = by_stem(list_images(folder / 'HR', where=where), where=where)
    lr = by_stem(list_images(folder / f'LRx{scale}', where=where), where=where)
    for name in sorted(hr.keys() ^ lr.keys()):
        path, other = (hr[name], f'LRx{scale}') if name in hr else (lr[name], 'HR')
        raise InputError(f'has no partner in {folder / other}', where=path, do='Make the folder again, or remove it')
    return {name: (path, lr[name]) for name, path in hr.items()}
