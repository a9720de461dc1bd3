"""Test sets: which ground truth belongs to which low-resolution image, and whether both can be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import ImageHeader, check_pair, image_header, list_images, read_rgb
from mea_plugin.core.pairs import by_name
from mea_plugin.data.resize import downscale, mod_crop
from mea_plugin.metrics.planes import check_size

__all__ = ['EvaluationSet', 'ImagePair', 'bare_name', 'check_colours', 'check_pairs', 'list_pairs', 'load_pair']

# What benchmark folders append to a name: babyx4, img_001_SRF_4_LR, 0001_HR, comic_bicubic.
_SUFFIX = re.compile(r'([_-]?x\d+|[_.-](lr|hr|lq|gt|bicubic|bi|srf[_-]?\d+))$', re.IGNORECASE)


@dataclass(frozen=True)
class EvaluationSet:
    """A named test set; at least one of ``lq`` and ``gt`` is there.

    Attributes:
        name: How tables call it.
        lq: Folder of the images that the models are asked about; without one, they are made of the ground truth.
        gt: Folder of their ground truth; without one, only fidelity can be measured.
        target: Folder of images that answers shall look like, for metrics of whole sets.
    """

    name: str
    lq: Path | None = None
    gt: Path | None = None
    target: Path | None = None


@dataclass(frozen=True)
class ImagePair:
    """One image of a test set: its name in tables, the query, and the ground truth; one of the two may be missing."""

    name: str
    lq: Path | None
    gt: Path | None

    @property
    def path(self) -> Path:
        """The file that stands for the image in errors."""
        path = self.lq or self.gt
        assert path is not None
        return path


def list_pairs(test_set: EvaluationSet, *, where: str = 'test_sets') -> list[ImagePair]:
    """Pair the files of a test set by name; where names differ, by name without suffixes like ``x4`` or ``_LR``.

    Returns:
        The pairs, sorted by the low-resolution image's file name.

    Raises:
        InputError: A folder is missing or empty, two files of one folder have the same name, or a file has no partner.
    """
    lq = list_images(test_set.lq, where=f'{where}.lq') if test_set.lq is not None else []
    gt = list_images(test_set.gt, where=f'{where}.gt') if test_set.gt is not None else []
    if not gt:
        return [ImagePair(name, path, None) for name, path in by_name(lq, _stem).items()]
    if not lq:
        return [ImagePair(name, None, path) for name, path in by_name(gt, _stem).items()]
    name_of = _stem if {p.stem for p in lq} == {p.stem for p in gt} else bare_name
    queries, truths = by_name(lq, name_of), by_name(gt, name_of)
    for name, path in queries.items():
        if name not in truths:
            raise _unpaired(path, 'ground truth', gt, lq)
    for name, path in truths.items():
        if name not in queries:
            raise _unpaired(path, 'low-resolution image', lq, gt)
    return [ImagePair(name, path, truths[name]) for name, path in queries.items()]


def load_pair(pair: ImagePair, scale: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a pair.

    A ground truth that is up to ``scale - 1`` pixels too large is cut at its right and bottom edge, as both toolboxes
    do (modulo crop): its low-resolution image was made from that part. Where there is none, it is made so, as MATLAB's
    ``imresize`` would (:func:`~mea_plugin.data.resize.downscale`).

    Returns:
        The query ``(H, W, 3)`` and the ground truth ``(scale * H, scale * W, 3)`` or None; uint8, RGB.

    Raises:
        InputError: A file cannot be used, or the sizes do not match the scale.
    """
    gt = None if pair.gt is None else read_rgb(pair.gt)
    if pair.lq is None:
        assert gt is not None
        return downscale(gt, scale), mod_crop(gt, scale)
    lq = read_rgb(pair.lq)
    if gt is None or pair.gt is None:
        return lq, None
    height, width = _check_sizes(lq.shape[:2], gt.shape[:2], scale, pair.gt)
    return lq, gt[:height, :width]


def check_pairs(
    pairs: Iterable[ImagePair], *, scale: int, border: int, grey_too: bool = False
) -> list[tuple[int, int]]:
    """Look at every image's header, so that a bad one is met before the models run for an hour.

    Args:
        pairs: Of one test set.
        scale: Of the models.
        border: Pixels that are cut at each edge.
        grey_too: Whether grey images may stand among colour ones.

    Returns:
        Height and width of every ground truth.

    Raises:
        InputError: A file cannot be used, sizes do not match the scale, an image is too small for SSIM, or grey images
            stand among colour ones.
    """
    headers: dict[Path, ImageHeader] = {}
    sizes = []
    for pair in pairs:
        lq = headers.setdefault(pair.lq, image_header(pair.lq)) if pair.lq else None
        gt = headers.setdefault(pair.gt, image_header(pair.gt)) if pair.gt else None
        if gt and pair.gt:
            sizes.append((gt.height, gt.width))
            answer = (gt.height // scale * scale, gt.width // scale * scale)
            if lq:
                answer = _check_sizes(lq[:2], gt[:2], scale, pair.gt)
        else:
            assert lq is not None
            answer = (lq.height * scale, lq.width * scale)
        check_size(answer, border=border, where=pair.path)
    if not grey_too:
        check_colours(headers)
    return sizes


def check_colours(headers: dict[Path, ImageHeader]) -> None:
    """Refuse grey images among colour ones: a metric on R, G and B, or a mean over both, hides what they are.

    Raises:
        InputError: There are both.
    """
    grey = [path for path, header in headers.items() if header.grey]
    if grey and len(grey) < len(headers):
        raise InputError(
            f'is grey, among {len(headers) - len(grey)} colour images',
            where=grey[0],
            do='Convert it to RGB, or evaluate grey images as a test set of their own',
        )


def _check_sizes(lq: Sequence[int], gt: Sequence[int], scale: int, where: Path) -> tuple[int, int]:
    """The size that the answer and the used part of the ground truth have."""
    height, width = lq[0] * scale, lq[1] * scale
    if not (0 <= gt[0] - height < scale and 0 <= gt[1] - width < scale):
        check_pair(lq, gt, scale, where=where)
    return height, width


def _stem(path: Path) -> str:
    return path.stem


def bare_name(path: Path) -> str:
    """The name without what benchmarks append to it."""
    name = path.stem
    while (shorter := _SUFFIX.sub('', name)) and shorter != name:
        name = shorter
    return name


def _unpaired(path: Path, what: str, there: Sequence[Path], here: Sequence[Path]) -> InputError:
    counts = '' if len(there) == len(here) else f', which holds {len(there)} images, not {len(here)}'
    return InputError(
        f'no {what} of that name in {there[0].parent}{counts}',
        where=path,
        do='Give both files the same name, or remove this one',
    )
