"""What one row of the picture shows: an image, its most detailed region, and every model's answer there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.metrics.planes import to_y

__all__ = ['CONTEXT_SIDE', 'CROP_SIDES', 'PanelRow', 'choose_rows', 'cut_row', 'most_detailed']

CROP_SIDES = (40, 48, 60, 80, 120)
"""Sides of the regions shown: all divide the picture's cell of 240 pixels, so that a pixel stays a square."""

CONTEXT_SIDE = 544
"""Side of the overview, in pixels of the picture."""

EDGE = 16
"""Pixels along the edge that are no region to show: padding tells there, not the network."""


@dataclass(frozen=True)
class PanelRow:
    """One row of the picture; images are uint8 ``(H, W, 3)``, crops all show the same region.

    Attributes:
        title: Test set and image.
        context: Square overview, :data:`CONTEXT_SIDE` pixels wide.
        box: The region in the overview: left, top, side.
        truth: Crop of the ground truth, if there is one.
        query: Crop of the query, its pixels repeated ``scale`` times.
        answers: Crop of each model's answer.
        errors: Mean absolute difference to the victim, or without one to the ground truth, over R, G and B, float
            ``(H, W)``, of each model but the victim.
        to_truth: Y-PSNR of the whole image to the ground truth; empty without one.
        to_victim: Y-PSNR of the whole image to the victim.
        sizes: Width and height of the answer and of the query.
    """

    title: str
    context: np.ndarray
    box: tuple[int, int, int]
    truth: np.ndarray | None
    query: np.ndarray
    answers: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    to_truth: dict[str, float]
    to_victim: dict[str, float]
    sizes: tuple[tuple[int, int], tuple[int, int]]


def choose_rows(names: Sequence[Sequence[str]], wanted: int | Sequence[str], *, where: str) -> set[tuple[int, str]]:
    """Which images the picture shows.

    Args:
        names: The image names of each test set.
        wanted: How many (shared out among the sets, evenly spread over each one's sorted names: nobody's choice), or
            which: names of images.
        where: The option that asks for them, for errors.

    Returns:
        Pairs of the set's index and the image's name.

    Raises:
        InputError: A name that no set has.
    """
    if isinstance(wanted, int):
        chosen = set()
        for index, (members, share) in enumerate(zip(names, _shares([len(one) for one in names], wanted), strict=True)):
            chosen |= {(index, members[(2 * part + 1) * len(members) // (2 * share)]) for part in range(share)}
        return chosen
    known = {name for members in names for name in members}
    for name in wanted:
        if name not in known:
            raise InputError(f"no test image is called '{name}'", where=where, do=suggestion(name, known))
    return {(index, name) for index, members in enumerate(names) for name in members if name in wanted}


def most_detailed(image: np.ndarray, side: int, margin: int) -> tuple[int, int]:
    """The square with the most detail: the largest mean absolute gradient of Y; the first one where several are equal.

    Args:
        image: uint8 ``(H, W, 3)``.
        side: Side of the square, at most the image's shorter side.
        margin: Pixels to keep away from the edge, as far as the image allows.

    Returns:
        Its top and left.
    """
    luma = to_y(image)
    gradient = np.zeros_like(luma)
    gradient[1:, :] += np.abs(np.diff(luma, axis=0))
    gradient[:, 1:] += np.abs(np.diff(luma, axis=1))
    sums = np.pad(gradient.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    detail = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    down, right = (min(margin, (positions - 1) // 2) for positions in detail.shape)
    inner = detail[down : detail.shape[0] - down, right : detail.shape[1] - right].round(3)
    top, left = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(top) + down, int(left) + right


def cut_row(
    title: str,
    query: np.ndarray,
    truth: np.ndarray | None,
    answers: Mapping[str, np.ndarray],
    victim: str | None,
    *,
    to_truth: dict[str, float],
    to_victim: dict[str, float],
) -> PanelRow:
    """Keep of one image what the picture needs, so that whole images can be let go.

    Args:
        title: Test set and image.
        query: uint8 ``(H, W, 3)``.
        truth: uint8 ``(scale * H, scale * W, 3)`` or None.
        answers: The same of each model, by its name.
        victim: The victim's name among them, where there is one.
        to_truth: Y-PSNR of each answer to the ground truth; empty without one.
        to_victim: Y-PSNR of each answer but the victim's to the victim's; empty without a victim.
    """
    shown = truth if truth is not None else answers[victim] if victim else next(iter(answers.values()))
    height, width = shown.shape[:2]
    scale = height // query.shape[0]
    side = _crop_side(height, width)
    top, left = most_detailed(shown, side, margin=EDGE)
    region = slice(top, top + side), slice(left, left + side)
    context, box = _overview(shown, (left, top, side))
    crops = {name: answer[region].copy() for name, answer in answers.items()}
    reference = crops[victim] if victim else None if truth is None else truth[region]
    return PanelRow(
        title=title,
        context=context,
        box=box,
        truth=None if truth is None else truth[region].copy(),
        query=query.repeat(scale, axis=0).repeat(scale, axis=1)[region].copy(),
        answers=crops,
        errors={
            name: np.abs(crop.astype(np.float64) - reference).mean(axis=2)
            for name, crop in crops.items()
            if name != victim and reference is not None
        },
        to_truth=to_truth,
        to_victim=to_victim,
        sizes=((width, height), (query.shape[1], query.shape[0])),
    )


def _shares(sizes: Sequence[int], wanted: int) -> list[int]:
    """How many of each set: one after the other in turn, as long as they have any left."""
    shares = [0] * len(sizes)
    while sum(shares) < min(wanted, sum(sizes)):
        fewest = min(share for share, size in zip(shares, sizes, strict=True) if share < size)
        shares[next(i for i, size in enumerate(sizes) if shares[i] == fewest and fewest < size)] += 1
    return shares


def _crop_side(height: int, width: int) -> int:
    """About a quarter of the shorter side, from the sides that enlarge to a cell by a whole number."""
    shorter = min(height, width)
    return min(max([side for side in CROP_SIDES if side * 4 <= shorter], default=CROP_SIDES[0]), shorter)


def _overview(image: np.ndarray, box: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The central square of an image, moved as far as needed to hold the box, at :data:`CONTEXT_SIDE`; and the box."""
    left, top, side = box
    height, width = image.shape[:2]
    square = min(height, width)
    x = min(max((width - square) // 2, left + side - square), left)
    y = min(max((height - square) // 2, top + side - square), top)
    part = Image.fromarray(image[y : y + square, x : x + square])
    resized = part.resize((CONTEXT_SIDE, CONTEXT_SIDE), Image.Resampling.LANCZOS)
    zoom = CONTEXT_SIDE / square
    return np.asarray(resized), (round((left - x) * zoom), round((top - y) * zoom), round(side * zoom))
