"""Features of images, kept on disk by what they are features of."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from mea_plugin.core.errors import InputError

__all__ = ['FeatureCache']

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    image TEXT NOT NULL, extractor TEXT NOT NULL, row BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (image, extractor)
)
"""
_BUSY_SECONDS = 60

T = TypeVar('T')


class FeatureCache:
    """A SQLite file ``features.sqlite`` with one row of features by image and extractor.

    It holds nothing that cannot be computed again. So a file that is damaged is set aside with a warning and a new one
    begun, a row that is damaged is one that is not there, and what cannot be written is left out with a warning.
    Several processes may use one file; the threads of one process must not use it at once.

    Args:
        folder: Where the file lies; made if it is not there.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / 'features.sqlite'
        self._writes = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f'the cache of features cannot be made ({error.strerror})'
            raise InputError(what, where=folder, do='Choose another folder') from None
        self._database: sqlite3.Connection | None = None
        self._opened_file: os.stat_result | None = None
        self._do(lambda database: None)

    def get(self, image: str, extractor: str) -> np.ndarray | None:
        """The features of an image, float32, or None.

        Args:
            image: Hash of the image's pixels.
            extractor: Hash of what makes features of them.
        """

        def find(database: sqlite3.Connection) -> tuple[bytes, int] | None:
            query = 'SELECT row, crc FROM features WHERE image = ? AND extractor = ?'
            return database.execute(query, (image, extractor)).fetchone()

        found = self._do(find)
        if found is None or not isinstance(found[0], bytes) or zlib.crc32(found[0]) != found[1]:
            return None
        return np.frombuffer(found[0], '<f4').astype(np.float32)

    def put(self, image: str, extractor: str, row: np.ndarray) -> None:
        """Keep the features of an image."""
        data = row.astype('<f4').tobytes()
        values = (image, extractor, data, zlib.crc32(data))

        def insert(database: sqlite3.Connection) -> None:
            database.execute('INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)', values)

        if self._writes:
            self._do(insert)

    def close(self) -> None:
        """Give the file back."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What ``work`` gives; None where the file does not allow it."""
        try:
            try:
                return work(self._opened())
            except (sqlite3.DatabaseError, UnicodeError) as error:
                # Of its subclasses, this one tells of disks, rights and locks.
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside(error)
                return work(self._opened())
        except (sqlite3.Error, OSError, UnicodeError) as error:
            if self._writes:
                warnings.warn(f'{self.path}: features are not kept ({error})', stacklevel=4)
            self._writes = False
            return None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._opened_file = _state(self.path)
            database = sqlite3.connect(self.path, _BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                # A row that a loss of power takes is computed again: not worth waiting for the disk.
                database.execute('PRAGMA synchronous = OFF')
                database.execute(_SCHEMA)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _set_aside(self, error: sqlite3.DatabaseError | UnicodeError) -> None:
        self.close()
        there = _state(self.path)
        # Another process was quicker: what lies there now is its new file, not the damaged one.
        if there and self._opened_file and not os.path.samestat(there, self._opened_file):
            return
        aside = self.path.with_name(f'{self.path.name}.damaged-{secrets.token_hex(4)}')
        with contextlib.suppress(FileNotFoundError):  # another process was quicker just now
            self.path.rename(aside)
        warnings.warn(f'{self.path} is damaged ({error}); it is now {aside.name}, and a new one is begun', stacklevel=5)


def _state(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return path.stat()
    return None
