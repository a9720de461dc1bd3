"""A service of one's own to test against: it answers as told, counts what it is asked, bills, and breaks off.

A few lines of HTTP/1.1 on a socket rather than a web framework: none of those resets a connection, or stops half-way.
"""

from __future__ import annotations

import asyncio
import base64
import email
import inspect
import io
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mea_plugin.core.files import hash_array

SCALE = 2


@dataclass(frozen=True)
class Request:
    """What a client sent; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, bytes]:
        """The fields of a multipart form."""
        head = f'Content-Type: {self.headers["content-type"]}\r\n\r\n'.encode()
        parts = email.message_from_bytes(head + self.body).get_payload()
        return {part.get_param('name', header='content-disposition'): part.get_payload(decode=True) for part in parts}

    def image(self) -> np.ndarray:
        """The image of a form's field, of JSON, or of the raw body."""
        kind = self.headers['content-type']
        if kind.startswith('multipart'):
            data = self.form()['image']
        else:
            data = base64.b64decode(json.loads(self.body)['image']) if kind == 'application/json' else self.body
        return np.array(Image.open(io.BytesIO(data)))


@dataclass(frozen=True)
class Answer:
    """What the service does.

    Attributes:
        status: Of the reply; likewise the next two.
        body: Whole.
        headers: Further ones.
        then: ``keep`` the connection, ``reset`` it instead of a reply, ``stall`` without a byte, ``cut`` it or ``hang``
            after half the body.
    """

    status: int = 200
    body: bytes = b''
    headers: dict[str, str] = field(default_factory=dict)
    then: str = 'keep'


Handler = Callable[[Request], Answer | Awaitable[Answer]]


def png(image: np.ndarray, **options) -> bytes:
    """An array as a PNG file's content."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG', **options)
    return buffer.getvalue()


def doubled(image: np.ndarray) -> np.ndarray:
    """The victim's model."""
    return image.repeat(SCALE, 0).repeat(SCALE, 1)


def double(request: Request) -> Answer:
    """Answer any query as it should be."""
    return Answer(body=png(doubled(request.image())))


class Service:
    """A server in a thread of its own, on a free port of this machine.

    Attributes:
        handler: Answers requests; may be exchanged at any time.
        requests: All that came.
        most: How many were under way at once, at most.
    """

    def __init__(self, handler: Handler = double) -> None:
        self.reset(handler)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def reset(self, handler: Handler) -> None:
        """Answer in another way from now on, and begin to count anew."""
        self.handler, self.requests = handler, []
        self.most, self._under_way = 0, 0

    def __enter__(self) -> Service:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/translate'

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, '127.0.0.1', 0, limit=1 << 24)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
        method, path, _ = head[0].split(' ')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in head[1:] if line)}
        request = Request(method, path, headers, await reader.readexactly(int(headers.get('content-length', 0))))
        self.requests.append(request)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            answer = self.handler(request)
            if inspect.isawaitable(answer):
                answer = await answer
        finally:
            self._under_way -= 1
        if answer.then == 'reset':
            linger = struct.pack('ii', 1, 0)
            writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        if answer.then == 'stall':
            await reader.read()  # until the client has had enough
            return False
        lines = [f'HTTP/1.1 {answer.status} X', f'Content-Length: {len(answer.body)}']
        lines += [f'{name}: {value}' for name, value in answer.headers.items()]
        whole = answer.then == 'keep'
        body = answer.body if whole else answer.body[: len(answer.body) // 2]
        writer.write('\r\n'.join([*lines, '', '']).encode('latin-1') + body)
        await writer.drain()
        if answer.then == 'hang':
            await reader.read()
        return whole


FAULTS = ('429', '500', '500 after billing', '502', 'reset', 'reset after', 'stall', 'half', 'cut', 'size', 'html')


class Billing:
    """A service that bills what it answers: once per Idempotency-Key, or every time where it does not honour keys.

    Which requests fail is a matter of the image and of how often it was asked for, so that it does not depend on the
    order in which requests arrive; the fourth time, none fails.

    Args:
        idempotent: Whether it honours keys.
        faults: What goes wrong, of :data:`FAULTS`.
        chance: Of a fault, per request.
        delay: Seconds that an answer takes.
        seed: Of the faults.

    Attributes:
        billed: How often each image was billed, by its hash.
    """

    def __init__(
        self,
        *,
        idempotent: bool = True,
        faults: tuple[str, ...] = (),
        chance: float = 0.5,
        delay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.idempotent, self.faults, self.chance, self.delay, self.seed = idempotent, faults, chance, delay, seed
        self.billed: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self._keys: set[str] = set()

    async def __call__(self, request: Request) -> Answer:
        image = request.image()
        content = hash_array(image)
        self.asked[content] += 1
        fault = self._fault(content)
        self.injected[fault] += 1
        if fault == '429':
            return Answer(429, b'slow down', {'Retry-After': '0'})
        if fault in ('500', '502'):
            return Answer(int(fault), b'sorry')
        if fault == 'reset':
            return Answer(then='reset')
        await asyncio.sleep(self.delay)
        self._bill(request.headers.get('idempotency-key'), content)
        body = png(doubled(image))
        return {
            '500 after billing': Answer(500, b'sorry'),
            'reset after': Answer(then='reset'),
            'stall': Answer(then='stall'),
            'half': Answer(body=body[: len(body) // 2]),
            'cut': Answer(body=body, then='cut'),
            'size': Answer(body=png(image)),
            'html': Answer(body=b'<html>We are busy</html>', headers={'Content-Type': 'text/html'}),
        }.get(fault, Answer(body=body))

    def _fault(self, content: str) -> str:
        draw = random.Random(f'{self.seed} {content} {self.asked[content]}')
        fails = self.faults and self.asked[content] < 4 and draw.random() < self.chance
        return draw.choice(self.faults) if fails else ''

    def _bill(self, key: str | None, content: str) -> None:
        if self.idempotent and key is not None:
            if key in self._keys:
                return
            self._keys.add(key)
        self.billed[content] += 1
