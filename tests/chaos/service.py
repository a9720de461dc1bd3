"""The service: doubles images, and spoils exchanges as the seed says. ``service.py JSON``; see :class:`Settings`.

A few lines of HTTP/1.1 on sockets, as no web framework resets a connection, or sends half a header.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from dataclasses import dataclass

from mea_plugin.core.files import hash_array
from tests.chaos.books import Books
from tests.chaos.faults import FAULTS, Exchange
from tests.victims.http.service import Request, doubled, png

QUIET_AFTER = 3
"""How often an image is answered with a fault, at most, so that every run ends."""


@dataclass(frozen=True)
class Settings:
    """How the service behaves.

    Attributes:
        books: Its file of books.
        port: Where it listens on this machine.
        seed: Of the faults.
        idempotent: Whether it honours keys.
        faults: Names of those that it injects.
        chance: Of a fault per request.
        delay: Seconds that an answer takes.
    """

    books: str
    port: int
    seed: int
    idempotent: bool
    faults: list[str]
    chance: float
    delay: float


class ChaosService:
    """Answers requests on one port until it is killed."""

    def __init__(self, settings: Settings, books: Books) -> None:
        self._settings, self._books = settings, books
        self._under_way: set[str] = set()

    async def serve(self) -> None:
        """Listen for ever."""
        settings = self._settings
        server = await asyncio.start_server(self._connect, '127.0.0.1', settings.port, limit=1 << 24, backlog=128)
        print('listening', flush=True)
        async with server:
            await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; returns whether the connection goes on."""
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get('content-length', 0)))
        request = Request('POST', '/', headers, body)
        image = request.image()
        content, client = hash_array(image), headers.get('authorization', '')
        key = headers.get('idempotency-key') if self._settings.idempotent else None
        exchange = Exchange(reader, writer, image, png(doubled(image)))
        if key is not None and key in self._under_way:
            await exchange.reply('409 X', b'the same key is at work')
            return True
        name = self._choose(content)
        self._books.note_request(content, client, name)
        if key is not None:
            self._under_way.add(key)
        try:
            await asyncio.sleep(self._settings.delay)
            return await self._answer(exchange, name, content, key, client)
        finally:
            self._under_way.discard(key or '')

    def _choose(self, content: str) -> str:
        """The fault that an image's next request meets: a matter of the image and of how often it was sent."""
        asked = self._books.times_asked(content)
        draw = random.Random(f'{self._settings.seed} {content} {asked}')
        fails = asked < QUIET_AFTER and draw.random() < self._settings.chance
        return draw.choice(self._settings.faults) if fails else ''

    async def _answer(self, exchange: Exchange, name: str, content: str, key: str | None, client: str) -> bool:
        fault = FAULTS.get(name)
        if fault is None or fault.billed:
            self._books.bill(content, key, client)
        if fault is not None:
            await asyncio.wait_for(fault.act(exchange), 30)
            return False
        await exchange.reply('200 OK', exchange.answer, 'Content-Type: image/png')
        self._books.note_answer(content, client)
        return True


def main(argument: str) -> None:
    """Serve as the JSON says."""
    settings = Settings(**json.loads(argument))
    with Books(settings.books) as books, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(ChaosService(settings, books).serve())


if __name__ == '__main__':
    main(sys.argv[1])
