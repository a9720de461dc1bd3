"""Images as they come over HTTP: what an image costs is known before it is decoded."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import decode_rgb, encode_png, without_warnings
from mea_plugin.serving.billing import Reply
from mea_plugin.serving.options import OutputOptions
from mea_plugin.serving.refusal import Refusal

__all__ = ['FORMATS', 'check', 'decode', 'encode']

FORMATS = ('png', 'jpeg')
"""What is accepted: fewer formats are fewer parsers that strangers can reach."""

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8'
_SCANS = 64  # ordinary progressive files have about ten


def check(content: bytes, max_pixels: int, *, max_side: int | None = None, min_side: int = 1) -> int:
    """Check what can be known of an image without decoding it, which costs next to nothing whatever the content.

    Args:
        content: An encoded image.
        max_pixels: The largest width times height.
        max_side: The largest width or height; None for any.
        min_side: The smallest.

    Returns:
        How many pixels it has.

    Raises:
        Refusal: 400 for what is no PNG or JPEG, 413 for one that is too large, 422 for one that is too small.
    """
    if not content.startswith((_PNG, _JPEG)):
        raise Refusal(400, 'the body is not a PNG or JPEG image')
    if _parts(content) > 64 + len(content) // 1024:  # each is a step of an interpreted loop
        raise Refusal(400, 'the image is cut into too many parts')
    if content.startswith(_JPEG) and content.count(b'\xff\xda') > _SCANS:  # each goes over the whole image
        raise Refusal(400, 'the image has too many scans')
    width, height = _size(content)
    if width * height > max_pixels:
        raise Refusal(413, f'the image has {width}x{height} pixels, more than the {max_pixels} that are answered')
    if max_side is not None and max(width, height) > max_side:
        raise Refusal(413, f'the image has {width}x{height} pixels, and sides above {max_side} are not answered')
    if min(width, height) < min_side:
        raise Refusal(422, f'the image has {width}x{height} pixels, and sides below {min_side} are not answered')
    return width * height


def decode(content: bytes, max_pixels: int, *, max_side: int | None = None, min_side: int = 1) -> np.ndarray:
    """Decode an image after :func:`check`, whose arguments these are.

    Returns:
        uint8 array ``(H, W, 3)``, RGB.

    Raises:
        Refusal: As :func:`check`, and 400 for anything but a plain 8-bit image.
    """
    check(content, max_pixels, max_side=max_side, min_side=min_side)
    try:
        return decode_rgb(content, where='image')
    except InputError as error:
        raise Refusal(400, str(error)) from None


def encode(image: np.ndarray, output: OutputOptions) -> Reply:
    """Encode an answer, uint8 ``(H, W, 3)``, RGB."""
    if output.format == 'png':
        return Reply('png', encode_png(image))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format='JPEG', quality=output.quality)
    return Reply('jpeg', buffer.getvalue())


def _parts(content: bytes) -> int:
    """How many chunks a PNG has, or markers before the pixels of a JPEG; counting stops a little above the limit."""
    step, position = (_chunk, len(_PNG)) if content.startswith(_PNG) else (_segment, len(_JPEG))
    count, limit = 0, 66 + len(content) // 1024
    while count < limit and position + 4 <= len(content):
        length = step(content, position)
        if not length:
            break
        position += length
        count += 1
    return count


def _chunk(content: bytes, position: int) -> int:
    return struct.unpack_from('>I', content, position)[0] + 12


def _segment(content: bytes, position: int) -> int:
    """Bytes to the next marker, read as Pillow reads them; 0 where it stops."""
    first, marker = content[position], content[position + 1]
    if first != 0xFF or marker in (0xDA, 0xD9):  # no marker; pixels, end
        return 0
    if marker == 0xFF:  # filling
        return 1
    if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
        return 2
    return struct.unpack_from('>H', content, position + 2)[0] + 2


def _size(content: bytes) -> tuple[int, int]:
    """Width and height from the header, as the decoder will take them."""
    try:
        # The limit here is below that of Pillow's warning.
        with without_warnings(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        raise Refusal(413, 'the image has too many pixels') from None
    except (OSError, SyntaxError, EOFError, ValueError, TypeError, struct.error):
        raise Refusal(400, 'the image is damaged') from None
