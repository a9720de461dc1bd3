"""A query set as two LMDB folders that BasicSR and MMagic read: one file instead of a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mea_plugin.core.files import write_json, write_text
from mea_plugin.core.folders import count_files, is_made, written_aside
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch import BatchResult
from mea_plugin.data.lmdb_images import META, lmdb_library
from mea_plugin.query_sets.finished import SIDES, FinishedSet
from mea_plugin.query_sets.layout import MANIFEST

__all__ = ['export_lmdb']

_BATCH_BYTES = 32 << 20  # what is held in memory, and written in one transaction
_MAP_BYTES = 64 << 20  # to begin with; it doubles when it is full


def export_lmdb(source: str | Path, output: str | Path, *, jobs: int = 1) -> BatchResult:
    """Make ``OUTPUT/query.lmdb`` and ``OUTPUT/response.lmdb``; both appear when both are whole.

    PNG files are copied as they are. Both have the ids as keys; ``OUTPUT/manifest.json`` says which image each is.

    Args:
        source: A complete query set.
        output: Folder for the result; new or empty, or this result already.
        jobs: Processes to check the query set with.

    Returns:
        How many pairs were written, or are there already.

    Raises:
        InputError: The query set is incomplete or damaged, lmdb is not installed, or the output folder holds something
            else.
    """
    output = expanded(output)
    lmdb_library()
    parent = FinishedSet.load(source)
    made_by: dict[str, Any] = {'command': 'lmdb', 'parent': parent.content}
    if is_made(output, made_by):
        return BatchResult(made=0, kept=len(parent.pairs))
    parent.verify(jobs=jobs)
    with written_aside(output) as aside:
        for side, scale in zip(SIDES, (parent.scale, 1), strict=True):
            folder = aside / f'{side}.lmdb'
            _write(folder, ((pair.id, parent.path(side, pair)) for pair in parent.pairs), len(parent.pairs))
            lines = (f'{p.id}.png ({p.size[0] // scale},{p.size[1] // scale},3) 1\n' for p in parent.pairs)
            write_text(folder / META, ''.join(lines))
        manifest = {key: parent.manifest[key] for key in ('pairs', 'options') if key in parent.manifest}
        victim = parent.manifest['description']['victim']
        write_json(aside / MANIFEST, {'made_by': made_by, 'files': count_files(aside), 'victim': victim, **manifest})
    return BatchResult(made=len(parent.pairs), kept=0)


def _write(folder: Path, files: Iterator[tuple[str, Path]], count: int) -> None:
    """Put files into a new LMDB, some tens of megabytes at a time."""
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    with lmdb_library().open(str(folder), map_size=_MAP_BYTES) as environment:
        for key, path in tqdm(files, total=count, desc=folder.name, unit='image', disable=None):
            batch.append((key.encode(), path.read_bytes()))
            size += len(batch[-1][1])
            if size >= _BATCH_BYTES:
                _put(environment, batch)
                batch, size = [], 0
        _put(environment, batch)


def _put(environment: Any, batch: list[tuple[bytes, bytes]]) -> None:
    """Write a batch, with a larger map where it does not fit."""
    while not _fits(environment, batch):
        environment.set_mapsize(environment.info()['map_size'] * 2)


def _fits(environment: Any, batch: list[tuple[bytes, bytes]]) -> bool:
    """Write a batch, or nothing of it when the map is too small."""
    try:
        with environment.begin(write=True) as transaction:
            for key, data in batch:
                transaction.put(key, data)
    except lmdb_library().MapFullError:
        return False
    return True
