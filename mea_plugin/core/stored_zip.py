"""Zip files whose records are stored as they are, as ``torch.save`` writes them; checked to the last byte.

Everything is known and bounded before memory is taken: each record lies in the file, apart from all others, in the size
that the directory gives, and the entry before its content says the same as the directory.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import NamedTuple

__all__ = ['MAX_RECORDS', 'Record', 'StoredZip', 'ZipError']

MAX_RECORDS = 1_000_000
_MAX_NAME = 4096
_CHUNK = 1 << 20
_DESCRIPTOR_FLAG, _UTF8_FLAG = 0x8, 0x800
_END, _END64, _LOCATOR64 = struct.Struct('<4s4H2IH'), struct.Struct('<4sQ2H2I4Q'), struct.Struct('<4sIQI')
_ENTRY, _LOCAL = struct.Struct('<4s6H3I5H2I'), struct.Struct('<4s5H3I2H')
_UNKNOWN = 0xFFFFFFFF  # the number stands in an extra field, in 64 bits


class ZipError(ValueError):
    """The file is no such zip file, or is damaged; the text says how."""


class Record(NamedTuple):
    """A part of the archive.

    Attributes:
        name: As in the directory.
        offset: Where its content begins.
        size: Of its content, in bytes.
        crc: Of its content.
    """

    name: str
    offset: int
    size: int
    crc: int


class StoredZip:
    """The records of an open file.

    Args:
        file: Open for reading; stays open.

    Attributes:
        comment: What stands at the end of the archive.
        size: Of the file.
        records: By name, in the order of the directory.
        is_stored: Whether none of them is compressed; those of another archive can only be listed.

    Raises:
        ZipError: It is no zip file of stored records, or does not agree with itself.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        count, start, end, self.comment = self._find_directory()
        if count > MAX_RECORDS or end - start > count * (_ENTRY.size + _MAX_NAME):
            raise ZipError('has too many records')
        self.records: dict[str, Record] = {}
        self.is_stored = True
        spans = []
        for record, first, last in self._entries(self._at(start, end - start), count, start):
            if record.name in self.records:
                raise ZipError('has two records of one name')
            self.records[record.name] = record
            spans.append((first, last))
        spans.sort()
        if any(first < before for (_, before), (first, _) in itertools.pairwise(spans)):
            raise ZipError('has records that overlap')

    def read(self, name: str, limit: int) -> bytes:
        """The content of a record, compared with its checksum.

        Raises:
            ZipError: There is none, it is larger than the limit, or damaged.
        """
        record = self.records.get(name)
        if record is None:
            raise ZipError(f'has no {name.rpartition("/")[2][:40]}')
        if record.size > limit:
            raise ZipError(f'has a record of {record.size} bytes where at most {limit} are read')
        content = bytearray(record.size)
        self.read_into(record, memoryview(content))
        return bytes(content)

    def read_into(self, record: Record, target: memoryview) -> None:
        """Read a record's content, compared with its checksum.

        Args:
            record: One of this archive's.
            target: Bytes, as many as the record has.

        Raises:
            ZipError: It is damaged.
        """
        self._file.seek(record.offset)
        crc, done = 0, 0
        while done < record.size:
            part = target[done : done + _CHUNK]
            count = self._file.readinto(part)
            if not count:
                raise ZipError('ends early')
            crc = zlib.crc32(part[:count], crc)
            done += count
        if crc != record.crc:
            raise ZipError('is damaged (a checksum differs)')

    def check_content(self) -> None:
        """Compare every record with its checksum.

        Raises:
            ZipError: One differs.
        """
        space = memoryview(bytearray(_CHUNK))
        for record in self.records.values():
            self._file.seek(record.offset)
            crc, left = 0, record.size
            while left:
                count = self._file.readinto(space[: min(left, _CHUNK)])
                if not count:
                    raise ZipError('ends early')
                crc = zlib.crc32(space[:count], crc)
                left -= count
            if crc != record.crc:
                raise ZipError('is damaged (a checksum differs)')

    def _at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ZipError('is no whole zip file')
        self._file.seek(offset)
        content = self._file.read(size)
        if len(content) != size:
            raise ZipError('ends early')
        return content

    def _find_directory(self) -> tuple[int, int, int, bytes]:
        """Number of records, where the directory begins and ends, and the comment."""
        tail = self._at(max(0, self.size - _END.size - 0xFFFF), min(self.size, _END.size + 0xFFFF))
        place = len(tail) - _END.size
        while place >= 0:
            place = tail.rfind(_END_SIGN, 0, place + 4)
            if place < 0 or _END.size + place > len(tail):
                raise ZipError('is no whole zip file')
            if place + _END.size + _END.unpack_from(tail, place)[-1] == len(tail):
                break
            place -= 1
        else:
            raise ZipError('is no whole zip file')
        _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, place)
        end = self.size - len(tail) + place
        if disk or first_disk or here != count:
            raise ZipError('is a part of a zip file')
        comment = tail[place + _END.size :]
        if end >= _LOCATOR64.size:
            sign, disk, at, disks = _LOCATOR64.unpack(self._at(end - _LOCATOR64.size, _LOCATOR64.size))
            if sign == b'PK\x06\x07':
                if disk or disks != 1 or at + _END64.size != end - _LOCATOR64.size:
                    raise ZipError('has a damaged directory')
                wide = _END64.unpack(self._at(at, _END64.size))
                if wide[0] != b'PK\x06\x06' or wide[1] != _END64.size - 12 or wide[4:6] != (0, 0) or wide[6] != wide[7]:
                    raise ZipError('has a damaged directory')
                for narrow, value, unknown in ((count, wide[7], 0xFFFF), (size, wide[8], _UNKNOWN)):
                    if narrow not in (value, unknown):
                        raise ZipError('has a damaged directory')
                if start not in (wide[9], _UNKNOWN):
                    raise ZipError('has a damaged directory')
                count, size, start, end = wide[7], wide[8], wide[9], at
        if start + size != end:
            raise ZipError('has a damaged directory')
        return count, start, end, comment

    def _entries(self, directory: bytes, count: int, start: int) -> Iterator[tuple[Record, int, int]]:
        """The records, each with where it begins and ends in the file, headers and all."""
        place = 0
        for _ in range(count):
            if place + _ENTRY.size > len(directory):
                raise ZipError('has a damaged directory')
            sign, _, _, flags, method, _, _, crc, packed, size, *lengths, _, attributes, offset = _ENTRY.unpack_from(
                directory, place
            )
            name_length, extra_length, comment_length, disk = lengths
            place += _ENTRY.size
            name = directory[place : place + name_length]
            extra = directory[place + name_length : place + name_length + extra_length]
            place += name_length + extra_length + comment_length
            if sign != b'PK\x01\x02' or place > len(directory) or disk or not 0 < name_length <= _MAX_NAME:
                raise ZipError('has a damaged directory')
            if flags & ~(_DESCRIPTOR_FLAG | _UTF8_FLAG) or attributes & 0x10:
                raise ZipError('has records that torch does not write')
            size, packed, offset = _wide(extra, size, packed, offset)
            if method or size != packed:
                self.is_stored = False
                yield Record(_decoded(name), 0, 0, 0), offset, offset
                continue
            content, end = self._check_local(offset, name, flags, crc, size, start)
            yield Record(_decoded(name), content, size, crc), offset, end
        if place != len(directory):
            raise ZipError('has a damaged directory')

    def _check_local(self, offset: int, name: bytes, flags: int, crc: int, size: int, limit: int) -> tuple[int, int]:
        """Find where a record's content begins and ends; its own header must agree with the directory."""
        if offset + _LOCAL.size > limit:
            raise ZipError('has a damaged directory')
        sign, _, local_flags, method, _, _, local_crc, packed, local_size, name_length, extra_length = _LOCAL.unpack(
            self._at(offset, _LOCAL.size)
        )
        content = offset + _LOCAL.size + name_length + extra_length
        end = content + size
        if sign != b'PK\x03\x04' or local_flags != flags or method or name_length != len(name) or end > limit:
            raise ZipError('has a record whose header differs from the directory')
        head = self._at(offset + _LOCAL.size, name_length + extra_length)
        if head[:name_length] != name:
            raise ZipError('has a record whose header differs from the directory')
        if (local_crc, packed, local_size) == (0, 0, 0) and flags & _DESCRIPTOR_FLAG:
            length = 24 if size >= _UNKNOWN else 16
            narrow = struct.pack('<4s3I', b'PK\x07\x08', crc, size & _UNKNOWN, size & _UNKNOWN)
            wide = struct.pack('<4sI2Q', b'PK\x07\x08', crc, size, size)
            found = self._at(end, min(24, limit - end))
            if found[: len(wide)] == wide:
                length = 24
            elif size >= _UNKNOWN or found[: len(narrow)] != narrow:
                raise ZipError('has a record whose header differs from the directory')
            return content, end + length
        local_size, packed, _ = _wide(head[name_length:], local_size, packed, 0)
        if (local_crc, packed, local_size) != (crc, size, size):
            raise ZipError('has a record whose header differs from the directory')
        return content, end


_END_SIGN = b'PK\x05\x06'


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ZipError('has a record whose name is no text') from None


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, those that are too large for 32 bits from the extra field."""
    values = [size, packed, offset]
    if _UNKNOWN not in values:
        return size, packed, offset
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from('<2H', extra, place)
        field = extra[place + 4 : place + 4 + length]
        place += 4 + length
        if kind == 1:
            wide = [field[at : at + 8] for at in range(0, len(field), 8)]
            for index, value in enumerate(values):
                if value == _UNKNOWN:
                    if not wide or len(wide[0]) != 8:
                        break
                    values[index] = struct.unpack('<Q', wide.pop(0))[0]
            break
    if _UNKNOWN in values:
        raise ZipError('has a damaged directory')
    return values[0], values[1], values[2]
