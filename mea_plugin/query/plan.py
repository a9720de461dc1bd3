"""What a run wants to know, held against what the ledger knows: which images are still to be read and sent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, is_temporary
from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.data.references import ImageRef
from mea_plugin.data.resize import downscale
from mea_plugin.query.ledger import Ledger

__all__ = ['Counts', 'PairRow', 'Plan', 'Wanted', 'check_headers', 'read_query']

_TABLE = """
CREATE TEMP TABLE wanted (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL, signature TEXT NOT NULL, hash TEXT, height INTEGER, width INTEGER
)
"""
_UNFINISHED = """
SELECT w.position FROM wanted w LEFT JOIN queries q ON q.hash = w.hash
WHERE q.state IS NULL OR q.state NOT IN ('settled', 'given up') ORDER BY w.height, w.width, w.position
"""
_PAIRS = """
SELECT w.name, q.id, q.hash, q.response, q.height, q.width, MIN(w.position)
FROM wanted w JOIN queries q ON q.hash = w.hash WHERE q.state = 'settled' GROUP BY q.id ORDER BY 7
"""
_ANSWERS = """
SELECT q.id, q.response_bytes, q.hash, q.response FROM queries q
WHERE q.state = 'settled' AND q.hash IN (SELECT hash FROM wanted)
"""
_COUNTS = """
SELECT COALESCE(q.state, 'open'), COUNT(*), COUNT(DISTINCT COALESCE(q.id, -w.position - 1))
FROM wanted w LEFT JOIN queries q ON q.hash = w.hash GROUP BY 1
"""

_CHUNK = 64

Sizes = Mapping[str, tuple[int, int]]
"""Height and width of images by name, as they are sent."""


@dataclass(frozen=True)
class Wanted:
    """An image of the run.

    Attributes:
        position: Among the run's images, in the order of their names.
        name: What it is called where it comes from.
        signature: See :meth:`~mea_plugin.data.references.ImageRef.signature`; with the options that change the pixels.
        busy: Whether another living process has it on its way, or is done with it.
    """

    position: int
    name: str
    signature: str
    busy: bool


@dataclass(frozen=True)
class PairRow:
    """An answered image of the run: its name, the query's number, both hashes, and the response's size."""

    name: str
    query: int
    content: str
    response: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Counts:
    """How many of the run's distinct contents, as far as they are known, are in which state; images by ``images``."""

    images: int
    settled: int
    given_up: int
    doubt: int
    sent: int
    open: int


def check_headers(images: Mapping[str, ImageRef], shrink: int) -> dict[str, tuple[int, int]]:
    """Read every image's header, so that a bad one is met before anything is sent.

    Returns:
        Height and width by name, as they will be sent.

    Raises:
        InputError: An image cannot be used, or is too small to be shrunk.
    """
    return {name: _sent_size(image, shrink) for name, image in images.items()}


def read_query(image: ImageRef, shrink: int) -> tuple[np.ndarray, str]:
    """The pixels that are sent, uint8 ``(H, W, 3)``, and their hash."""
    pixels = image.read()
    pixels = downscale(pixels, shrink) if shrink > 1 else pixels
    return pixels, hash_array(pixels)


class Plan:
    """The images of a run beside a ledger. It lives in the ledger's connection, so memory does not grow with it.

    Args:
        ledger: What is known.
        images: By name; they are numbered in this order.
        shrink: By which factor each is shrunk before it is sent.
        sizes: What :func:`check_headers` found, where it has been called.

    Attributes:
        repaired: Whether files of queries were written again.

    Raises:
        InputError: The header of an image that is not known yet shows that it cannot be used.
    """

    def __init__(
        self,
        ledger: Ledger,
        images: Mapping[str, ImageRef],
        *,
        shrink: int = 1,
        sizes: Sizes | None = None,
    ) -> None:
        self.ledger = ledger
        self.images = list(images.values())
        self.shrink = shrink
        self.repaired = False
        with ledger.transaction() as db:
            db.execute('DROP TABLE IF EXISTS temp.wanted')
            db.execute(_TABLE)
            db.executemany(
                'INSERT INTO wanted (position, name, signature) VALUES (?, ?, ?)',
                ((position, name, self._signature(image)) for position, (name, image) in enumerate(images.items())),
            )
            self._take_over(db)
            new = db.execute('SELECT position, name FROM wanted WHERE hash IS NULL').fetchall()
            db.executemany(
                'UPDATE wanted SET height = ?, width = ? WHERE position = ?',
                (
                    (*(sizes[name] if sizes else _sent_size(self.images[position], shrink)), position)
                    for position, name in new
                ),
            )

    def __len__(self) -> int:
        return len(self.images)

    def unfinished(self) -> Sequence[int]:
        """Positions of images without an answer, those of equal size together."""
        with self.ledger.transaction() as db:
            self._take_over(db)
        return array('l', (position for (position,) in self.ledger.rows(_UNFINISHED)))

    def look_up(self, positions: Sequence[int]) -> list[Wanted]:
        """A few of the images, with what other processes have found out about them meanwhile."""
        places = ','.join(map(str, positions))
        rows = self.ledger.rows(
            'SELECT w.position, w.name, w.signature, q.state FROM wanted w '
            'LEFT JOIN images i ON i.signature = w.signature LEFT JOIN queries q ON q.hash = COALESCE(w.hash, i.hash) '
            f'WHERE w.position IN ({places})'
        )
        found = {
            position: Wanted(position, name, signature, state in ('settled', 'given up', 'sent'))
            for position, name, signature, state in rows
        }
        return [found[position] for position in positions]

    def identify(self, contents: Sequence[tuple[Wanted, str, tuple[int, int]]]) -> dict[str, int]:
        """Note what images hold: hash and size of the pixels that are sent. Returns the queries' numbers by hash."""
        numbers = self.ledger.register((one.signature, content, size) for one, content, size in contents)
        with self.ledger.transaction() as db:
            db.executemany(
                'UPDATE wanted SET hash = ? WHERE position = ?',
                ((content, one.position) for one, content, _ in contents),
            )
        return numbers

    def pairs(self) -> Iterator[PairRow]:
        """The answered images in the order of the plan; equal images are one pair, called by the first of them."""
        for name, query, content, response, height, width, _ in self.ledger.rows(_PAIRS):
            yield PairRow(name, query, content, response, (height, width))

    def digest(self) -> str:
        """A hash of :meth:`pairs`."""
        digest = hashlib.sha256()
        for name, query, content, response, *_ in self.ledger.rows(_PAIRS):
            digest.update(f'{name}\0{query}\0{content}\0{response}\0'.encode())
        return digest.hexdigest()

    def unread(self) -> int:
        """How many images' content is not known yet."""
        ((count,),) = self.ledger.rows('SELECT COUNT(*) FROM wanted WHERE hash IS NULL')
        return int(count)

    def counts(self) -> Counts:
        """How far the run is."""
        found = {state: (images, distinct) for state, images, distinct in self.ledger.rows(_COUNTS)}
        states = {state: found.get(state, (0, 0))[1] for state in ('settled', 'given up', 'doubt', 'sent', 'open')}
        return Counts(len(self), *states.values())

    def lose_damaged(self, *, verify: bool = False, free: bool = False, buy_again: bool = False) -> int:
        """Open those answers again whose files are gone or not as they were written; returns how many.

        A query's file that is gone or damaged is written again, from the image.

        Args:
            verify: Compare the pixels' hashes of both, not only the size of the answer's file.
            free: See :meth:`~mea_plugin.query.ledger.Ledger.forget_answers`.
            buy_again: Open also those that were paid for.

        Raises:
            InputError: Answers that were paid for are damaged or gone; nothing has been changed.
        """
        with self.ledger.alone() as alone:
            sizes = _file_sizes(self.ledger.folder / 'pairs', remove_temporary=alone)
        lost, broken = [], []
        for query, size, content, response in self.ledger.rows(_ANSWERS):
            found = sizes.get(f'{query:09d}_response.png')
            if found != size:  # another process may have answered it since that look
                found = _file_size(self.ledger.pair(query)[1])
            if found != size or (verify and not _holds(self.ledger.pair(query)[1], response)):
                lost.append(query)
            elif f'{query:09d}_query.png' not in sizes or (verify and not _holds(self.ledger.pair(query)[0], content)):
                broken.append(query)
        if lost and not (free or buy_again):
            raise InputError(
                f'{len(lost)} answers that were paid for are damaged or gone',
                where=self.ledger.pair(lost[0])[1],
                do='Restore them from a copy; to pay for them again, run tools/query.py with --buy-again',
            )
        for query in broken:
            self._write_query(query)
        self.repaired = bool(broken)
        if lost:
            self.ledger.forget_answers(lost, f'{len(lost)} answers were damaged or gone', free=free)
        return len(lost)

    def verify(self, *, free: bool = False, buy_again: bool = False) -> int:
        """Read and hash everything again: images whose file's size, time and inode were known, and the answers' files.

        Args:
            free: See :meth:`lose_damaged`.
            buy_again: Likewise.

        Returns:
            How many answers were damaged or gone.
        """
        for start in range(0, len(self), _CHUNK):
            contents = []
            for wanted in self.look_up(range(start, min(start + _CHUNK, len(self)))):
                pixels, content = read_query(self.images[wanted.position], self.shrink)
                contents.append((wanted, content, (pixels.shape[0], pixels.shape[1])))
            self.identify(contents)
        return self.lose_damaged(verify=True, free=free, buy_again=buy_again)

    def _write_query(self, query: int) -> None:
        find = 'SELECT w.position FROM wanted w JOIN queries q ON q.hash = w.hash WHERE q.id = ? LIMIT 1'
        ((position,),) = self.ledger.rows(find, (query,))
        pixels, _ = read_query(self.images[position], self.shrink)
        write_png(self.ledger.pair(query)[0], pixels)

    @staticmethod
    def _take_over(db: sqlite3.Connection) -> None:
        """What this run or others have found out about files that look the same."""
        db.execute(
            'UPDATE wanted SET (hash, height, width) = (SELECT hash, height, width FROM images i '
            'WHERE i.signature = wanted.signature) WHERE hash IS NULL AND signature IN (SELECT signature FROM images)'
        )

    def _signature(self, image: ImageRef) -> str:
        return '\0'.join(map(str, (*image.signature(), self.shrink)))


def _sent_size(image: ImageRef, shrink: int) -> tuple[int, int]:
    height, width = image.size()
    if min(height, width) < shrink:
        raise InputError(f'is too small to be shrunk {shrink} times', where=str(image), do='Remove the image')
    return height // shrink, width // shrink


def _file_sizes(folder: Path, *, remove_temporary: bool) -> dict[str, int]:
    """Names of all files of pairs; with their sizes where they are answers, -1 where they are queries.

    Args:
        folder: Of all pairs.
        remove_temporary: Remove what killed processes left half-written; for when no other process writes.
    """
    sizes: dict[str, int] = {}
    for part in os.scandir(folder) if folder.is_dir() else ():
        for entry in os.scandir(part.path) if part.is_dir() else ():
            name = entry.name
            with contextlib.suppress(FileNotFoundError):  # what another process is writing gets its name later
                if remove_temporary and is_temporary(Path(name)):
                    os.unlink(entry.path)  # noqa: PTH108 - one of 100,000
                    continue
                sizes[name] = entry.stat().st_size if name.endswith('_response.png') else -1
    return sizes


def _file_size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _holds(file: Path, content: str) -> bool:
    try:
        return hash_array(read_rgb(file)) == content
    except InputError:
        return False
