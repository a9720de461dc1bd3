"""A victim that answers at once, and a service around it without a network."""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from mea_plugin.serving.app import create_app
from mea_plugin.serving.database import open_store
from mea_plugin.serving.keys import create_key
from mea_plugin.serving.options import ServeOptions
from tests.helpers import photograph


class Doubler:
    """Repeats every pixel; notes what it was asked, waits when told to, and fails on black images."""

    name = 'doubler'
    scale = 2
    fingerprint = 'doubler-1'

    def __init__(self, fails_on_black=True):
        self.fails_on_black = fails_on_black
        self.batches = []
        self.threads = set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()

    def query(self, images):
        self.batches.append([image.shape for image in images])
        self.threads.add(threading.current_thread().name)
        self.asked.set()
        assert self.may_answer.wait(60)
        if self.fails_on_black and not all(image.any() for image in images):
            raise RuntimeError('cannot see anything')
        return [image.repeat(2, 0).repeat(2, 1) for image in images]

    @property
    def answered(self) -> int:
        return sum(map(len, self.batches))


def options(store: Path, **more: object) -> ServeOptions:
    """Options of a service, from what an option file would say."""
    section = {'name': 'test', 'victim': {'type': 'embedded'}, 'store': str(store), **more}
    return ServeOptions.parse_document(section, 'options.yml')


def new_key(store: Path, name: str = 'me', **limits: float) -> str:
    """A key in the store."""
    connection = open_store(store)
    try:
        return create_key(connection, name, **limits)
    finally:
        connection.close()


def encode(image: np.ndarray, kind: str = 'PNG', **settings: object) -> bytes:
    """An image file's content."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **settings)
    return buffer.getvalue()


def png(size: tuple[int, int] = (8, 10), seed: int = 0) -> bytes:
    """An image that is not black."""
    return encode(photograph(size, seed))


def pixels(content: bytes) -> np.ndarray:
    """What an image file shows."""
    return np.array(Image.open(io.BytesIO(content)))


@contextlib.asynccontextmanager
async def serving(settings: ServeOptions, victim: object, key: str | None = None, client: str = '127.0.0.1'):
    """A client of a running service, in this event loop; ``client.service`` is the service."""
    app = create_app(settings, victim)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1))
    headers = {'Authorization': f'Bearer {key}'} if key else {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url='http://service', headers=headers) as connection,
    ):
        connection.service = app.state.service
        yield connection


async def until(condition, timeout_s: float = 30.0):
    """Wait until a condition holds; it may be a coroutine function."""
    import asyncio
    import time

    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, 'waited in vain'
        await asyncio.sleep(0.005)
