"""A query set of aligned sub-images, so that a training loader reads no more than it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.folders import is_made, written_aside
from mea_plugin.core.images import write_png
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch import BatchResult
from mea_plugin.data.parallel import mapper
from mea_plugin.data.recipes import crop_starts
from mea_plugin.query_sets.finished import SIDES, FinishedSet, check_count, read_pair, write_manifests
from mea_plugin.query_sets.layout import Pair

__all__ = ['crop_query_set']


@dataclass(frozen=True)
class _Item:
    """A pair, and where its crops go: the id of the first, and their top left corners in the query."""

    pair: Pair
    first: int
    corners: tuple[tuple[int, int], ...]


def crop_query_set(
    source: str | Path,
    output: str | Path,
    *,
    crop: int,
    step: int | None = None,
    thresh: int = 0,
    skip_small: bool = False,
    jobs: int = 1,
) -> BatchResult:
    """Cut every query into crops, row by row, and its response into the same at the victim's scale.

    A crop is called ``NAME_s001`` after the image it comes from, and the manifest's ``parents`` has the id of its pair.
    The result is a query set like any other; it appears when it is whole.

    Args:
        source: A complete query set.
        output: Folder for the result; new or empty, or this result already.
        crop: Height and width of a crop in pixels of the query.
        step: From one crop to the next, in pixels of the query; by default, crops touch.
        thresh: A last strip wider than this (pixels of the query) gets a crop that overlaps the one before; others are
            dropped.
        skip_small: Leave out queries smaller than a crop, instead of refusing them.
        jobs: Processes to use.

    Returns:
        How many crops were made, or are there already.

    Raises:
        InputError: The query set is incomplete or damaged, a query is smaller than the crop, a number cannot be used,
            or the output folder holds something else.
    """
    output, step = expanded(output), crop if step is None else step
    for option, value, least in (('--crop', crop, 1), ('--step', step, 1), ('--thresh', thresh, 0)):
        if value < least:
            raise InputError(f'{value} is below {least}', where=option, do=f'Give {least} or more')
    parent = FinishedSet.load(source)
    settings = {'crop': crop, 'step': step, 'thresh': thresh, 'skip_small': skip_small}
    made_by: dict[str, Any] = {'command': 'crop', **settings, 'parent': parent.content}
    items = _plan(parent, crop, step, thresh, skip_small)
    count = sum(len(item.corners) for item in items)
    check_count(count)
    if is_made(output, made_by):
        return BatchResult(made=0, kept=count)
    with written_aside(output) as aside:
        pairs: list[Pair] = []
        parents: list[str] = []
        with mapper(jobs, len(items)) as each:
            work = partial(_make, parent.folder, aside, parent.scale, crop)
            for item, made in zip(items, each(work, items, 'crop'), strict=True):
                pairs += made
                parents += [item.pair.id] * len(made)
        write_manifests(aside, parent, pairs, parents, made_by)
    return BatchResult(made=count, kept=0)


def _plan(parent: FinishedSet, crop: int, step: int, thresh: int, skip_small: bool) -> list[_Item]:
    """Which crops there will be, from the sizes in the manifest."""
    items, first = [], 0
    for pair in parent.pairs:
        height, width = (value // parent.scale for value in pair.size)
        if min(height, width) < crop:
            if skip_small:
                continue
            what = f'{width}x{height} pixels are smaller than the crop of {crop}'
            raise InputError(what, where=parent.path('query', pair), do='Lower --crop or add --skip-small')
        rows, columns = (crop_starts(length, crop, step, thresh) for length in (height, width))
        items.append(_Item(pair, first, tuple((y, x) for y in rows for x in columns)))
        first += len(items[-1].corners)
    if not items:
        raise InputError('every query is smaller than the crop', where='--input', do='Lower --crop')
    return items


def _make(source: Path, output: Path, scale: int, crop: int, item: _Item) -> list[Pair]:
    """Write the crops of one pair. Runs in a worker."""
    images = read_pair(source, item.pair, scale)
    pairs = []
    for index, (y, x) in enumerate(item.corners):
        identifier = f'{item.first + index:06d}'
        hashes = []
        for side, image, factor in zip(SIDES, images, (1, scale), strict=True):
            part = image[y * factor : (y + crop) * factor, x * factor : (x + crop) * factor]
            write_png(output / side / f'{identifier}.png', part)
            hashes.append(hash_array(part))
        size = (crop * scale, crop * scale)
        pairs.append(Pair(identifier, f'{item.pair.name}_s{index + 1:03d}', hashes[0], hashes[1], size))
    return pairs
