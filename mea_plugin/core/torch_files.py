"""Files that ``torch.save`` wrote, read as data on every version of torch; the one reader of this package.

torch's own ``weights_only`` loading differs from version to version: 2.1 hands a TorchScript file to its interpreter,
and reads memory as a tensor where a directory is damaged. Here the archive and its pickle are read in Python
(:mod:`~mea_plugin.core.stored_zip`, :mod:`~mea_plugin.core.plain_pickle`); no code of the file runs, and nothing of
this process is changed.

Files that this package writes end with a hash over all that is before it, in the archive's comment, which torch skips.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes
from mea_plugin.core.plain_pickle import Name, PickleError, read_pickle
from mea_plugin.core.stored_zip import StoredZip, ZipError
from mea_plugin.core.torch_pickle import Storage, TensorBuilder

__all__ = [
    'LOG_HISTORY',
    'TorchScriptError',
    'any_stub',
    'fault',
    'no_stub',
    'read_torch_file',
    'write_torch_file',
]

_MARK = b'mea_plugin sha256:'
_MAX_PICKLE = 1 << 29
_MAX_SMALL = 1 << 20
_ROOM = 64 << 20
_REPEATED = 16  # a network and its average may share memory, and a few views may
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class TorchScriptError(InputError):
    """The file holds a program, which is never run as a side effect of reading weights."""


LOG_HISTORY = frozenset(
    {
        Name('mmengine.logging.history_buffer', 'HistoryBuffer'),
        Name('builtins', 'getattr'),
        Name('__builtin__', 'getattr'),
    }
)
"""Of what MMEngine's log history is made, besides numpy's arrays."""


def any_stub(name: Name) -> bool:
    """For weights: whatever else their file holds is not looked at."""
    return True


def no_stub(name: Name) -> bool:
    """For files that hold nothing but data."""
    return False


def write_torch_file(path: str | Path, content: Any) -> str:
    """Save as ``torch.save`` does, with a hash over the whole; the file appears whole or not at all.

    Returns:
        SHA-256 of the file, in hexadecimal digits.

    Raises:
        OSError: The disk is full or cannot be written to. An older file of that name is untouched.
    """
    buffer = io.BytesIO()  # torch's writer would turn a full disk into an error that does not say so
    torch.save(content, buffer)
    length = len(_MARK) + 64
    with buffer.getbuffer() as view:
        view[-2:] = struct.pack('<H', length)  # of the comment
        digest = hashlib.sha256(view)
    comment = _MARK + digest.hexdigest().encode()
    buffer.seek(0, io.SEEK_END)
    buffer.write(comment)
    digest.update(comment)
    with buffer.getbuffer() as view:
        write_bytes(path, view)
    return digest.hexdigest()


def fault(path: str | Path) -> str | None:
    """Check a file that ``torch.save`` wrote for damage; returns what is wrong, or None.

    Of a file that this package wrote every bit counts. Of others all checksums are compared, and the directory with
    what it lists.
    """
    try:
        with Path(path).open('rb') as file:
            _check_whole(StoredZip(file), file)
    except FileNotFoundError:
        return 'is missing'
    except (ZipError, OSError) as error:
        return _reason(error)
    except (ValueError, struct.error, OverflowError) as error:  # none is known: damage shall never end a run
        return f'is damaged ({type(error).__name__})'
    return None


def read_torch_file(path: str | os.PathLike[str], *, has_stub: Callable[[Name], bool], do: str) -> Any:
    """Read a file of ``torch.save``: tensors on the CPU, plain values, numpy arrays.

    Args:
        path: The file: a zip archive, or in the format before torch 1.6.
        has_stub: For which names the pickle may have an object that is not made; see
            :class:`~mea_plugin.core.torch_pickle.TensorBuilder`.
        do: What to do about a file that cannot be read.

    Raises:
        InputError: It is missing or damaged, would run code, holds TorchScript, or is too large for itself.
    """
    path = Path(path)
    try:
        with path.open('rb') as file:
            if file.read(4) == b'PK\x03\x04':
                return _read_archive(path, file, has_stub)
            return _read_legacy(file, has_stub)
    except FileNotFoundError:
        raise InputError('is missing', where=path, do=do) from None
    except InputError:
        raise
    except (ZipError, PickleError, OSError) as error:
        raise InputError(_reason(error), where=path, do=do) from error
    except (MemoryError, RuntimeError, ValueError, TypeError, struct.error) as error:  # torch's, for want of memory
        raise InputError(f'cannot be read ({type(error).__name__})', where=path, do=do) from error


def _reason(error: Exception) -> str:
    return f'cannot be read ({error.strerror})' if isinstance(error, OSError) else str(error)


def _check_whole(archive: StoredZip, file: io.BufferedReader) -> None:
    """Refuse an archive of which a bit is wrong, as far as can be known."""
    if not archive.is_stored:
        raise ZipError('has compressed records, which torch.save never writes')
    if not archive.comment:
        archive.check_content()
        return
    expected = archive.comment.removeprefix(_MARK)
    if len(expected) != 64 or len(archive.comment) != 64 + len(_MARK):
        raise ZipError('is damaged at its end')
    digest, left = hashlib.sha256(), archive.size - len(archive.comment)
    file.seek(0)
    while left:
        part = file.read(min(left, 1 << 20))
        if not part:
            raise ZipError('ends early')
        digest.update(part)
        left -= len(part)
    if digest.hexdigest().encode() != expected:
        raise ZipError('is damaged (its SHA-256 differs)')


def _read_archive(path: Path, file: io.BufferedReader, has_stub: Callable[[Name], bool]) -> Any:
    archive = StoredZip(file)
    pickles = [name for name in archive.records if name.count('/') == 1 and name.endswith('/data.pkl')]
    if len(pickles) != 1:
        raise ZipError('holds nothing that torch.save wrote')
    folder = pickles[0].removesuffix('data.pkl')
    if f'{folder}constants.pkl' in archive.records:
        raise TorchScriptError(
            'is TorchScript, and loading it can run code',
            where=path,
            do='Give a state dict, or use type: torchscript',
        )
    _check_whole(archive, file)
    if f'{folder}byteorder' in archive.records:
        order = archive.read(f'{folder}byteorder', _MAX_SMALL).decode('latin-1')
        if order != sys.byteorder:
            raise ZipError('was written on a machine with another byte order')
    loaded: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
        found = loaded.get(key)
        if found is None:
            record = archive.records.get(f'{folder}data/{key}')
            if record is None:
                raise PickleError('has a tensor whose content is missing')
            if record.size != count * torch.empty(0, dtype=dtype).element_size():
                raise PickleError('has a tensor whose content is of another size')
            memory = torch.empty(record.size, dtype=torch.uint8)
            archive.read_into(record, memory.numpy().data)
            found = loaded[key] = Storage(memory, dtype)
        if found.dtype != dtype or found.memory.numel() != count * torch.empty(0, dtype=dtype).element_size():
            raise PickleError('has one storage of two types')
        return found

    builder = TensorBuilder(storage, _ROOM + _REPEATED * archive.size, has_stub)
    value, end = read_pickle(archive.read(pickles[0], _MAX_PICKLE), builder)
    if end != archive.records[pickles[0]].size:
        raise PickleError('is damaged (something follows its pickle)')
    return value


def _read_legacy(file: io.BufferedReader, has_stub: Callable[[Name], bool]) -> Any:
    """The format before torch 1.6: five pickles, then each storage with its number of elements before it."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_MAX_PICKLE)
    if head[:1] != b'\x80':
        raise ZipError('is no file of torch.save, or is damaged')
    asked: dict[str, Storage] = {}
    total = 0

    def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
        nonlocal total
        width = torch.empty(0, dtype=dtype).element_size()
        if key not in asked:
            total += count * width
            if total > size:
                raise PickleError('has tensors that are larger than the file')
            asked[key] = Storage(torch.empty(count * width, dtype=torch.uint8), dtype)
        if asked[key].dtype != dtype or asked[key].memory.numel() != count * width:
            raise PickleError('has one storage of two types')
        return asked[key]

    builder = TensorBuilder(storage, _ROOM + _REPEATED * size, has_stub)
    magic, place = read_pickle(head, builder)
    protocol, place = read_pickle(head, builder, place)
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ZipError('is no file of torch.save, or is damaged')
    system, place = read_pickle(head, builder, place)
    if not isinstance(system, dict) or system.get('little_endian') is not (sys.byteorder == 'little'):
        raise ZipError('was written on a machine with another byte order')
    value, place = read_pickle(head, builder, place)
    keys, place = read_pickle(head, builder, place)
    if type(keys) is not list or sorted(map(str, keys)) != sorted(asked):
        raise PickleError('has a tensor whose content is missing')
    file.seek(place)
    for key in keys:
        target = asked[key]
        width = torch.empty(0, dtype=target.dtype).element_size()
        count = file.read(8)
        if len(count) != 8 or struct.unpack('<q', count)[0] * width != target.memory.numel():
            raise PickleError('has a tensor whose content is of another size')
        view, done = target.memory.numpy().data, 0
        while done < len(view):
            part = file.readinto(view[done:])
            if not part:
                raise ZipError('ends early')
            done += part
    if file.read(1):
        raise ZipError('is damaged (something follows its last tensor)')
    return value
