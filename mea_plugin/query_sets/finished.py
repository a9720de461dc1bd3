"""Finished query sets as the input and output of tools/prepare_data.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, hash_json, read_json, write_json, write_text
from mea_plugin.core.folders import count_files
from mea_plugin.core.images import check_pair, read_rgb
from mea_plugin.core.paths import expanded
from mea_plugin.data.parallel import mapper
from mea_plugin.query_sets.layout import MANIFEST, Pair, check_complete

__all__ = ['SIDES', 'FinishedSet', 'check_count', 'read_pair', 'write_manifests']

SIDES = ('query', 'response')
_DO = 'Run tools/query.py on it again'
_MOST = 1_000_000  # ids have six digits


@dataclass(frozen=True)
class FinishedSet:
    """A complete query set.

    Attributes:
        folder: Where it lies.
        manifest: Its manifest.
        pairs: The manifest's pairs.
        scale: Of the victim.
    """

    folder: Path
    manifest: dict[str, Any]
    pairs: tuple[Pair, ...]
    scale: int

    @classmethod
    def load(cls, folder: str | Path, *, where: str = '--input') -> FinishedSet:
        """Read the manifest, and see that every file is there.

        Args:
            folder: The query set.
            where: The option that names it, for errors.

        Raises:
            InputError: The folder holds no query set, or an incomplete or damaged one.
        """
        folder = expanded(folder)
        if not (folder / MANIFEST).is_file():
            raise InputError(f'{folder} is no query set, it has no {MANIFEST}', where=where, do='Give a query set')
        manifest = read_json(folder / MANIFEST)
        if isinstance(manifest, dict) and 'description' not in manifest:
            raise InputError(f'{folder} is no query set', where=where, do='Give what tools/query.py made')
        try:
            check_complete(folder)
            assert isinstance(manifest, dict)
            pairs = tuple(_pair(entry) for entry in manifest['pairs'])
            scale = int(manifest['description']['victim']['scale'])
        except InputError:  # is a ValueError, too
            raise
        except (KeyError, TypeError, ValueError):
            raise InputError('the manifest is damaged', where=folder / MANIFEST, do=_DO) from None
        if not pairs:
            raise InputError('the query set holds 0 pairs', where=folder, do=_DO)
        return cls(folder, manifest, pairs, scale)

    @property
    def content(self) -> str:
        """A hash of all images and their names."""
        return hash_json(self.manifest['pairs'])

    def path(self, side: str, pair: Pair) -> Path:
        """The file of a query or response."""
        return self.folder / side / f'{pair.id}.png'

    def verify(self, *, jobs: int) -> None:
        """Read every image.

        Raises:
            InputError: One is not what the manifest says.
        """
        with mapper(jobs, len(self.pairs)) as each:
            for _ in each(partial(_verify, self.folder, self.scale), self.pairs, 'check'):
                pass


def _pair(entry: dict[str, Any]) -> Pair:
    height, width = entry['size']
    if not str(entry['id']).isdecimal():  # it becomes a file's name
        raise ValueError
    return Pair(str(entry['id']), str(entry['name']), entry['query'], entry['response'], (int(height), int(width)))


def _verify(folder: Path, scale: int, pair: Pair) -> None:
    read_pair(folder, pair, scale)


def read_pair(folder: Path, pair: Pair, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Query and response, uint8 ``(h, w, 3)`` and ``(h * scale, w * scale, 3)``.

    Raises:
        InputError: One is not what the manifest says.
    """
    paths = [folder / side / f'{pair.id}.png' for side in SIDES]
    query, response = (read_rgb(path) for path in paths)
    for path, image, value in zip(paths, (query, response), (pair.query, pair.response), strict=True):
        if hash_array(image) != value:
            raise InputError(f'is another image than {MANIFEST} says', where=path, do=_DO)
    check_pair(query.shape, response.shape, scale, where=paths[1])
    return query, response


def write_manifests(
    folder: Path, source: FinishedSet, pairs: Sequence[Pair], parents: Sequence[str], made_by: dict[str, Any]
) -> None:
    """Declare a query set that was made of another complete.

    Args:
        folder: Where its images are.
        source: The other.
        pairs: Its pairs, in the order of their ids.
        parents: For each, the id of the pair in ``source`` that it comes from.
        made_by: See :func:`~mea_plugin.core.folders.is_made`.
    """
    lines = [f'{pair.id}.png ({pair.size[0]},{pair.size[1]},3)\n' for pair in pairs]
    write_text(folder / 'meta_info.txt', ''.join(lines))
    manifest = {
        **source.manifest,
        'description': {**source.manifest['description'], 'made_by': made_by},
        'names': [pair.name for pair in pairs],
        'parents': list(parents),
        'files': count_files(folder),
        'complete': True,
        'pairs': [{**vars(pair), 'size': list(pair.size)} for pair in pairs],
    }
    write_json(folder / MANIFEST, manifest)


def check_count(count: int) -> None:
    """Refuse more pairs than ids have digits for."""
    if count > _MOST:
        raise InputError(f'{count} pairs are more than {_MOST}', where='--input', do='Split the query set first')
