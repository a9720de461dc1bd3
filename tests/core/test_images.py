"""What counts as an image, what is refused, and that nothing but an InputError comes out of a damaged file."""

import io
import os
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from mea_plugin.core import images
from mea_plugin.core.errors import InputError
from mea_plugin.core.images import check_pair, decode_rgb, encode_png, image_size, list_images, read_rgb, write_png
from tests.helpers import photograph, refused, save

RGB = photograph((12, 17))


def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_16(image):
    """A 16-bit RGB PNG, which Pillow cannot write."""
    rows = image.astype('>u2') * 257
    header = struct.pack('>IIBBBBB', image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + row.tobytes() for row in rows))
    chunks = png_chunk(b'IHDR', header) + png_chunk(b'IDAT', data) + png_chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def encode(image, **arguments):
    buffer = io.BytesIO()
    image.save(buffer, **arguments)
    return buffer.getvalue()


@pytest.mark.parametrize('extension', ['png', 'bmp', 'tif', 'ppm', 'webp'])
def test_rgb_is_read_as_it_is(tmp_path, extension):
    path = tmp_path / f'image.{extension}'
    Image.fromarray(RGB).save(path, **({'lossless': True} if extension == 'webp' else {}))
    image = read_rgb(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)
    assert image_size(path) == RGB.shape[:2]
    image[0, 0] = 0  # a copy of one's own


def test_grey_becomes_three_equal_channels(tmp_path):
    path = save(tmp_path / 'grey.png', RGB[..., 0])
    np.testing.assert_array_equal(read_rgb(path), np.repeat(RGB[..., :1], 3, 2))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, orientation):
    turn = [
        lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1],
        lambda a: a.swapaxes(0, 1), lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1), np.rot90,
    ][orientation - 1]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'turned.png'
    Image.fromarray(RGB).save(path, exif=exif)
    np.testing.assert_array_equal(read_rgb(path), turn(RGB))
    assert image_size(path) == turn(RGB).shape[:2]


def test_an_orientation_behind_the_pixels_of_a_png_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(Image.fromarray(RGB), format='PNG')
    at = whole.index(b'IEND') - 4
    (tmp_path / 'late.png').write_bytes(whole[:at] + png_chunk(b'eXIf', exif.tobytes()[6:]) + whole[at:])
    np.testing.assert_array_equal(read_rgb(tmp_path / 'late.png'), np.rot90(RGB, -1))
    assert image_size(tmp_path / 'late.png') == (17, 12)


def test_the_size_is_read_without_the_pixels(tmp_path, monkeypatch):
    for extension in ('png', 'jpg', 'bmp', 'tif', 'webp', 'ppm'):
        save(tmp_path / f'image.{extension}', RGB)
    monkeypatch.setattr(Image.Image, 'load', None)
    monkeypatch.setattr(ImageFile.ImageFile, 'load', None)
    for path in tmp_path.iterdir():
        assert image_size(path) == (12, 17), path


def test_writing_round_trips(tmp_path):
    for image in (RGB, RGB[..., 1], RGB[::2, ::-1]):
        write_png(tmp_path / 'new' / 'image.png', image)
        expected = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        np.testing.assert_array_equal(read_rgb(tmp_path / 'new' / 'image.png'), expected)


PALETTE = Image.fromarray(RGB).quantize(8)
ALPHA = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
REFUSED = {
    'palette.png': (lambda: encode(PALETTE, format='PNG'), 'palette'),
    'alpha.png': (lambda: encode(ALPHA, format='PNG'), 'alpha'),
    'alpha.webp': (lambda: encode(ALPHA, format='WEBP'), 'alpha'),
    'grey_alpha.png': (lambda: encode(ALPHA.convert('LA'), format='PNG'), 'grey'),
    'cmyk.jpg': (lambda: encode(Image.fromarray(RGB).convert('CMYK'), format='JPEG'), 'CMYK'),
    'bits.png': (lambda: encode(Image.fromarray(RGB).convert('1'), format='PNG'), '1-bit'),
    'rgb16.png': (lambda: png_16(RGB), 'mode RGB'),
    'grey16.png': (lambda: encode(Image.fromarray(RGB[..., 0] * np.uint16(257)), format='PNG'), 'mode I;16'),
    'float.tif': (lambda: encode(Image.fromarray(RGB[..., 0].astype(np.float32)), format='TIFF'), 'mode F'),
    'rgb16.ppm': (lambda: b'P6 2 1 65535\n' + bytes(12), 'mode RGB'),
    'transparent.png': (
        lambda: encode(Image.fromarray(RGB), format='PNG', transparency=(1, 2, 3)),
        'transparent',
    ),
    'frames.tif': (
        lambda: encode(Image.fromarray(RGB), format='TIFF', save_all=True, append_images=[Image.fromarray(RGB)]),
        '2 frames',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.parametrize('read', [read_rgb, image_size])
def test_what_is_not_plain_8_bit_is_refused(tmp_path, name, read):
    data, kind = REFUSED[name]
    (tmp_path / name).write_bytes(data())
    with refused(tmp_path / name, kind, do='8-bit RGB'):
        read(tmp_path / name)


def test_16_bit_rgb_tiff_is_refused_though_pillow_would_cut_it(tmp_path):
    cv2 = pytest.importorskip('cv2')
    assert cv2.imwrite(str(tmp_path / 'deep.tif'), RGB.astype(np.uint16) * 257)
    with refused('deep.tif', 'mode RGB', do='8-bit RGB'):
        read_rgb(tmp_path / 'deep.tif')


def test_missing_unreadable_and_truncated_files_are_named(tmp_path):
    with refused(tmp_path / 'gone.png'):
        read_rgb(tmp_path / 'gone.png')
    (tmp_path / 'text.png').write_text('not an image')
    with refused(tmp_path / 'text.png'):
        read_rgb(tmp_path / 'text.png')
    whole = encode(Image.fromarray(photograph((64, 64))), format='JPEG')
    (tmp_path / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    with refused(tmp_path / 'cut.jpg', 'truncated'):
        read_rgb(tmp_path / 'cut.jpg')
    with refused(tmp_path / 'cut.jpg'):
        image_size(tmp_path / 'cut.jpg')


@pytest.mark.parametrize('share', [0.5, 0.99])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'BMP', 'PPM', 'TIFF', 'TIFF-LZW', 'WEBP'])
def test_the_end_of_every_format_is_looked_at(tmp_path, kind, share):
    kind, _, compression = kind.partition('-')
    options = {'compression': 'tiff_lzw'} if compression else {'lossless': True} if kind == 'WEBP' else {}
    whole = encode(Image.fromarray(photograph((64, 64))), format=kind, **options)
    (tmp_path / 'image').write_bytes(whole)
    assert image_size(tmp_path / 'image') == (64, 64)
    (tmp_path / 'image').write_bytes(whole[: int(len(whole) * share)])
    with refused(tmp_path / 'image'):
        image_size(tmp_path / 'image')


def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / 'large.png', RGB)
    for limit in (RGB.size // 3 - 1, RGB.size // 9):  # Pillow warns, and above twice the limit it raises
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
        with refused(path, 'pixels'):
            read_rgb(path)


FORMATS = {'PNG': {}, 'JPEG': {}, 'BMP': {}, 'TIFF': {}, 'WEBP': {'lossless': True}, 'PPM': {}}


@pytest.mark.parametrize('kind', FORMATS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_gives_an_image_or_an_input_error(tmp_path, kind, data):
    content = bytearray(encode(Image.fromarray(RGB), format=kind, **FORMATS[kind]))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / 'damaged'
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # a warning would be a second line on standard error
        try:
            image = read_rgb(path)
        except InputError as error:
            place = error.where
        else:
            place = str(path)
            assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    assert place == str(path)


def test_listing_is_sorted_and_leaves_the_rest_out(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'c.Tiff', '.hidden.png', 'notes.txt', '.tmp-1234'):
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    assert [path.name for path in list_images(tmp_path)] == ['a.jpg', 'b.PNG', 'c.Tiff']


def test_listing_says_what_is_wrong_with_a_folder(tmp_path):
    (tmp_path / 'file.png').touch()
    (tmp_path / 'empty').mkdir()
    for name, do in (('none', ''), ('file.png', ''), ('empty', '.png')):
        with refused('data.lq', str(tmp_path / name), do=do):
            list_images(tmp_path / name, where='data.lq')


def test_pairs_must_differ_by_the_scale():
    check_pair((10, 12, 3), (40, 48, 3), 4, where='x.png')
    check_pair((10, 12), (10, 12), 1, where='x.png')
    for gt in ((40, 47), (41, 48), (48, 40), (20, 24)):
        with refused('x.png', f'{gt[1]}x{gt[0]}', '4', '12x10', do='prepare_data.py'):
            check_pair((10, 12), gt, 4, where='x.png')


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 1), (33, 20), (33, 20, 3), (1, 1, 3), (2, 300, 3)])
@pytest.mark.parametrize('isal', [True, False])
def test_png_is_lossless_with_and_without_isal(size, isal, monkeypatch):
    if isal:
        pytest.importorskip('isal')
    else:
        monkeypatch.setattr(images, 'isal_zlib', None)
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    for array in (image, image[::-1], np.asfortranarray(image)):
        decoded = Image.open(io.BytesIO(images.encode_png(array)))
        decoded.load()
        assert decoded.mode == ('RGB' if len(size) == 3 else 'L')
        np.testing.assert_array_equal(np.array(decoded), array)


@pytest.mark.parametrize(
    'image', [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 1), np.uint8)]
)
def test_what_is_no_8_bit_image_is_not_encoded(image):
    with pytest.raises(TypeError, match=re.escape(f'{image.dtype} {image.shape}')):
        images.encode_png(image)


@pytest.mark.parametrize('bit', [0, 5])
@pytest.mark.parametrize('isal', [True, False])
def test_a_bit_flipped_anywhere_in_a_png_never_changes_a_pixel(bit, isal, monkeypatch):
    if not isal:
        monkeypatch.setattr(images, 'isal_zlib', None)
    pixels = photograph((9, 12), 3)
    whole = encode_png(pixels)
    seen = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << bit
        try:
            read = decode_rgb(bytes(data), where='image')
        except InputError:
            seen += 1
        else:
            assert np.array_equal(read, pixels), place
    assert seen > 0.9 * len(whole)


def test_a_wrong_checksum_is_named(tmp_path):
    data = bytearray(encode_png(photograph((9, 12), 3)))
    data[data.index(b'IDAT') + 10] ^= 1
    (tmp_path / 'a.png').write_bytes(data)
    with refused(tmp_path / 'a.png', 'checksum', 'IDAT'):
        read_rgb(tmp_path / 'a.png')


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.eps'])
def test_no_program_is_run_whatever_a_file_is_called(tmp_path, monkeypatch, name):
    """Pillow knows EPS, and hands such a file to Ghostscript."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *_, **__: pytest.fail('Ghostscript was called'))
    content = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n8 8 moveto\n%%EOF\n'
    (tmp_path / name).write_bytes(content)
    for read in (read_rgb, image_size):
        with refused(name, 'not an image'):
            read(tmp_path / name)
    with refused('upload'):
        decode_rgb(content, where='upload')


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    for read in (read_rgb, image_size):
        with refused('a.png', 'no file'):
            read(tmp_path / 'a.png')
