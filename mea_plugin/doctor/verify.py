"""Everything that lies in a folder of results, checked against its hashes: nothing is asked, nothing is changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mea_plugin.core.errors import InputError, line_of
from mea_plugin.core.files import read_json
from mea_plugin.core.records import CHECKSUM, is_whole
from mea_plugin.core.torch_files import fault
from mea_plugin.query.verify import verify_ledger
from mea_plugin.query_sets.layout import MANIFEST, check_whole

__all__ = ['Damage', 'Verification', 'verify']

_RECORDS = frozenset(
    f'{name}.json' for name in ('evaluation', 'study', 'flatness', 'ownership', 'references', 'record', 'run', 'train')
)
_RECORD_FOLDERS = frozenset({'cells', 'surrogates'})
_TORCH_FILES = frozenset({'.pth', '.pt', '.state', '.ckpt'})


@dataclass(frozen=True)
class Damage:
    """A file that is damaged, or gone.

    Attributes:
        path: The file.
        what: What is wrong with it.
        queries: How many queries would have to be asked again.
        charges: How many of these would be charged.
        price: What that costs, at the price that the query set notes; None where none is noted.
    """

    path: Path
    what: str
    queries: int = 0
    charges: int = 0
    price: float | None = None

    def __str__(self) -> str:
        text = f'{line_of(str(self.path))}: {self.what}'
        if self.queries:
            price = '' if self.price is None else f', {self.price:g} at the price noted'
            text += f' (to be asked again: {self.queries}, of which charged: {self.charges}{price})'
        return text


@dataclass
class Verification:
    """What was found in a folder.

    Attributes:
        checked: How many files of each kind were compared with a hash.
        unhashed: How many files of each kind have none: of other programs, or of earlier versions.
        damage: What is wrong.
    """

    checked: Counter[str] = field(default_factory=Counter)
    unhashed: Counter[str] = field(default_factory=Counter)
    damage: list[Damage] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'DAMAGED: {one}' for one in self.damage]
        lines.append('checked: ' + (_counted(self.checked) or 'nothing'))
        if self.unhashed:
            lines.append('without a hash, so that only some damage shows: ' + _counted(self.unhashed))
        queries, charges = sum(one.queries for one in self.damage), sum(one.charges for one in self.damage)
        if queries:
            prices = [one.price for one in self.damage if one.price is not None]
            price = f', {sum(prices):g} at the prices noted' if prices else ''
            lines.append(f'to be asked again: {queries} queries, of which charged: {charges}{price}')
        lines.append(f'{len(self.damage)} damaged' if self.damage else 'nothing is damaged')
        return '\n'.join(lines)


def _counted(counts: Counter[str]) -> str:
    return ', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))


def verify(folder: str | Path) -> Verification:
    """Check ledgers, answers, query sets, checkpoints, records of results and stores of services below a folder.

    Links are not followed.

    Args:
        folder: For example ``results/NAME``, or ``results``.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError('no such folder', where=folder, do='Give a folder of results')
    found = Verification()
    for path in _files(folder):
        check = _check_of(path)
        if check is not None:
            check(path, found)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for path in (Path(place) / name for name in sorted(names)) if not path.is_symlink())


def _check_of(path: Path) -> Callable[[Path, Verification], None] | None:
    if path.name == 'ledger.sqlite':
        return _check_ledger
    if path.suffix == '.sqlite':
        return _check_database
    if path.name == MANIFEST and (path.parent / 'query').is_dir():
        return _check_query_set
    if path.suffix in _TORCH_FILES:
        return _check_torch_file
    if path.name in _RECORDS or (path.suffix == '.json' and path.parent.name in _RECORD_FOLDERS):
        return _check_json
    return None


def _check_ledger(path: Path, found: Verification) -> None:
    found.checked['ledgers'] += 1
    found.checked['answers'] += len(list((path.parent / 'pairs').glob('*/*_response.png')))
    price = _price(path.parent.parent)
    for one in verify_ledger(path.parent):
        cost = None if price is None or not one.charges else price * one.charges
        found.damage.append(Damage(one.path, one.what, one.queries, one.charges, cost))


def _price(output: Path) -> float | None:
    """The price of a query, if the query set beside the ledger notes one."""
    manifest = read_json(output / 'queries' / MANIFEST)
    try:
        return float(manifest['options']['queries']['cost_per_query']) or None  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None


def _check_database(path: Path, found: Verification) -> None:
    found.checked['databases'] += 1
    try:
        with contextlib.closing(
            sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True, timeout=10)
        ) as database:
            ((answer,),) = database.execute('PRAGMA quick_check(1)').fetchmany(1)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        answer = str(error)
    if answer != 'ok':
        found.damage.append(Damage(path, f'the database is damaged ({line_of(str(answer))})'))


def _check_query_set(path: Path, found: Verification) -> None:
    found.checked['query sets'] += 1
    try:
        check_whole(path.parent)
    except InputError as error:
        found.damage.append(Damage(Path(error.where or path), error.what))


def _check_torch_file(path: Path, found: Verification) -> None:
    found.checked['checkpoints and weights'] += 1
    if wrong := fault(path):
        found.damage.append(Damage(path, wrong))


def _check_json(path: Path, found: Verification) -> None:
    content = read_json(path)
    if isinstance(content, dict) and CHECKSUM not in content:
        found.unhashed['results'] += 1
        return
    found.checked['results'] += 1
    if not isinstance(content, dict) or not is_whole(content):
        found.damage.append(Damage(path, 'is damaged'))
