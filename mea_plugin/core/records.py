"""JSON records that this package writes and reads back, each with a checksum over its own content.

A record is a JSON object; its key :data:`CHECKSUM` holds the SHA-256 of all the rest, independent of the order of keys
and of white space. It shows damage (a disk, a merge, a hand), not malice: who changes a record on purpose can compute
it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mea_plugin.core.errors import InputError, line_of, shortened
from mea_plugin.core.files import hash_json, parse_json, read_bytes, write_json

__all__ = [
    *('CHECKSUM', 'RecordError', 'find_record', 'is_whole', 'read_record', 'sealed', 'tell_once'),
    'write_record',
]

CHECKSUM = 'sha256'

Tell = Callable[[str], None]
"""Is told a line."""

Check = Callable[[dict[str, Any]], None]
"""Raises an :class:`~mea_plugin.core.errors.InputError` where a record's content cannot be used."""


_told: set[str] = set()


def tell_once(line: str) -> None:
    """Write a line to standard error, above progress bars; a process writes the same line once."""
    if line not in _told:
        _told.add(line)
        tqdm.write(line, sys.stderr)


class RecordError(InputError):
    """A record that cannot be used: damaged, without its checksum, or of another format."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content as JSON holds it, with its checksum as the last key.

    Raises:
        ValueError: A number is not finite.
    """
    plain = json.loads(json.dumps({key: one for key, one in content.items() if key != CHECKSUM}, allow_nan=False))
    return {**plain, CHECKSUM: hash_json(plain)}


def write_record(path: str | PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a record with its checksum; the file appears whole or not at all."""
    write_json(Path(path), sealed(content))


def read_record(
    path: str | PathLike[str],
    *,
    format: int | None = None,
    unsealed: int | None = None,
    check: Check | None = None,
    tell: Tell | None = None,
    do: str = 'Remove it, and run the command again',
) -> dict[str, Any]:
    """Read a record and check it.

    Args:
        path: The file.
        format: The number that its key ``format`` must have; by default, records of its kind have none.
        unsealed: The format that records of this kind had before they had a checksum; such a one is read without. A
            record of any later format without a checksum is damaged.
        check: Looks at the content.
        tell: Is told, in a line, that a record has no checksum.
        do: What to do about a fault, for the error.

    Returns:
        The content, without the checksum.

    Raises:
        RecordError: It is no regular file or too large, no JSON, of another format, does not hold what its checksum
            says, or ``check`` has refused it.
        FileNotFoundError: There is none.
    """
    try:
        content = parse_json(read_bytes(Path(path)))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError(f'cannot be read ({error.strerror})', where=path, do='Check the rights to it') from None
    except ValueError:
        raise RecordError('is no valid JSON', where=path, do=do) from None
    if not isinstance(content, dict):
        raise RecordError('holds no record', where=path, do=do)
    found = content.get('format', None if format is None else 1)
    is_number = isinstance(found, int) and not isinstance(found, bool)
    if found != format and not (unsealed is not None and is_number and found == unsealed):
        raise RecordError(f'is of format {shortened(found)}, not {format}', where=path, do=do)
    rest = {key: one for key, one in content.items() if key != CHECKSUM}
    has_none = CHECKSUM not in content
    if has_none and (format is None or found == format):
        raise RecordError('has lost its checksum', where=path, do=do)
    if not has_none and not is_whole(content):
        raise RecordError('is damaged: its content is not what its checksum says', where=path, do=do)
    if check is not None:
        try:
            check(rest)
        except InputError as error:
            place = error.where or str(path)
            place = place if place.startswith(str(path)) else f'{path}: {place}'
            raise RecordError(error.what, where=place, do=error.do or do) from None
    if has_none and tell is not None:
        folder = line_of(str(Path(path).parent))
        tell(f'{folder}: results of an earlier version have no checksum: damage to them would not be seen.')
    return rest


def is_whole(content: Mapping[str, Any]) -> bool:
    """Compare a record's content with the checksum that it carries."""
    return content[CHECKSUM] == hash_json({key: one for key, one in content.items() if key != CHECKSUM})


def find_record(
    path: str | PathLike[str],
    tell: Tell = tell_once,
    *,
    format: int | None = None,
    unsealed: int | None = None,
    check: Check | None = None,
) -> dict[str, Any] | None:
    """The content of a record, or None where there is none that can be used.

    Args:
        path: The file.
        tell: Is told, in a line, why a record is passed over, and that one has no checksum.
        format: As :func:`read_record`.
        unsealed: Likewise.
        check: Likewise.
    """
    try:
        return read_record(path, format=format, unsealed=unsealed, check=check, tell=tell)
    except FileNotFoundError:
        return None
    except RecordError as error:
        tell(f'{line_of(error.where)}: {line_of(error.what)}; it is passed over and made again.')
        return None
