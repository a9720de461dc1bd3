"""The body of a reply, read within a bound: bytes are counted while they are decoded."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

from mea_plugin.core.schema import shortened
from mea_plugin.victims.remote import InDoubtError, UnusableError

__all__ = ['ACCEPT_ENCODING', 'read_body']

ACCEPT_ENCODING = 'gzip, deflate'
"""Codings that can be decoded piece by piece with the standard library alone."""

_PIECE = 1 << 16  # bytes that one step of decoding gives at most
_CODINGS = ('gzip', 'x-gzip', 'deflate')
_GZIP = zlib.MAX_WBITS | 16


async def read_body(response: httpx.Response, most: int) -> bytes:
    """The whole body; memory holds what has been decoded so far, and one piece.

    Args:
        response: A reply whose body has not been read.
        most: Bytes that it may have, before and after decoding.

    Raises:
        UnusableError: It has more bytes, another coding than gzip or deflate, or several.
        InDoubtError: It broke off.
    """
    parts = bytearray()
    async for part in _decoded(response, most):
        if len(parts) + len(part) > most:
            raise _too_long(most)
        parts += part
    return bytes(parts)


async def _decoded(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    # Refused before a byte is read; a transfer coding other than chunked is refused by the parser.
    codings = [one.strip().lower() for one in response.headers.get('Content-Encoding', '').split(',')]
    codings = [one for one in codings if one not in ('', 'identity')]
    if len(codings) > 1 or (codings and codings[0] not in _CODINGS):
        raise UnusableError(f'the reply has the content coding {shortened(", ".join(codings))}, not {ACCEPT_ENCODING}')
    length = response.headers.get('Content-Length', '')
    # What cannot be compressed becomes a little longer.
    longest = most + most // 64 + 1024 if codings else most
    if length.isascii() and length.isdecimal() and (len(length) > 18 or int(length) > longest):
        raise _too_long(most)
    decoder = _Decoder(codings[0]) if codings else None
    count = 0
    try:
        async for chunk in response.aiter_raw():
            count += len(chunk)
            if count > longest:
                raise _too_long(most)
            if decoder is None:
                yield chunk
                continue
            for piece in decoder.feed(chunk):
                yield piece
    except httpx.TimeoutException:
        raise InDoubtError('the answer stopped coming') from None
    except zlib.error as error:
        raise InDoubtError(f'the answer broke off ({error})') from None
    if decoder is not None and not decoder.is_complete(count):
        raise InDoubtError(f'the answer broke off (its {codings[0]} coding has no end)')


def _too_long(most: int) -> UnusableError:
    return UnusableError(f'the reply has more than {most} bytes')


class _Decoder:
    """Decodes gzip (of one member or several) or deflate (with zlib's head or without), a bounded piece at a time.

    Args:
        coding: ``gzip`` or ``deflate``.
    """

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != 'deflate'
        self._decoder = zlib.decompressobj(_GZIP) if self._is_gzip else None
        self._head = b''

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What can be decoded with these bytes."""
        if self._decoder is None:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            # Some services leave zlib's head away (RFC 1950, 2.2): its first two bytes tell.
            has_head = data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2], 'big') % 31 == 0
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
        while data:
            if self._decoder.eof:
                if not self._is_gzip:
                    raise zlib.error('bytes follow the end')
                self._decoder = zlib.decompressobj(_GZIP)  # a further member
            piece = self._decoder.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if not data and len(piece) == _PIECE and not self._decoder.eof:
                yield from self._rest(self._decoder)

    @staticmethod
    def _rest(decoder: zlib._Decompress) -> Iterator[bytes]:
        """What zlib has taken in, and did not give because the piece was full."""
        while not decoder.eof and (piece := decoder.decompress(b'', _PIECE)):
            yield piece

    def is_complete(self, count: int) -> bool:
        """Whether the coding has come to its end, after ``count`` bytes."""
        return count == 0 or (self._decoder is not None and self._decoder.eof)
