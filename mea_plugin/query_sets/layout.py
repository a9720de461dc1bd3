"""The folder of queries and responses that both toolboxes read.

Layout::

    query/000000.png  response/000000.png  meta_info.txt  manifest.json

Ids are numeric because BasicSR splits ``meta_info.txt`` at spaces. The manifest says which victim answered what, and
whether the set is complete: it is written with ``complete: false`` before the first query is sent, and again after the
last response is on disk, so that an interrupted set is never taken for a whole one. The ledger beside it keeps what was
paid for; a set is a selection from it.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, is_temporary, read_json, write_text
from mea_plugin.core.images import check_pair, image_size, list_images, read_rgb
from mea_plugin.core.pairs import check_paired

__all__ = ['MANIFEST', 'Pair', 'PairFiles', 'QuerySet', 'check_complete', 'check_whole', 'list_pairs']

MANIFEST = 'manifest.json'
_FORMAT = 2
_PAIRS = ',\n  "pairs": ['  # where the manifest's head ends
_HEAD_LENGTH = 1 << 20


@dataclass(frozen=True)
class Pair:
    """One entry of the manifest.

    Attributes:
        id: The six digits that name both files.
        name: What the query image was called where it came from.
        query: Hash of the query's pixels (:func:`~mea_plugin.core.files.hash_array`).
        response: Hash of the response's pixels.
        size: Height and width of the response.
    """

    id: str
    name: str
    query: str
    response: str
    size: tuple[int, int]


@dataclass(frozen=True)
class PairFiles:
    """A pair, and where its files lie."""

    name: str
    query: str
    response: str
    size: tuple[int, int]
    files: tuple[Path, Path]


class QuerySet:
    """A query set on disk.

    Args:
        folder: Its folder; it need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def paths(self, identifier: str) -> tuple[Path, Path]:
        """Where a query and its response lie."""
        return self.folder / 'query' / f'{identifier}.png', self.folder / 'response' / f'{identifier}.png'

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None when there is no readable one."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest if isinstance(manifest, dict) else None

    def head(self) -> dict[str, Any] | None:
        """The manifest without its pairs, or None when there is no readable one; quick however many pairs there are."""
        try:
            with (self.folder / MANIFEST).open(encoding='utf-8') as file:
                text, mark, _ = file.read(_HEAD_LENGTH).partition(_PAIRS)
            head = json.loads(text + '\n}') if mark else self.manifest()
        except (OSError, ValueError):
            return None
        return head if isinstance(head, dict) else None

    def can_hold(self, description: Mapping[str, Any]) -> bool:
        """Whether the folder is new, or holds a set of this description."""
        # A half-written manifest is what another process is about to rename, or what a killed one has left.
        if not self.folder.exists() or all(is_temporary(path) for path in self.folder.iterdir()):
            return True
        head = self.head()
        return head is not None and head.get('description') == description

    def check_can_hold(self, description: Mapping[str, Any]) -> None:
        """Refuse a folder that holds something else.

        Raises:
            InputError: It does.
        """
        if not self.can_hold(description):
            raise InputError(
                'the folder holds another query set (of another victim) or other files',
                where=self.folder,
                do='Choose another output, or move it away',
            )

    def open(self, description: Mapping[str, Any]) -> None:
        """Note that the set is incomplete from now on."""
        self._write_manifest({'description': dict(description), 'complete': False}, [])

    def build(self, pairs: Iterable[PairFiles], description: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Make the set hold these pairs and no others, and declare it complete.

        Files are linked rather than copied where the file system can; those that are in their place stay.

        Args:
            pairs: In the order of their ids.
            description: What makes this set this set.
            options: What the user asked for, kept for the reader; it does not decide which set this is.
        """
        folders = tuple(self.folder / name for name in ('query', 'response'))
        there = tuple(_inodes(folder) for folder in folders)
        entries, lines = [], []
        for index, pair in enumerate(pairs):
            entry = Pair(f'{index:06d}', pair.name, pair.query, pair.response, pair.size)
            for source, target, inodes in zip(pair.files, self.paths(entry.id), there, strict=True):
                _place(source, target, inodes.pop(target.name, None))
            entries.append(entry)
            lines.append(f'{entry.id}.png ({pair.size[0]},{pair.size[1]},3)\n')
        for folder, left in zip(folders, there, strict=True):
            for name in left:
                (folder / name).unlink()
        write_text(self.folder / 'meta_info.txt', ''.join(lines))
        head = {'description': dict(description), 'options': dict(options), 'complete': True}
        self._write_manifest(head, entries)

    def _write_manifest(self, head: Mapping[str, Any], pairs: Iterable[Pair]) -> None:
        """One line per pair, so that a large one can be looked through and compared."""
        text = json.dumps({'format': _FORMAT, **head}, indent=2, ensure_ascii=False, allow_nan=False)
        lines = ',\n'.join('    ' + json.dumps({**vars(pair), 'size': list(pair.size)}) for pair in pairs)
        write_text(self.folder / MANIFEST, f'{text[:-2]}{_PAIRS}\n{lines}\n  ]\n}}\n')


def _inodes(folder: Path) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    return {entry.name: entry.inode() for entry in os.scandir(folder)}


def _place(source: Path, target: Path, inode: int | None) -> None:
    """Let ``target`` be the same file as ``source``, or a copy of it where files cannot be linked."""
    stat = source.stat()
    if inode == stat.st_ino:
        return
    if inode is not None:
        if filecmp.cmp(source, target, shallow=False):  # a copy of ours
            return
        target.unlink()
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV):
            raise
        shutil.copy2(source, target)


def check_complete(folder: str | Path) -> None:
    """Refuse a folder whose manifest says that queries are still missing, or whose images are gone.

    A folder without a manifest is not a query set of this package, and passes.

    Raises:
        InputError: The set is incomplete.
    """
    _hashes(folder)


def check_whole(folder: str | Path) -> None:
    """Refuse what :func:`check_complete` does, and a set with an image that is not the one its manifest notes.

    Every image is read and compared with its hash, once in a process while the files stay as they are.

    Raises:
        InputError: The set is incomplete or damaged.
    """
    wanted = _hashes(folder)
    state = tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in map(Path.stat, wanted))
    key = str(Path(folder).resolve())
    if _whole.get(key) == state:  # both toolboxes ask more than once as a training starts
        return
    with ThreadPoolExecutor() as pool:
        for path, found in zip(wanted, pool.map(_content, wanted), strict=True):
            if found != wanted[path]:
                what, do = f'is another image than {MANIFEST} says', 'Run tools/query.py --verify on it'
                raise InputError(what, where=path, do=do)
    _whole[key] = state


def _hashes(folder: str | Path) -> dict[Path, str]:
    """Find the images that a manifest names, each of which is there, and their hashes; none without a manifest."""
    if not (Path(folder) / MANIFEST).exists():
        return {}
    queries = QuerySet(folder)
    manifest = queries.manifest()
    again = 'Run tools/query.py on it again'
    if manifest is None:
        raise InputError('the manifest is damaged', where=Path(folder) / MANIFEST, do=again)
    if 'description' not in manifest:
        return {}
    if not manifest.get('complete'):
        raise InputError('the query set is incomplete', where=folder, do=again)
    try:
        wanted = {
            path: pair[key]
            for pair in map(_check_id, manifest['pairs'])
            for path, key in zip(queries.paths(pair['id']), ('query', 'response'), strict=True)
        }
    except (KeyError, TypeError, ValueError):
        raise InputError('the manifest is damaged', where=Path(folder) / MANIFEST, do=again) from None
    for path in wanted:
        if not path.exists():
            raise InputError('an image of the query set is gone', where=path, do=again)
    return wanted


_whole: dict[str, tuple[tuple[int, int, int], ...]] = {}
"""Query sets that this process has hashed, and what their files looked like then."""


def _check_id(pair: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pair of a manifest whose id is a number: it becomes a file's name."""
    if not str(pair['id']).isdecimal():
        raise ValueError
    return pair


def _content(path: Path) -> str:
    return hash_array(read_rgb(path))


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
        The pairs in the order of their names. Of folders that are no query set of ours only headers were read.

    Raises:
        InputError: A folder is missing or empty, the query set is incomplete, names do not pair, or a size is wrong.
    """
    lqs, gts = (list_images(folder, where=where) for folder in (queries, responses))
    check_whole(queries.parent)
    named = {label: {path.name: path for path in paths} for label, paths in (('queries', lqs), ('responses', gts))}
    check_paired(named, where=queries.parent, do='Give each query a response of the same name')
    pairs = [(path, responses / path.name) for path in lqs]
    for query, response in pairs:
        height, width = image_size(response)
        check_pair(image_size(query), (height, width), scale, where=response)
        if min(height, width) < smallest:
            what = f'{width}x{height} pixels are less than the crop of {smallest}'
            raise InputError(what, where=response, do='Lower the crop, or remove the pair')
    return pairs
