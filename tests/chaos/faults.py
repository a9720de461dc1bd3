"""The kinds of fault: what the service does instead of answering, before or after it has billed."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

CRLF = '\r\n'


@dataclass
class Exchange:
    """A request that is to be spoiled.

    Attributes:
        reader: Of the connection; likewise the writer.
        image: What was sent, uint8 ``(H, W, 3)``.
        answer: The right answer as PNG.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    image: np.ndarray
    answer: bytes

    async def reply(self, status: int | str, body: bytes = b'', *headers: str, length: int | None = None) -> None:
        """Send a reply; ``length`` is what Content-Length says, if not the truth."""
        lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(body) if length is None else length}', *headers, '', '']
        await self.send(CRLF.join(lines).encode('latin-1') + body)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def reset(self) -> None:
        """End the connection by a reset."""
        linger = struct.pack('ii', 1, 0)
        self.writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Act = Callable[[Exchange], Awaitable[object]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        act: Spoils an exchange.
        billed: Whether the service bills first, as if it had answered.
    """

    act: Act
    billed: bool


def _status(status: int, *headers: str, body: bytes = b'sorry') -> Act:
    return lambda exchange: exchange.reply(f'{status} X', body, *headers)


def _sends(body: Callable[[Exchange], bytes], *headers: str) -> Act:
    return lambda exchange: exchange.reply('200 OK', body(exchange), *headers)


async def _stall(exchange: Exchange) -> None:
    await exchange.reader.read()  # until the client has had enough


async def _stall_half_way(exchange: Exchange) -> None:
    await exchange.reply('200 OK', exchange.answer[:20], length=len(exchange.answer))
    await exchange.reader.read()


async def _cut(exchange: Exchange) -> None:
    await exchange.reply('200 OK', exchange.answer[: len(exchange.answer) // 2], length=len(exchange.answer))


async def _reset_half_way(exchange: Exchange) -> None:
    await _cut(exchange)
    await exchange.reset()


async def _header_only(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Half')


async def _chunked(exchange: Exchange, end: bytes) -> None:
    half = exchange.answer[: len(exchange.answer) // 2]
    await exchange.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%s' % (len(half), half, end))


async def _endless_header(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 200 OK\r\n' + b''.join(b'X-%d: %s\r\n' % (n, b'a' * 1000) for n in range(300)))
    await exchange.reader.read()


async def _twice(exchange: Exchange) -> None:
    """A refusal, and behind it the answer to another image, as from a proxy that mixes up replies."""
    await exchange.reply('503 X', b'sorry')
    await exchange.reply('200 OK', _png(255 - np.repeat(np.repeat(exchange.image, 2, 0), 2, 1)))


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, 'PNG')
    return buffer.getvalue()


def _flipped(exchange: Exchange) -> bytes:
    data = bytearray(exchange.answer)
    data[len(data) // 2] ^= 0x10
    return bytes(data)


def _huge(exchange: Exchange) -> bytes:
    """A PNG of a few bytes whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b'IHDR' + header
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack('>I', zlib.crc32(chunk)) + bytes(20)


@functools.cache
def _bomb(times: int) -> bytes:
    """64 MiB of zeros, packed once or more often."""
    data = bytes(64 << 20)
    for _ in range(times):
        data = gzip.compress(data)
    return data


BEFORE: dict[str, Act] = {
    'closes at once': lambda exchange: asyncio.sleep(0),
    'resets at once': Exchange.reset,
    **{f'{status} refusal': _status(status, 'Retry-After: 0') for status in (429, 503)},
    '429 without a wait': _status(429),
    **{f'{status} rejection': _status(status) for status in (400, 401, 403, 404, 413, 422)},
    'redirect to a host elsewhere': _status(307, 'Location: http://192.0.2.1/translate'),
    'redirect to another port': _status(307, 'Location: http://127.0.0.1:9/translate'),
    'redirect that changes the method': _status(302, 'Location: /translate'),
    'endless redirect': _status(307, 'Location: /translate'),
    'redirect to nowhere': _status(307),
    'two replies': _twice,
}
"""What happens before anything is billed."""

AFTER: dict[str, Act] = {
    'reset after billing': Exchange.reset,
    'close after billing': lambda exchange: asyncio.sleep(0),
    'stall': _stall,
    'stall half-way': _stall_half_way,
    'cut': _cut,
    'reset half-way': _reset_half_way,
    'half a header': _header_only,
    'chunks that end early': lambda exchange: _chunked(exchange, b''),
    'chunk of a wrong length': lambda exchange: _chunked(exchange, b'zz\r\n'),
    'endless header': _endless_header,
    **{f'{status} after billing': _status(status) for status in (500, 502, 504, 520, 522, 524, 598, 599)},
    'no status line': lambda exchange: exchange.send(b'sorry\r\n\r\n'),
    'wrong status line': lambda exchange: exchange.reply('2OO OK', exchange.answer),
    '204': lambda exchange: exchange.send(b'HTTP/1.1 204 X\r\n\r\n'),
    'nothing': _sends(lambda exchange: b''),
    'HTML': _sends(lambda exchange: b'<html>We are busy</html>', 'Content-Type: text/html'),
    'JSON': _sends(lambda exchange: b'{"error": "busy"}', 'Content-Type: application/json'),
    'the query itself': _sends(lambda exchange: _png(exchange.image)),
    'grey': _sends(lambda exchange: _png(np.zeros(exchange.image.shape[:2], np.uint8))),
    'half an image': _sends(lambda exchange: exchange.answer[: len(exchange.answer) // 2]),
    'flipped bit': _sends(_flipped),
    'huge image': _sends(_huge),
    'noise': _sends(lambda exchange: bytes(range(256)) * 4),
    'no gzip': _sends(lambda exchange: exchange.answer, 'Content-Encoding: gzip'),
    'unknown coding': _sends(lambda exchange: exchange.answer, 'Content-Encoding: rot13'),
    'gzip bomb': _sends(lambda exchange: _bomb(1), 'Content-Encoding: gzip'),
    'gzip bomb in gzip': _sends(lambda exchange: _bomb(2), 'Content-Encoding: gzip, gzip'),
}
"""What happens after it was billed."""

UNBILLED = '500 of a service that does not bill errors'

FAULTS: dict[str, Fault] = {
    **{name: Fault(act, billed=False) for name, act in BEFORE.items()},
    **{name: Fault(act, billed=True) for name, act in AFTER.items()},
    UNBILLED: Fault(_status(500), billed=False),
}
"""All of them, by name."""
