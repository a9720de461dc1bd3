"""The service's own books: which image it billed under which key, and which answers it sent whole, to whom."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path

from typing_extensions import Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, image TEXT, client TEXT, fault TEXT, begun REAL);
CREATE TABLE IF NOT EXISTS bills (id INTEGER PRIMARY KEY, image TEXT, key TEXT, client TEXT, made REAL);
CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, image TEXT, client TEXT, sent REAL);
"""


class Books:
    """An SQLite file whose every entry is there as soon as the call returns, also when the service is killed.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._database.execute('PRAGMA journal_mode = WAL')
        self._database.execute('PRAGMA synchronous = OFF')  # processes are killed here, machines are not
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._database.close()

    def note_request(self, image: str, client: str, fault: str) -> None:
        """Note that an image was sent, and what is going to be done to it."""
        self._database.execute(
            'INSERT INTO requests (image, client, fault, begun) VALUES (?, ?, ?, ?)',
            (image, client, fault, time.time()),
        )

    def times_asked(self, image: str) -> int:
        """How often an image was sent so far."""
        ((count,),) = self._database.execute('SELECT COUNT(*) FROM requests WHERE image = ?', (image,))
        return int(count)

    def bill(self, image: str, key: str | None, client: str) -> None:
        """Bill an image; under a key that was billed before, nothing is added."""
        if key is not None and self._database.execute('SELECT 1 FROM bills WHERE key = ?', (key,)).fetchone():
            return
        self._database.execute(
            'INSERT INTO bills (image, key, client, made) VALUES (?, ?, ?, ?)', (image, key, client, time.time())
        )

    def note_answer(self, image: str, client: str) -> None:
        """Note that a right answer was sent to its last byte."""
        self._database.execute(
            'INSERT INTO answers (image, client, sent) VALUES (?, ?, ?)', (image, client, time.time())
        )

    def billed(self) -> Counter[str]:
        """How often each image was billed."""
        return Counter(dict(self._database.execute('SELECT image, COUNT(*) FROM bills GROUP BY image')))

    def answered(self, client: str) -> set[str]:
        """The images that a client was sent whole answers to."""
        return {image for (image,) in self._database.execute('SELECT image FROM answers WHERE client = ?', (client,))}

    def requests(self) -> int:
        """How many requests came."""
        ((count,),) = self._database.execute('SELECT COUNT(*) FROM requests')
        return int(count)

    def faults(self) -> Counter[str]:
        """How often each fault was injected."""
        return Counter(
            dict(self._database.execute("SELECT fault, COUNT(*) FROM requests WHERE fault != '' GROUP BY 1"))
        )
