"""Test sets: which ground truth belongs to which low-resolution image, and whether both can be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mea_plugin.errors import InputError
from mea_plugin.evaluation.metrics import check_size
from mea_plugin.evaluation.results import Protocol
from mea_plugin.images import check_pair, image_size, list_images, read_rgb

__all__ = ['EvaluationSet', 'ImagePair', 'check_pairs', 'list_pairs', 'load_pair']

# What benchmark folders append to a name: babyx4, img_001_SRF_4_LR, 0001_HR, comic_bicubic.
_SUFFIX = re.compile(r'([_-]?x\d+|[_.-](lr|hr|lq|gt|bicubic|bi|srf[_-]?\d+))$', re.IGNORECASE)


@dataclass(frozen=True)
class EvaluationSet:
    """A named test set.

    Attributes:
        name: How tables call it.
        lq: Folder of the images that the models are asked about.
        gt: Folder of their ground truth; without one, only fidelity can be measured.
    """

    name: str
    lq: Path
    gt: Path | None = None


@dataclass(frozen=True)
class ImagePair:
    """One image of a test set: its name in tables, the query, and the ground truth where there is one."""

    name: str
    lq: Path
    gt: Path | None


def list_pairs(test_set: EvaluationSet, *, where: str = 'test_sets') -> list[ImagePair]:
    """Pair the files of a test set by name; where names differ, by name without suffixes like ``x4`` or ``_LR``.

    Returns:
        The pairs, sorted by the low-resolution image's file name.

    Raises:
        InputError: A folder is missing or empty, two files of one folder have the same name, or a file has no partner.
    """
    lq = list_images(test_set.lq, where=f'{where}.lq')
    if test_set.gt is None:
        return [ImagePair(name, path, None) for name, path in _by_name(lq, _stem).items()]
    gt = list_images(test_set.gt, where=f'{where}.gt')
    name_of = _stem if {p.stem for p in lq} == {p.stem for p in gt} else _bare
    queries, truths = _by_name(lq, name_of), _by_name(gt, name_of)
    for name, path in queries.items():
        if name not in truths:
            raise _unpaired(path, 'ground truth', test_set.gt)
    for name, path in truths.items():
        if name not in queries:
            raise _unpaired(path, 'low-resolution image', test_set.lq)
    return [ImagePair(name, path, truths[name]) for name, path in queries.items()]


def load_pair(pair: ImagePair, scale: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a pair.

    A ground truth that is up to ``scale - 1`` pixels too large is cut at its right and bottom edge, as both toolboxes
    do (modulo crop): its low-resolution image was made from that part.

    Returns:
        The query ``(H, W, 3)`` and the ground truth ``(scale * H, scale * W, 3)`` or None; uint8, RGB.

    Raises:
        InputError: A file cannot be used, or the sizes do not match the scale.
    """
    lq = read_rgb(pair.lq)
    if pair.gt is None:
        return lq, None
    gt = read_rgb(pair.gt)
    height, width = _check_sizes(lq.shape[:2], gt.shape[:2], scale, pair.gt)
    return lq, gt[:height, :width]


def check_pairs(pairs: Iterable[ImagePair], protocol: Protocol) -> None:
    """Look at every image's header, so that a bad one is met before the models run for an hour.

    Raises:
        InputError: A file cannot be used, sizes do not match the scale, or an image is too small for SSIM.
    """
    for pair in pairs:
        height, width = image_size(pair.lq)
        if pair.gt:
            _check_sizes((height, width), image_size(pair.gt), protocol.scale, pair.gt)
        answer = (height * protocol.scale, width * protocol.scale)
        check_size(answer, border=protocol.border, where=pair.lq)


def _check_sizes(lq: tuple[int, ...], gt: tuple[int, ...], scale: int, where: Path) -> tuple[int, int]:
    """The size that the answer and the used part of the ground truth have."""
    height, width = lq[0] * scale, lq[1] * scale
    if not (0 <= gt[0] - height < scale and 0 <= gt[1] - width < scale):
        check_pair(lq, gt, scale, where=where)
    return height, width


def _stem(path: Path) -> str:
    return path.stem


def _bare(path: Path) -> str:
    """The name without what benchmarks append to it."""
    name = path.stem
    while (shorter := _SUFFIX.sub('', name)) and shorter != name:
        name = shorter
    return name


def _by_name(paths: Iterable[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        name = name_of(path)
        if name in named:
            raise InputError(
                f"'{named[name].name}' and '{path.name}' are both called '{name}'",
                where=path.parent,
                do='Rename or remove one',
            )
        named[name] = path
    return named


def _unpaired(path: Path, what: str, folder: Path) -> InputError:
    return InputError(
        f'no {what} of that name in {folder}', where=path, do='Give both files the same name, or remove this one'
    )
