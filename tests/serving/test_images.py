"""Images from strangers: bombs, garbage and floods are refused before they cost anything."""

import contextlib
import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mea_plugin.serving import images
from mea_plugin.serving.images import decode, encode
from mea_plugin.serving.options import OutputOptions
from mea_plugin.serving.refusal import Refusal
from tests.helpers import photograph
from tests.serving import stub

MIB = 1 << 20


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def raw_png(width, height, data=b'', before=b'', after=b''):
    """A PNG with any size in its header and any data."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + before + chunk(b'IDAT', data) + after + chunk(b'IEND', b'')


def refusal(content, max_pixels=MIB):
    with pytest.raises(Refusal) as caught:
        decode(content, max_pixels)
    assert caught.value.detail
    assert '\n' not in caught.value.detail
    return caught.value.status_code, caught.value.detail


@pytest.fixture
def undecoded(monkeypatch):
    """Decoding would fail the test."""

    def fail(*_):
        raise AssertionError('decoded')

    monkeypatch.setattr(ImageFile.ImageFile, 'load', fail)
    monkeypatch.setattr(images, 'decode_rgb', fail)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
@pytest.mark.parametrize('grey', [False, True])
def test_plain_images_are_decoded(kind, grey):
    image = photograph((20, 30))
    content = stub.encode(image[..., 0] if grey else image, kind)
    expected = stub.pixels(content)
    found = decode(content, 600)
    np.testing.assert_array_equal(found, np.stack([expected] * 3, -1) if grey else expected)
    assert found.dtype == np.uint8


def test_the_limit_is_exact():
    assert decode(stub.png((20, 30)), 600).shape == (20, 30, 3)
    status, detail = refusal(stub.png((20, 30)), 599)
    assert status == 413
    assert all(number in detail for number in ('30x20', '599'))


@pytest.mark.parametrize('size', [(30000, 30000), (2**31 - 1, 2**31 - 1), (1025, 1024)])
def test_a_png_bomb_is_not_decoded(undecoded, size):
    rows = zlib.compress(b'\0' * 5_000_000)
    status, detail = refusal(raw_png(*size, rows))
    assert status == 413
    assert 'pixels' in detail


def test_a_jpeg_bomb_is_not_decoded(undecoded):
    content = bytearray(stub.encode(photograph((16, 16)), 'JPEG'))
    frame = content.index(b'\xff\xc0')
    content[frame + 5 : frame + 9] = struct.pack('>HH', 60000, 60000)
    assert refusal(bytes(content))[0] == 413


def test_a_second_header_does_not_smuggle_pixels(undecoded):
    second = chunk(b'IHDR', struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0))
    assert refusal(raw_png(8, 8, zlib.compress(bytes(200)), before=second))[0] in (400, 413)


@pytest.mark.parametrize('before', [True, False])
def test_a_flood_of_chunks_is_cheap(undecoded, before):
    flood = chunk(b'teXt', b'') * 600_000
    content = raw_png(8, 8, zlib.compress(bytes(200)), **{'before' if before else 'after': flood})
    start = time.process_time()
    assert refusal(content) == (400, 'the image is cut into too many parts')
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize('piece', [b'\xff\xe1\x00\x02', b'\xff', b'\xff\xd0', b'\xff\xfe\x00\x02'])
def test_a_flood_of_jpeg_markers_is_cheap(undecoded, piece):
    content = stub.encode(photograph((16, 16)), 'JPEG')
    start = time.process_time()
    assert refusal(content[:2] + piece * 1_000_000 + content[2:]) == (400, 'the image is cut into too many parts')
    assert time.process_time() - start < 0.5


def test_a_jpeg_of_very_many_scans_is_refused(undecoded):
    content = stub.encode(photograph((64, 64)), 'JPEG', progressive=True)
    scan = content[content.rindex(b'\xff\xda') : -2]
    assert refusal(content[:-2] + scan * 100 + content[-2:]) == (400, 'the image has too many scans')


def test_an_ordinary_progressive_jpeg_is_fine():
    image = photograph((300, 400))
    assert decode(stub.encode(image, 'JPEG', progressive=True, quality=98), MIB).shape == (300, 400, 3)


def test_a_png_of_small_chunks_as_libpng_writes_them_is_fine():
    rows = zlib.compress(b''.join(b'\0' + row.tobytes() for row in photograph((200, 300))), 0)
    pieces = [rows[start : start + 8192] for start in range(0, len(rows), 8192)]
    content = raw_png(300, 200, pieces[-1], before=b''.join(chunk(b'IDAT', piece) for piece in pieces[:-1]))
    np.testing.assert_array_equal(decode(content, MIB), photograph((200, 300)))


@pytest.mark.parametrize(
    ('content', 'is_read', 'quoted'),  # whether the decoder was asked: its errors begin with a place
    [
        (b'', False, 'PNG'),
        (b'GIF89a' + bytes(100), False, 'PNG'),
        (b'\x89PNG\r\n\x1a\n', False, ''),
        (b'\x89PNG\r\n\x1a\n' + b'\xff' * 100, False, ''),
        (b'\xff\xd8' + bytes(100), False, ''),
        (b'\xff\xd8\xff\xe0', False, ''),
        (stub.png()[:-60], True, ''),
        (stub.encode(photograph((64, 64)), 'JPEG')[:-700], True, ''),
        (stub.encode(np.zeros((8, 8, 4), np.uint8)), True, 'alpha'),
        (stub.encode(np.zeros((8, 8), np.uint16)), True, ' 8 '),
        (raw_png(8, 8, b'garbage'), True, ''),
        (raw_png(0, 8), False, ''),
    ],
)
def test_anything_else_is_refused(content, is_read, quoted):
    status, detail = refusal(content)
    assert status == 400
    assert detail.startswith('image: ') == is_read
    assert quoted in detail


def test_an_animation_is_refused():
    first, second = (Image.fromarray(photograph((8, 8), seed)) for seed in (0, 1))
    buffer = io.BytesIO()
    first.save(buffer, format='PNG', save_all=True, append_images=[second])
    status, detail = refusal(buffer.getvalue())
    assert status == 400
    assert all(name in detail for name in ('image: ', ' 2 ', 'RGB'))


def test_random_damage_never_breaks_anything():
    rng = np.random.default_rng(0)
    kinds = {'PNG': {}, 'JPEG': {'progressive': True}}
    for kind, settings in kinds.items():
        content = stub.encode(photograph((24, 32)), kind, **settings)
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 8)):
                damaged[place] = rng.integers(256)
            with contextlib.suppress(Refusal):
                assert decode(bytes(damaged), MIB).dtype == np.uint8


def test_answers_are_encoded_as_the_options_say():
    image = photograph((40, 50))
    reply = encode(image, OutputOptions(format='png'))
    assert reply.format == 'png'
    np.testing.assert_array_equal(stub.pixels(reply.image), image)
    good, bad = (encode(image, OutputOptions(format='jpeg', quality=quality)) for quality in (95, 10))
    assert good.format == 'jpeg'
    assert stub.pixels(good.image).shape == (40, 50, 3)
    assert len(bad.image) < len(good.image)
