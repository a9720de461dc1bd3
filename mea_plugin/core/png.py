"""The checksums in PNG files, which decoders do not all compare."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO

__all__ = ['damaged_chunk']

_PIECE = 1 << 20


def damaged_chunk(file: BinaryIO) -> str | None:
    """Name of the first chunk with a wrong checksum among those that the pixels depend on; None when there is none.

    Pillow decodes such a file, and a flipped bit becomes wrong pixels. The other chunks hold metadata and are skipped.

    Args:
        file: A PNG file, read from its start to the chunk that ends it. A chunk that is cut off counts as right: what
            is missing is for the decoder to say.
    """
    file.seek(8)  # the signature
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], 'big'), head[4:]
        if kind[0] & 0x20:  # a small letter: the chunk is ancillary
            file.seek(length + 4, os.SEEK_CUR)
            continue
        checksum = zlib.crc32(kind)
        while length > 0 and (piece := file.read(min(length, _PIECE))):
            checksum = zlib.crc32(piece, checksum)
            length -= len(piece)
        wanted = file.read(4)
        if len(wanted) == 4 and int.from_bytes(wanted, 'big') != checksum:
            return kind.decode('latin-1')
        if kind == b'IEND':
            break
    return None
