"""The folder of queries and responses that both toolboxes read.

Layout::

    query/000000.png  response/000000.png  meta_info.txt  manifest.json

Ids are numeric because BasicSR splits ``meta_info.txt`` at spaces. The manifest says which victim answered what, and
whether the set is complete: it is written with ``complete: false`` before the first query is sent, and again after the
last response is on disk, so that an interrupted set is never taken for a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mea_plugin.errors import InputError
from mea_plugin.files import hash_array, read_json, write_json, write_text
from mea_plugin.images import check_pair, image_size, list_images, read_rgb, write_png

__all__ = ['MANIFEST', 'Pair', 'QuerySet', 'check_complete', 'list_pairs']

MANIFEST = 'manifest.json'
_FORMAT = 1


@dataclass(frozen=True)
class Pair:
    """One entry of the manifest.

    Attributes:
        id: The six digits that name both files.
        name: What the query image was called where it came from.
        query: Hash of the query's pixels (:func:`~mea_plugin.files.hash_array`).
        response: Hash of the response's pixels.
        size: Height and width of the response.
    """

    id: str
    name: str
    query: str
    response: str
    size: tuple[int, int]


class QuerySet:
    """A query set on disk.

    Args:
        folder: Its folder; it need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._opened: tuple[dict[str, Any], list[str]] | None = None

    def paths(self, identifier: str) -> tuple[Path, Path]:
        """Where a query and its response lie."""
        return self.folder / 'query' / f'{identifier}.png', self.folder / 'response' / f'{identifier}.png'

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None when there is no readable one."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest if isinstance(manifest, dict) else None

    def can_hold(self, description: dict[str, Any], names: list[str]) -> bool:
        """Whether the folder is new, or holds a set of this description and these images, or of the first of them."""
        manifest = self.manifest()
        if manifest is None:
            return not self.folder.exists() or not any(self.folder.iterdir())
        old = manifest.get('names', [])
        return manifest.get('description') == description and old == names[: len(old)]

    def move_aside(self) -> None:
        """Rename the folder to ``..._archived_TIME``, as BasicSR does with experiments."""
        self.folder.rename(self.folder.with_name(f'{self.folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}'))

    def begin(self, description: dict[str, Any], names: list[str]) -> None:
        """Start a set, go on with an interrupted one, or extend one by further images.

        Args:
            description: Victim and options: what makes this set this set.
            names: The images' names in the order of their ids.

        Raises:
            InputError: The folder holds something else.
        """
        if not self.can_hold(description, names):
            raise InputError(
                'the folder holds another query set (other victim, images or options) or other files',
                where=self.folder,
                do='Choose another output, or move it away',
            )
        manifest = self.manifest() or {}
        self._opened = (description, names)
        if not (manifest.get('complete') and manifest['names'] == names):
            self._open()

    def _open(self) -> None:
        """Note that the set is incomplete, unless that is noted already."""
        if self._opened is not None:
            self._write_manifest(*self._opened, complete=False)
            self._opened = None

    def stored(self, identifier: str, query_hash: str) -> np.ndarray | None:
        """The response to this very query, if it is there already and whole; otherwise None."""
        query_path, response_path = self.paths(identifier)
        if not (query_path.exists() and response_path.exists()):
            return None
        try:
            return read_rgb(response_path) if hash_array(read_rgb(query_path)) == query_hash else None
        except InputError:
            return None

    def store(self, identifier: str, query: np.ndarray, response: np.ndarray) -> None:
        """Write a pair, the response last: where it is, the pair is whole."""
        self._open()
        query_path, response_path = self.paths(identifier)
        response_path.unlink(missing_ok=True)
        write_png(query_path, query)
        write_png(response_path, response)

    def finish(self, pairs: list[Pair], description: dict[str, Any], options: Mapping[str, Any]) -> None:
        """Write ``meta_info.txt`` and declare the set complete.

        Args:
            pairs: All of them, in the order of their ids.
            description: As given to :meth:`begin`.
            options: What the user asked for, kept for the reader; it does not decide which set this is.
        """
        lines = [f'{pair.id}.png ({pair.size[0]},{pair.size[1]},3)\n' for pair in pairs]
        write_text(self.folder / 'meta_info.txt', ''.join(lines))
        entries = [{**vars(pair), 'size': list(pair.size)} for pair in pairs]
        self._write_manifest(
            description, [pair.name for pair in pairs], complete=True, options=dict(options), pairs=entries
        )

    def _write_manifest(self, description: dict[str, Any], names: list[str], **rest: Any) -> None:
        write_json(self.folder / MANIFEST, {'format': _FORMAT, 'description': description, 'names': names, **rest})


def check_complete(folder: str | Path) -> None:
    """Refuse a folder whose manifest says that queries are still missing, or whose files are gone.

    A folder without a manifest is not a query set of this package, and passes.

    Raises:
        InputError: The set is incomplete.
    """
    if not (Path(folder) / MANIFEST).exists():
        return
    queries = QuerySet(folder)
    manifest = queries.manifest()
    again = 'Run tools/query.py on it again'
    if manifest is None:
        raise InputError('the manifest is damaged', where=Path(folder) / MANIFEST, do=again)
    if 'description' not in manifest:
        return
    if not manifest.get('complete'):
        raise InputError('the query set is incomplete', where=folder, do=again)
    for pair in manifest['pairs']:
        for path in queries.paths(pair['id']):
            if not path.exists():
                raise InputError('an image of the query set is gone', where=path, do=again)


def list_pairs(
    queries: Path, responses: Path, *, scale: int = 1, smallest: int = 1, where: str = ''
) -> list[tuple[Path, Path]]:
    """Queries with their responses: files of the same name in two folders, of a query set or not.

    Args:
        queries: Their folder.
        responses: Theirs.
        scale: What a response's height and width divided by its query's must be.
        smallest: Height and width that a response must have at least, to be cropped.
        where: The option that names the folders, for errors.

    Returns:
        The pairs in the order of their names. Only headers were read, so that ten thousand cost seconds.

    Raises:
        InputError: A folder is missing or empty, the query set is incomplete, names do not pair, or a size is wrong.
    """
    lqs, gts = (list_images(folder, where=where) for folder in (queries, responses))
    check_complete(queries.parent)
    odd = {path.name for path in lqs} ^ {path.name for path in gts}
    if odd:
        raise InputError(
            f'{len(lqs)} queries and {len(gts)} responses do not pair ({min(odd)} is alone)',
            where=queries.parent,
            do='Give each query a response of the same name',
        )
    pairs = [(path, responses / path.name) for path in lqs]
    for query, response in pairs:
        height, width = image_size(response)
        check_pair(image_size(query), (height, width), scale, where=response)
        if min(height, width) < smallest:
            what = f'{width}x{height} pixels are less than the crop of {smallest}'
            raise InputError(what, where=response, do='Lower the crop, or remove the pair')
    return pairs
