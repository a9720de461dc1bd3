"""From an image to a request's body, and from a response's body to a checked image."""

from __future__ import annotations

import base64
import binascii
import copy
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import decode_rgb, decode_size, encode_png, without_warnings
from mea_plugin.victims.http.options import RequestOptions, ResponseOptions
from mea_plugin.victims.remote import InDoubtError, Reply, UnusableError

__all__ = ['build_request', 'look_up', 'read_image', 'read_json']

_MOST_VALUES = 100_000
_SIZES = 64  # times the expected pixels, which an answer that is resized may have
_MOST_PIXELS = 1 << 22  # that it may have in any case
# What Pillow may open; gif, so that an error can name it.
_OPENED = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'GIF')
_TILE_TAGS = (322, 323)  # of TIFF: width and height of a tile

Hide = Callable[[bytes], bytes]


def build_request(image: np.ndarray, options: RequestOptions) -> dict[str, Any]:
    """The arguments of httpx that carry an image: uint8 ``(H, W, 3)``, RGB."""
    data, kind = _encode(image, options)
    if options.body == 'raw':
        return {'content': data, 'headers': {'Content-Type': kind}}
    if options.body == 'multipart':
        suffix = kind.partition('/')[2]
        fields = {key: str(value) for key, value in options.fields.items()}
        return {'files': {options.field: (f'image.{suffix}', data, kind)}, 'data': fields}
    content: dict[str, Any] = copy.deepcopy(dict(options.fields))  # other queries are built at the same time
    *parents, name = options.field.split('.')
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
    place[name] = base64.b64encode(data).decode()
    return {'json': content}


def _encode(image: np.ndarray, options: RequestOptions) -> tuple[bytes, str]:
    if options.format == 'png':
        return encode_png(image), 'image/png'
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG', quality=options.quality, subsampling=0)
    return buffer.getvalue(), 'image/jpeg'


def read_json(body: bytes, hide: Hide = bytes) -> Any:
    """JSON of a response; ``hide`` as in :func:`read_image`.

    Raises:
        InDoubtError: It is none.
    """
    # Each value takes many times the bytes that stand for it; an image is one value.
    if sum(map(body.count, (b'[', b'{', b','))) > _MOST_VALUES:
        raise UnusableError(f'the reply is JSON of more than {_MOST_VALUES} values')
    try:
        return json.loads(body, parse_int=_parse_whole)
    except (ValueError, RecursionError):
        raise InDoubtError(f'the reply is no JSON but {_glimpse(hide(body))}') from None


def _parse_whole(digits: str) -> float:
    """A whole number; one of millions of digits would take minutes."""
    return int(digits) if len(digits) < 20 else float(digits)


def look_up(content: Any, field: str) -> Any:
    """A field of JSON; dots lead into nested objects, numbers into lists.

    Raises:
        InDoubtError: There is none of that name.
    """
    for part in field.split('.'):
        if isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, Mapping) and part in content:
            content = content[part]
        else:
            raise InDoubtError(f"the reply has no field '{field}'")
    return content


def read_image(
    body: bytes, size: tuple[int, int], options: ResponseOptions, *, sent_bytes: int, hide: Hide = bytes
) -> Reply:
    """Check what came back before it counts as an answer.

    Args:
        body: A response's body, whole.
        size: Height and width that the answer should have.
        options: What is expected.
        sent_bytes: Of the request, for the record.
        hide: Takes secrets out of what is quoted in an error.

    Raises:
        UnusableError: It is no such image, though the service may have charged for it.
    """
    data = body
    if options.body == 'json':
        data = _from_base64(look_up(read_json(body, hide), options.field))
    found, plain, pixels = _sniff(data)
    if found not in options.formats:
        what = f'a {found} image' if found else _glimpse(hide(data))
        raise UnusableError(f'the reply is {what}, not {options.formats[0]}')
    most = size[0] * size[1]
    if options.size == 'resize' or pixels <= most:
        most = max(_SIZES * most, _MOST_PIXELS)
    if pixels > most:  # before a pixel is decoded
        raise UnusableError(f'the reply has {pixels} pixels or more, not {size[1]}x{size[0]}')
    try:
        if options.size == 'exact' and (own := decode_size(data, where='reply')) != size:
            raise UnusableError(f'the reply has {own[1]}x{own[0]} pixels, not {size[1]}x{size[0]}')
        image = decode_rgb(data, where='reply')
    except InputError as error:
        # Without what to do: that is about a file of one's own.
        raise UnusableError(f'the reply {error.what}') from None
    notes: list[str] = [] if found == 'png' else [found]
    if image.shape[:2] != size:
        notes.append(f'{image.shape[1]}x{image.shape[0]} pixels')
        image = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    keeps = found == 'png' and plain and not notes and hide(data) == data
    return Reply(
        image, data if keeps else None, sent_bytes, len(body), f'came as {", ".join(notes)}' if notes else None
    )


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise UnusableError('the image in the reply is no base64 text')
    try:
        # A data: address has a head, and some encoders break lines.
        content = text.rpartition('base64,')[2].encode('ascii')
        return base64.b64decode(content.translate(None, b' \t\r\n'), validate=True)
    except (binascii.Error, ValueError):
        raise UnusableError('the image in the reply is no base64 text') from None


def _sniff(data: bytes) -> tuple[str | None, bool, int]:
    """The image format; whether its pixels are stored just as they are read: RGB, not turned; how many are decoded."""
    try:
        with without_warnings(), Image.open(io.BytesIO(data), formats=_OPENED) as image:
            pixels = image.width * image.height
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile is decoded whole
                pixels = max(pixels, math.prod(int(image.tag_v2.get(tag, 0)) for tag in _TILE_TAGS))
            return str(image.format).lower(), image.mode == 'RGB' and 'exif' not in image.info, pixels
    except Exception:  # Pillow raises almost anything on what is no image
        return None, False, 0


def _glimpse(data: bytes) -> str:
    """What a body looks like, in a few words."""
    if not data:
        return 'empty'
    if found := _sniff(data)[0]:
        return f'a {found} image'
    if not data[:60].decode('utf-8', 'replace').replace('\n', ' ').replace('\r', ' ').replace('\t', ' ').isprintable():
        return f'{len(data)} bytes that are neither image nor text'
    text = ' '.join(data[:60].decode('utf-8', 'replace').split())
    return f'something that begins with {"".join(c if c.isprintable() else "?" for c in text)!r}'
