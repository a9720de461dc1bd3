"""Reading and writing images: 8-bit RGB in memory, strict about files, atomic on disk."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

try:
    from isal import isal_zlib
except ImportError:  # not on every processor
    isal_zlib = None  # type: ignore[assignment]

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes
from mea_plugin.core.paths import expanded
from mea_plugin.core.png import damaged_chunk

__all__ = [
    *(
        'EXTENSIONS',
        'ImageHeader',
        'check_pair',
        'decode_rgb',
        'decode_size',
        'encode_png',
        'image_header',
        'image_size',
        'list_images',
        'read_rgb',
        'without_warnings',
        'write_png',
    ),
]

EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm')
"""What counts as an image in a folder, compared in lower case."""

_FORMATS = ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'PPM')
"""Whatever a file is called: Pillow knows others, and has Ghostscript run the programs in one of them."""

_REFUSED_MODES = {
    'P': 'a palette image',
    'PA': 'a palette image with alpha',
    'LA': 'a grey image with alpha',
    'RGBA': 'an image with an alpha channel',
    'CMYK': 'a CMYK image',
    '1': 'a 1-bit image',
}

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_COLOURS: dict[tuple[int, ...], int] = {(): 0, (3,): 2}  # PNG's colour types by an image's channels
_UP = 2  # the PNG filter that stores the difference to the row above

# Which warnings are shown is one setting for all threads of a process.
_WARNINGS = threading.Lock()

_END_MARKERS = {'PNG': b'IEND', 'JPEG': b'\xff\xd9'}


def list_images(folder: str | Path, *, where: str = '') -> list[Path]:
    """The images of a folder, sorted by name; sub-folders and hidden files are left out.

    Args:
        folder: The folder to list.
        where: The option that names the folder, for the error.

    Raises:
        InputError: The folder does not exist, is a file, or holds no image.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        what = f'{folder} is not a folder' if folder.exists() else f'folder {folder} does not exist'
        raise InputError(what, where=where, do='Give a folder of images')
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.name[0] != '.' and p.is_file())
    if not paths:
        raise InputError(f'no images in {folder}', where=where, do=f'Put {", ".join(EXTENSIONS)} files there')
    return paths


def read_rgb(path: str | Path) -> np.ndarray:
    """Read one 8-bit image.

    Grey images become three equal channels, as in both toolboxes; the EXIF orientation is applied.

    Returns:
        uint8 array ``(H, W, 3)``, RGB.

    Raises:
        InputError: The file is missing, unreadable, damaged or truncated, holds several frames, or is not plain 8-bit
            grey or RGB (16 bits, palette, alpha): converting those silently would change what the victim sees.
    """
    return _pixels(Path(path), path)


def decode_rgb(data: bytes, *, where: str | PathLike[str]) -> np.ndarray:
    """Decode an image file's content, as strictly as :func:`read_rgb` reads a file.

    Args:
        data: What the file would hold, in any format of :data:`EXTENSIONS`.
        where: What it is, for errors.

    Returns:
        uint8 array ``(H, W, 3)``, RGB.

    Raises:
        InputError: As :func:`read_rgb`.
    """
    return _pixels(data, where)


def _pixels(source: Path | bytes, where: str | PathLike[str]) -> np.ndarray:
    with _open(source, where) as image:
        with without_warnings():
            _check_plain(image, source, where)
        _check_checksums(image, source, where)
        with without_warnings() if image.format == 'TIFF' else contextlib.nullcontext():
            image.load()  # TIFF has tags to remark on even now; other formats load in many threads at once
        with without_warnings():  # about EXIF data
            turned = ImageOps.exif_transpose(image)
        return np.array(turned.convert('RGB'))


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings in the body, which should be short: threads take turns at it."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


@contextlib.contextmanager
def _open(source: Path | bytes, where: str | PathLike[str]) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow raises about the file, while it is open, becomes an :class:`InputError`."""
    if isinstance(source, Path) and source.exists() and not source.is_file():  # a pipe would be waited for
        raise InputError('is no file', where=where, do='Replace or remove it')
    try:
        with without_warnings():  # remarks on metadata, and on a size that is an error below
            opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)
        with opened as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except InputError:  # is a ValueError, too
        raise
    except FileNotFoundError:
        raise InputError('no such image', where=where, do='Check the path') from None
    except Image.DecompressionBombError:
        raise InputError('image has too many pixels to be read safely', where=where, do='Cut it into tiles') from None
    except (OSError, SyntaxError, EOFError, ValueError, TypeError) as error:  # what Pillow raises for damaged files
        reason = 'not an image' if isinstance(error, UnidentifiedImageError) else str(error).rstrip('.')
        raise InputError(f'cannot be read ({reason})', where=where, do='Replace or remove the file') from None


def _check_plain(image: Image.Image, source: Path | bytes, where: str | PathLike[str]) -> None:
    kind = ''
    frames = getattr(image, 'n_frames', 1)
    if frames > 1:
        kind = f'an image of {frames} frames'
    elif image.mode in _REFUSED_MODES:
        kind = _REFUSED_MODES[image.mode]
    elif image.mode not in ('RGB', 'L') or _bits_per_channel(image, source) > 8:
        kind = f'an image of more than 8 bits per channel (mode {image.mode})'
    elif 'transparency' in image.info:
        kind = 'an image with a transparent colour'
    if kind:
        raise InputError(f'is {kind}', where=where, do='Convert it to 8-bit RGB')


def _check_checksums(image: Image.Image, source: Path | bytes, where: str | PathLike[str]) -> None:
    if image.format == 'PNG':
        with _bytes_of(source) as file:
            chunk = damaged_chunk(file)
        if chunk is not None:
            what = f'the image is damaged (wrong checksum of {chunk})'
            raise InputError(what, where=where, do='Replace or remove the file')


def _bits_per_channel(image: Image.Image, source: Path | bytes) -> int:
    """Bits per channel in the file; Pillow cuts 16-bit RGB to 8 without a word."""
    if image.format == 'PNG':
        with _bytes_of(source) as file:
            return file.read(25)[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
    if isinstance(image, PpmImagePlugin.PpmImageFile) and image.tile:
        codec, _, _, arguments = image.tile[0]
        if codec == 'ppm' and isinstance(arguments, tuple):
            return int(arguments[1]).bit_length()  # the maximum, which Pillow scales to 255
    return 8


@contextlib.contextmanager
def _bytes_of(source: Path | bytes) -> Iterator[BinaryIO]:
    """A file, or what would be its content, from the start; Pillow's own place in it stays where it is."""
    with source.open('rb') if isinstance(source, Path) else io.BytesIO(source) as file:
        yield file


def encode_png(image: np.ndarray) -> bytes:
    """A uint8 RGB or grey array ``(H, W, 3)`` or ``(H, W)`` as a PNG file's content.

    Encoding would otherwise be a large part of a query run. With ISA-L's deflate and one filter for all rows it takes a
    ninth of Pillow's time at zlib's level 1, and photographs become as small. Where there is no ISA-L, Pillow does it.
    """
    if image.dtype != np.uint8 or image.shape[2:] not in _COLOURS:
        raise TypeError(f'no 8-bit RGB or grey image: {image.dtype} {image.shape}')
    if isal_zlib is None:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format='PNG', compress_level=1)
        return buffer.getvalue()
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack('>IIBBBBB', width, height, 8, _COLOURS[image.shape[2:]], 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', isal_zlib.compress(filtered, 1)), (b'IEND', b''))
    return _SIGNATURE + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks
    )


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write a uint8 RGB or grey array ``(H, W, 3)`` or ``(H, W)`` as PNG; the file appears whole or not at all."""
    write_bytes(path, encode_png(image))


def check_pair(lq: Sequence[int], gt: Sequence[int], scale: int, *, where: str | Path) -> None:
    """Check that two shapes ``(H, W, ...)`` differ by ``scale``.

    Raises:
        InputError: They do not.
    """
    if (lq[0] * scale, lq[1] * scale) != (gt[0], gt[1]):
        raise InputError(
            f'{gt[1]}x{gt[0]} pixels are not {scale} times the {lq[1]}x{lq[0]} of the low-resolution image',
            where=where,
            do='Check the scale, or make the pair again with tools/prepare_data.py',
        )


class ImageHeader(NamedTuple):
    """What an image file's header tells.

    Attributes:
        height: As :func:`read_rgb` gives it.
        width: Likewise.
        grey: Whether the file has one channel, which becomes three equal ones.
    """

    height: int
    width: int
    grey: bool


def image_header(path: str | Path) -> ImageHeader:
    """Size and kind, from the header alone: cheap enough for every image of a training set.

    Raises:
        InputError: As :func:`read_rgb`, where the header or the end of the file shows it; a PNG or JPEG that was cut
            off lacks its end marker, a BMP, PPM or TIFF has fewer bytes than its header tells.
    """
    return _header(Path(path), path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width, from the header alone.

    Raises:
        InputError: As :func:`image_header`.
    """
    return _header(Path(path), path)[:2]


def decode_size(data: bytes, *, where: str | PathLike[str]) -> tuple[int, int]:
    """Height and width of an image file's content, as :func:`image_size` reads them of a file.

    Raises:
        InputError: As :func:`image_size`.
    """
    return _header(data, where)[:2]


def _header(source: Path | bytes, where: str | PathLike[str]) -> ImageHeader:
    with _open(source, where) as image:
        with without_warnings():
            _check_plain(image, source, where)
        # Pillow decodes all of a PNG for the EXIF data that may follow its pixels.
        early = image.format == 'PNG' and _ends_with_pixels(source)
        with without_warnings():
            exif = Image.Image.getexif(image) if early else image.getexif()
        turned = exif.get(0x0112, 1) >= 5  # the orientation, which read_rgb applies
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        grey = image.mode == 'L'
        marker = _END_MARKERS.get(image.format or '')
        fewest = _fewest_bytes(image)
    with _bytes_of(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 4096, 0))
        if size < fewest or (marker and marker not in file.read()):
            raise InputError('the image is truncated', where=where, do='Replace or remove the file')
    return ImageHeader(height, width, grey)


def _fewest_bytes(image: Image.Image) -> int:
    """Where a file's pixels end, if its header tells: in a TIFF, and in BMP and PPM files without compression."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        parts = [
            zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
            for offsets, counts in (
                (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
                (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
            )
        ]
        return max((offset + count for some in parts for offset, count in some), default=0)
    if isinstance(image, BmpImagePlugin.BmpImageFile | PpmImagePlugin.PpmImageFile) and image.tile:
        codec, _, offset, arguments = image.tile[0]
        stride = arguments[1] if isinstance(arguments, tuple) else 0
        if codec == 'raw':
            return int(offset) + (stride or image.width * len(image.getbands())) * image.height
    return 0


def _ends_with_pixels(source: Path | bytes) -> bool:
    """Whether no other chunk comes after those of a PNG's pixels, or the file is cut off before one could."""
    pixels = False
    with _bytes_of(source) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b'IEND':
            if pixels and head[4:] != b'IDAT':
                return False
            pixels = pixels or head[4:] == b'IDAT'
            file.seek(int.from_bytes(head[:4], 'big') + 4, os.SEEK_CUR)
    return True
