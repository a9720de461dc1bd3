"""The test sets of an option file as folders that an evaluation can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.core.options import check_keys, check_section, require
from mea_plugin.data.prepare import make_benchmark
from mea_plugin.data.resize import downscale
from mea_plugin.data.sources import image_source
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.evaluation.results import Protocol
from mea_plugin.evaluation.sets import check_sets

__all__ = ['prepare_test_sets']


def prepare_test_sets(entries: Any, output: Path, scale: int, *, where: str) -> list[dict[str, Any]]:
    """Make low-resolution images by bicubic from ``gt``, or shrink ``lq``, below a folder; bad images are met here.

    A victim of scale 1 has no ground truth: its test sets have ``lq`` only.

    Args:
        entries: ``name``; ``gt``, or ``lq`` with ``shrink``; ``target``.
        output: Each set gets a folder of its name there, unless its images can be used as they are.
        scale: The victim's.
        where: The option, for errors.

    Returns:
        ``name``, ``lq``, ``gt`` and ``target`` as folders.

    Raises:
        InputError: An entry or an image cannot be used.
    """
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f'expected a list of test sets, got {entries!r}', where=where, do='Write - {name: ..., gt: ...}'
        )
    test_sets = list(_prepare(entries, output, scale, where))
    check_sets(parse_test_sets(test_sets, where), scale=scale, border=Protocol(scale).border, prefix=f'{where}: ')
    return test_sets


def _prepare(entries: Iterable[Any], output: Path, scale: int, where: str) -> Iterable[dict[str, Any]]:
    for entry in entries:
        check_keys(check_section(entry, where), ('name', 'lq', 'gt', 'target', 'shrink'), where)
        name = require(entry, 'name', where)
        folder = output / str(name)
        if 'lq' in entry:
            yield _shrunk(entry, folder, where)
        elif scale == 1:
            raise InputError(f'{name} has no lq', where=where, do='Give the images to ask about as lq')
        else:
            make_benchmark([require(entry, 'gt', where)], folder, scale=scale, where=where)
            target = {key: entry[key] for key in ('target',) if key in entry}
            yield {'name': name, 'lq': str(folder / f'LRx{scale}'), 'gt': str(folder / 'HR'), **target}


def _shrunk(entry: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """A test set whose ``lq`` is a folder of images as they are to be asked about."""
    shrink = entry.get('shrink', 1)
    rest = {key: value for key, value in entry.items() if key != 'shrink'}
    if not isinstance(shrink, int) or shrink < 1 or ('gt' in entry and shrink > 1):
        raise InputError(f'shrink is {shrink!r}', where=where, do='Give 1 or more, and only where there is no gt')
    if shrink == 1 and Path(entry['lq']).is_dir():
        return rest
    for name, path in image_source(entry['lq'], where=where).items():
        write_png(folder / 'lq' / f'{name}.png', downscale(read_rgb(path), shrink) if shrink > 1 else read_rgb(path))
    return {**rest, 'lq': str(folder / 'lq')}
