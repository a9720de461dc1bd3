"""Images in an LMDB folder of BasicSR's format: ``data.mdb``, ``lock.mdb``, and ``meta_info.txt``.

A line of ``meta_info.txt`` is ``KEY.png (H,W,C) LEVEL``; under ``KEY`` lies the content of an image file.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional

__all__ = ['META', 'LmdbEntry', 'is_lmdb', 'lmdb_bytes', 'lmdb_entries', 'lmdb_library']

META = 'meta_info.txt'
_LINE = re.compile(r'(?P<key>\S.*?)\.\w+ \((?P<height>\d+),(?P<width>\d+),\d+\) \d+')
_LIKE_BASICSR = 'Make it again, with tools/prepare_data.py lmdb or as BasicSR does'

_in_use: dict[tuple[int, str], tuple[Any, int]] = {}
"""Environments that are being read, with the number of readers, by process and real path.

LMDB refuses to open a folder twice in a process, and BasicSR's own loader may want it next: each is open only as long
as somebody reads, which costs 50 us a time.
"""
_lock = threading.Lock()


class LmdbEntry(NamedTuple):
    """A line of ``meta_info.txt``.

    Attributes:
        key: Under which the image lies.
        size: Height and width, as the line has them.
    """

    key: str
    size: tuple[int, int]


def is_lmdb(folder: str | Path) -> bool:
    """Whether this is an LMDB folder, by its name or content."""
    return Path(folder).is_dir() and (Path(folder).suffix == '.lmdb' or (Path(folder) / 'data.mdb').is_file())


def lmdb_entries(folder: str | Path, *, where: str = '') -> list[LmdbEntry]:
    """What ``meta_info.txt`` lists, in its order.

    Args:
        folder: The LMDB.
        where: The option that names it, for the error.

    Raises:
        InputError: It is no LMDB of BasicSR's format, is damaged, is empty, or holds another number of images.
    """
    folder = Path(folder)
    for file in ('data.mdb', META):
        if not (folder / file).is_file():
            raise InputError(f'{folder} is no LMDB of images, it has no {file}', where=where, do=_LIKE_BASICSR)
    entries = []
    try:
        lines = (folder / META).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
        raise InputError('is not text', where=folder / META, do=_LIKE_BASICSR) from None
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(f'line {number} is not KEY.png (H,W,C) LEVEL', where=folder / META, do=_LIKE_BASICSR)
        entries.append(LmdbEntry(match['key'], (int(match['height']), int(match['width']))))
    if not entries:
        raise InputError(f'no images in {folder}', where=where, do=_LIKE_BASICSR)
    (key, times), *_ = Counter(entry.key for entry in entries).most_common(1)
    if times > 1:
        raise InputError(f"the key '{key}' is there {times} times", where=folder / META, do=_LIKE_BASICSR)
    with _reading(folder) as environment:
        count, size = environment.stat()['entries'], environment.stat()['psize'] * (environment.info()['last_pgno'] + 1)
    if (folder / 'data.mdb').stat().st_size < size:  # reading beyond its end would kill the process
        raise InputError('the LMDB is truncated', where=folder / 'data.mdb', do=_LIKE_BASICSR)
    if count != len(entries):
        what = f'lists {len(entries)} images, and data.mdb holds {count}'
        raise InputError(what, where=folder / META, do=_LIKE_BASICSR)
    return entries


def lmdb_bytes(folder: str | Path, key: str) -> bytes:
    """The content of an image file.

    Args:
        folder: The LMDB.
        key: As in :func:`lmdb_entries`.

    Raises:
        InputError: The LMDB is damaged or gone, or lacks the key.
    """
    with _reading(folder) as environment, environment.begin() as transaction:
        data = transaction.get(key.encode())
    if data is None:
        raise InputError(f"holds no '{key}'", where=folder, do=_LIKE_BASICSR)
    return data


@contextlib.contextmanager
def _reading(folder: str | Path) -> Iterator[Any]:
    """The environment of a folder, shared by all threads that read of it; what LMDB raises is an InputError."""
    lmdb = lmdb_library()
    key = (os.getpid(), str(Path(folder).resolve()))
    try:
        with _lock:
            environment, readers = _in_use.get(key, (None, 0))
            if environment is None:
                environment = lmdb.open(
                    key[1], readonly=True, lock=False, readahead=False, create=False, max_spare_txns=8
                )
            _in_use[key] = (environment, readers + 1)
        try:
            yield environment
        finally:
            with _lock:
                environment, readers = _in_use.pop(key)
                if readers > 1:
                    _in_use[key] = (environment, readers - 1)
                else:
                    environment.close()
    except lmdb.Error as error:
        raise InputError(f'cannot be read ({error})', where=folder, do=_LIKE_BASICSR) from None


def lmdb_library() -> Any:
    """The package that reads and writes LMDB.

    Raises:
        InputError: It is not installed.
    """
    return import_optional('lmdb', 'an LMDB folder')
