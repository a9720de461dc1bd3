"""The saved pictures of an evaluation: which are shown, and their pixels as text inside the page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.folders import OutsideError, inside
from mea_plugin.core.images import encode_png, read_rgb
from mea_plugin.core.records import tell_once
from mea_plugin.report.sources import Source

__all__ = ['Blob', 'Look', 'Picture', 'embed', 'evenly', 'list_pictures']

_WEBP_SIDE = 16383
_WEBP = {'lossless': True, 'method': 2, 'quality': 20}
"""Lossless; 8 megapixels per second and core, 3 % larger than at a sixteenth of that speed."""


@dataclass(frozen=True)
class Picture:
    """One image of a test set, as files.

    Attributes:
        source: Which evaluation it belongs to.
        set_name: The test set.
        image: The image's name.
        files: By what they are: ``query``, ``truth``, and ``model:NAME`` for the answers; in the order of the page.
    """

    source: int
    set_name: str
    image: str
    files: dict[str, Path]


Look = Callable[[Picture, dict[str, np.ndarray]], None]


@dataclass(frozen=True)
class Blob:
    """An image file's content inside the page: ``image/webp`` or ``image/png``, in base64."""

    key: str
    kind: str
    text: str


def list_pictures(source: Source, limit: int | None, index: int = 0) -> list[Picture]:
    """The pictures of an evaluation that the page shows.

    An image with a file outside of the evaluation's folder is left out, which is said in a line.

    Args:
        source: The evaluation.
        limit: At most so many of each test set, evenly spread over its sorted names; None for all.
        index: The evaluation's place among all.

    Raises:
        InputError: A file is missing.
    """
    evaluation = source.evaluation
    order = [model['name'] for model in evaluation['models']]
    chosen, outside = [], []
    for name in dict.fromkeys(test_set['name'] for test_set in evaluation['test_sets']):
        members = sorted((one for one in evaluation['pictures'] if one['set'] == name), key=lambda one: one['image'])
        for entry in evenly(members, limit):
            given = {'query': entry['query'], 'truth': entry['truth']}
            given |= {f'model:{model}': entry['answers'][model] for model in order if model in entry['answers']}
            try:
                files = {key: _locate(source.path, path) for key, path in given.items() if path is not None}
            except OutsideError as error:
                outside.append(error)
                continue
            chosen.append(Picture(index, name, entry['image'], files))
    if outside:
        tell_once(f'left out of the report, images: {len(outside)}; the first: {outside[0]}')
    return chosen


def evenly(members: Sequence[Any], limit: int | None) -> list[Any]:
    """At most ``limit`` of a sequence, in order: the middles of as many equal parts."""
    if limit is None or limit >= len(members):
        return list(members)
    return [members[(2 * part + 1) * len(members) // (2 * limit)] for part in range(limit)]


def embed(pictures: Sequence[Picture], look: Look | None = None) -> tuple[list[dict[str, Any]], list[Blob]]:
    """Encode pictures, equal ones once.

    Args:
        pictures: From :func:`list_pictures`.
        look: Is shown each picture and its arrays, by the keys of its files, while they are in memory.

    Returns:
        For each picture ``{'set', 'image', 'width', 'height', 'blobs': {KEY: the blob's key}}``, the size being that of
        the answers; and the blobs.

    Raises:
        InputError: A file cannot be read, or has another size than the rest.
    """
    described: list[dict[str, Any]] = []
    blobs: dict[str, Blob] = {}
    keys: dict[str, str] = {}  # by the hash of the pixels
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(_read(pool, pictures), 'embed', len(pictures), unit='image', disable=None) as bar,
    ):
        for picture, arrays in bar:
            height, width = _check_sizes(picture, arrays)
            if look:
                look(picture, arrays)
            hashes = {key: hash_array(array) for key, array in arrays.items()}
            new = {digest: arrays[key] for key, digest in hashes.items() if digest not in keys}
            for digest, (kind, text) in zip(new, pool.map(_encode, new.values()), strict=True):
                keys[digest] = f'b{len(keys)}'
                blobs[keys[digest]] = Blob(keys[digest], kind, text)
            described.append(
                {
                    **{'set': picture.set_name, 'image': picture.image, 'width': width, 'height': height},
                    'blobs': {key: keys[digest] for key, digest in hashes.items()},
                }
            )
    return described, list(blobs.values())


def _read(pool: ThreadPoolExecutor, pictures: Iterable[Picture]) -> Iterator[tuple[Picture, dict[str, np.ndarray]]]:
    """Each picture with its arrays; one picture is in memory at a time, its files are read side by side."""
    for picture in pictures:
        yield picture, dict(zip(picture.files, pool.map(read_rgb, picture.files.values()), strict=True))


def _check_sizes(picture: Picture, arrays: dict[str, np.ndarray]) -> tuple[int, int]:
    """The size of the answers and of the ground truth, which must be one; a whole multiple of the query's."""
    sizes = {key: array.shape[:2] for key, array in arrays.items()}
    query = sizes.pop('query')
    height, width = next(iter(sizes.values()), query)
    for key, size in sizes.items():
        if size != (height, width):
            what = f'is of {size[1]}x{size[0]} pixels, others of this image are of {width}x{height}'
            raise InputError(what, where=picture.files[key], do='Run tools/evaluate.py again')
    if height % query[0] or width % query[1] or height // query[0] != width // query[1]:
        what = f'is of {query[1]}x{query[0]} pixels, of which {width}x{height} is no whole multiple'
        raise InputError(what, where=picture.files['query'], do='Run tools/evaluate.py again')
    return height, width


def _encode(image: np.ndarray) -> tuple[str, str]:
    """Lossless WebP, a third smaller than PNG; PNG where it is too large for that."""
    if max(image.shape) > _WEBP_SIDE:
        return 'image/png', base64.b64encode(encode_png(image)).decode()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'WEBP', **_WEBP)
    return 'image/webp', base64.b64encode(buffer.getvalue()).decode()


def _locate(evaluation: Path, given: str) -> Path:
    """The file of a path in ``evaluation.json``; only what lies below that file's folder is published."""
    path = inside(evaluation.parent, given, where=evaluation, do='Run tools/evaluate.py again')
    if not path.is_file():
        raise InputError(f'the picture {given} is missing', where=evaluation, do='Run tools/evaluate.py again')
    return path
