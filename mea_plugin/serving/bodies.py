"""From a request's body to the bytes of one image: raw, multipart or JSON, never more than allowed, never for ever."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect

from mea_plugin.serving.options import LimitOptions
from mea_plugin.serving.places import Room
from mea_plugin.serving.refusal import Refusal

__all__ = ['BodyReader', 'extract_image', 'off_loop']

T = TypeVar('T')

_RAW = ('image/png', 'image/jpeg', 'application/octet-stream')
_MULTIPART = 'multipart/form-data'
_JSON = 'application/json'
_QUICK = 1 << 14  # bytes that are worked on at once: another thread would take longer to hear of them
_PARTS = 16  # of a form
_BOUNDARY = 70  # bytes, RFC 2046


class BodyReader:
    """Reads bodies, and bounds how many bytes of them are in memory at once.

    Args:
        limits: How large a body may be and how long it may take. All bodies that are arriving may together have as
            many bytes as a full queue of the largest ones, or twice as many where that lets those come who have less
            than an equal share; slow clients send few bytes, so they keep nobody out.
    """

    def __init__(self, limits: LimitOptions) -> None:
        self._limits = limits
        self._room = Room(limits.queue * limits.body_bytes)

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._room.total

    @contextmanager
    def image_of(self, request: Request, owner: str) -> Iterator[_Arrival]:
        """While this is open, what was read counts as held by an owner."""
        arrival = _Arrival(self, request, owner)
        try:
            yield arrival
        finally:
            if arrival.size:
                self._room.free(owner, arrival.size)

    def take(self, owner: str, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            Refusal: 429, all together are too many.
        """
        if not self._room.take(owner, count):
            raise Refusal(429, 'too many bodies are arriving; try again', retry_after=1)

    @property
    def limits(self) -> LimitOptions:
        """As they were given."""
        return self._limits


class _Arrival:
    """One body on its way."""

    def __init__(self, reader: BodyReader, request: Request, owner: str) -> None:
        self.size = 0
        self._owner = owner
        self._reader = reader
        self._request = request

    async def read(self) -> tuple[str, bytes]:
        """The content type and the body.

        Raises:
            Refusal: 415 for a type that is not taken, 413 for too many bytes (before they are read, where the header
                says how many there are), 408 when they take too long, 400 when the client leaves
                or the header is wrong.
        """
        limits = self._reader.limits
        headers = self._request.headers
        content_type = headers.get('content-type', '')
        if _kind(content_type) not in (*_RAW, _MULTIPART, _JSON):
            taken = ', '.join((*_RAW, _MULTIPART, _JSON))
            raise Refusal(415, f'the content type is not one of {taken}')
        if headers.get('content-encoding', 'identity').lower() != 'identity':
            raise Refusal(415, 'send the body without a content encoding')
        declared = headers.get('content-length', '0')
        if not declared.isdecimal() or len(declared) > 20:
            raise Refusal(400, 'the content length is not a number')
        if int(declared) > limits.body_bytes:
            raise self._too_large()
        try:
            return content_type, await asyncio.wait_for(self._collect(), limits.body_timeout_s)
        except asyncio.TimeoutError:
            raise Refusal(408, f'the body took more than {limits.body_timeout_s:g} s to arrive') from None
        except ClientDisconnect:
            raise Refusal(400, 'the body is incomplete') from None

    async def _collect(self) -> bytes:
        body = bytearray()  # no list: a chunk may be a single byte
        async for chunk in self._request.stream():
            if not chunk:
                continue
            if self.size + len(chunk) > self._reader.limits.body_bytes:
                raise self._too_large()
            self._reader.take(self._owner, len(chunk))
            self.size += len(chunk)
            body += chunk
        return bytes(body)

    def _too_large(self) -> Refusal:
        return Refusal(413, f'the body has more than {self._reader.limits.body_bytes} bytes')


async def off_loop(size: int, function: Callable[..., T], *arguments: object) -> T:
    """Call a function, in another thread if it has much to do.

    Args:
        size: How many bytes it works on.
        function: What it returns or raises is returned or raised here.
        arguments: For the function.
    """
    if size <= _QUICK:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def extract_image(content_type: str, body: bytes) -> bytes:
    """The image's bytes; how they were wrapped does not matter from here on.

    Raises:
        Refusal: 400, the wrapping is not what its type says.
    """
    kind = _kind(content_type)
    if kind == _JSON:
        image = _from_json(body)
    elif kind == _MULTIPART:
        image = _from_multipart(content_type, body)
    else:
        image = body
    if not image:
        raise Refusal(400, 'the image is empty')
    return image


def _kind(content_type: str) -> str:
    return content_type.partition(';')[0].strip().lower()


def _from_json(body: bytes) -> bytes:
    # Base64 has none of these. A body of lists in lists would take thirty times its size once it is parsed.
    if body.count(b'{') > 1 or b'[' in body or b',' in body:
        raise Refusal(400, 'the JSON body is not {"image": "<base64>"}')
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, 'the body is not JSON') from None
    if not isinstance(value, dict) or set(value) != {'image'} or not isinstance(value['image'], str):
        raise Refusal(400, 'the JSON body is not {"image": "<base64>"}')
    try:
        return base64.b64decode(value['image'], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, 'the image is not base64') from None


def _from_multipart(content_type: str, body: bytes) -> bytes:
    files: list[File] = []
    boundary = parse_options_header(content_type)[1].get(b'boundary')
    if not boundary:
        raise Refusal(400, 'the content type names no boundary')
    if len(boundary) > _BOUNDARY:
        raise Refusal(400, f'the boundary is longer than {_BOUNDARY} bytes')
    if body.count(b'--' + boundary) > _PARTS + 1:  # each is an object of a kilobyte and a few steps
        raise Refusal(400, f'the form has more than {_PARTS} parts')
    settings = {'MAX_MEMORY_FILE_SIZE': len(body) + 1}  # it is in memory already: no temporary files
    try:
        parser = FormParser(_MULTIPART, lambda field: None, files.append, boundary=boundary, config=settings)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, AssertionError):
        raise Refusal(400, 'the body is not multipart/form-data') from None
    if len(files) != 1 or files[0].field_name != b'image':
        raise Refusal(400, "the form does not have one file, in the field 'image'")
    files[0].file_object.seek(0)
    return files[0].file_object.read()
