"""Checks a ledger and every answer in it, for tools/doctor.py; nothing is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from mea_plugin.query.ledger import Ledger
from mea_plugin.query.ledger_file import find_damage

__all__ = ['Finding', 'verify_ledger']


@dataclass(frozen=True)
class Finding:
    """Something that is damaged.

    Attributes:
        path: The file.
        what: What is wrong with it, as a clause.
        queries: How many queries would have to be asked again.
        charges: How many of them would be charged: 0 where the victim answers on this machine.
    """

    path: Path
    what: str
    queries: int
    charges: int


def verify_ledger(folder: str | Path) -> list[Finding]:
    """Read and hash every answer of a ledger.

    Args:
        folder: The one that holds ``ledger.sqlite``.

    Raises:
        InputError: There is no ledger, or it cannot be opened.
    """
    path = Path(folder) / 'ledger.sqlite'
    if damage := find_damage(path):
        count = len(list((path.parent / 'pairs').glob('*/*_response.png')))
        return [Finding(path, f'the ledger is damaged ({damage})', count, count)]
    found = []
    with Ledger(folder, create=False) as ledger:
        ((paid,),) = ledger.rows('SELECT EXISTS (SELECT 1 FROM attempts WHERE received_bytes IS NOT NULL)')
        rows = list(ledger.rows("SELECT id, hash, response FROM queries WHERE state = 'settled' ORDER BY id"))
        for query, content, response in rows:
            files = ledger.pair(query)
            if what := _damage(files[1], response):
                found.append(Finding(files[1], what, 1, int(paid)))
            if what := _damage(files[0], content):  # written again from the image
                found.append(Finding(files[0], what, 0, 0))
    return found


def _damage(file: Path, content: str) -> str | None:
    try:
        return None if hash_array(read_rgb(file)) == content else 'is another image than the ledger says'
    except InputError as error:
        return error.what
