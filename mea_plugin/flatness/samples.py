"""What the loss is taken over: crops of a query set and of its responses, the same ones every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, hash_json
from mea_plugin.query_sets.finished import FinishedSet, read_pair
from mea_plugin.query_sets.layout import Pair

__all__ = ['Samples', 'check_crop', 'load_samples']


@dataclass(frozen=True)
class Samples:
    """Crops.

    Attributes:
        queries: uint8 ``(n, 3, crop, crop)``.
        responses: uint8 ``(n, 3, scale * crop, scale * crop)``.
        fingerprint: A hash of both.
    """

    queries: Tensor
    responses: Tensor
    fingerprint: str


def check_crop(source: FinishedSet, crop: int, where: str) -> None:
    """Refuse a crop that is larger than one of the queries.

    Raises:
        InputError: It is.
    """
    smallest = min(source.pairs, key=lambda pair: min(pair.size))
    height, width = _query_size(smallest, source.scale)
    if min(height, width) < crop:
        what = f'the crop of {crop} is larger than query {smallest.id}.png of {width}x{height} pixels'
        raise InputError(what, where=where, do=f'Give {min(height, width)} or less')


def load_samples(source: FinishedSet, *, count: int, crop: int, seed: int) -> Samples:
    """Draw crops: every pair gives one before any gives a second; only those drawn are read.

    Args:
        source: The query set; :func:`check_crop` has passed.
        count: How many crops.
        crop: Their height and width in pixels of the query.
        seed: Which ones.

    Raises:
        InputError: An image is not what the manifest says.
    """
    rng = np.random.default_rng(seed)
    total = len(source.pairs)
    order = np.concatenate([rng.permutation(total) for _ in range(-(-count // total))])[:count]
    queries: list[np.ndarray] = []
    responses: list[np.ndarray] = []
    for index in order:
        pair, scale = source.pairs[index], source.scale
        height, width = _query_size(pair, scale)
        y, x = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
        images = read_pair(source.folder, pair, scale)
        for crops, image, factor in zip((queries, responses), images, (1, scale), strict=True):
            part = image[y * factor : (y + crop) * factor, x * factor : (x + crop) * factor]
            crops.append(np.ascontiguousarray(part.transpose(2, 0, 1)))
    both = [np.stack(crops) for crops in (queries, responses)]
    first, second = (torch.from_numpy(one) for one in both)
    return Samples(first, second, hash_json([hash_array(one) for one in both]))


def _query_size(pair: Pair, scale: int) -> tuple[int, int]:
    return pair.size[0] // scale, pair.size[1] // scale
