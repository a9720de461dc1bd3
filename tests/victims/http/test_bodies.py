"""Requests as services want them, and replies that are checked before they count."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.images import read_rgb
from mea_plugin.victims.http.bodies import build_request, look_up, read_image, read_json
from mea_plugin.victims.http.options import RequestOptions, ResponseOptions
from mea_plugin.victims.remote import InDoubtError, UnusableError
from tests.helpers import photograph
from tests.victims.http.service import png

IMAGE = photograph((12, 17))
SIZE = (12, 17)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data):
    return np.array(Image.open(io.BytesIO(data)))


def test_multipart():
    request = build_request(IMAGE, RequestOptions(field='picture', fields={'style': 'ink', 'steps': 3}))
    name, data, kind = request['files']['picture']
    assert (name, kind, request['data']) == ('image.png', 'image/png', {'style': 'ink', 'steps': '3'})
    np.testing.assert_array_equal(decoded(data), IMAGE)


def test_raw():
    request = build_request(IMAGE, RequestOptions(body='raw'))
    assert request['headers'] == {'Content-Type': 'image/png'}
    np.testing.assert_array_equal(decoded(request['content']), IMAGE)


def test_json_with_nested_and_further_fields():
    options = RequestOptions(
        body='json', field='input.image.data', fields={'input': {'image': {'kind': 'png'}}, 'n': 1}
    )
    content = build_request(IMAGE, options)['json']
    data = content['input']['image'].pop('data')
    np.testing.assert_array_equal(decoded(base64.b64decode(data)), IMAGE)
    assert content == {'input': {'image': {'kind': 'png'}}, 'n': 1}


def test_requests_that_are_built_at_once_share_nothing():
    options = RequestOptions(body='json', field='input.image', fields={'input': {'style': 'ink'}})
    images = [photograph((8, 8), seed) for seed in range(3)]
    requests = [build_request(image, options)['json'] for image in images]
    for image, content in zip(images, requests, strict=True):
        np.testing.assert_array_equal(decoded(base64.b64decode(content['input']['image'])), image)
    assert options.fields == {'input': {'style': 'ink'}}


def test_jpeg_on_demand():
    low, high = (
        build_request(IMAGE, RequestOptions(body='raw', format='jpeg', quality=quality)) for quality in (20, 95)
    )
    assert low['headers'] == {'Content-Type': 'image/jpeg'}
    assert len(low['content']) < len(high['content'])
    assert np.abs(decoded(high['content']).astype(int) - IMAGE).mean() < 5


def test_a_png_is_kept_as_it_came():
    body = png(IMAGE)
    reply = read_image(body, SIZE, ResponseOptions(), sent_bytes=7)
    np.testing.assert_array_equal(reply.image, IMAGE)
    assert (reply.png, reply.sent_bytes, reply.received_bytes, reply.note) == (body, 7, len(body), None)


@pytest.mark.parametrize('field', ['image', 'output.images.1'])
@pytest.mark.parametrize('head', ['', 'data:image/png;base64,'])
def test_base64_in_json(field, head):
    text = head + base64.encodebytes(png(IMAGE)).decode()
    content = {'image': text, 'output': {'images': ['x', text]}}
    reply = read_image(json.dumps(content).encode(), SIZE, ResponseOptions(body='json', field=field), sent_bytes=0)
    np.testing.assert_array_equal(reply.image, IMAGE)


def test_a_grey_png_becomes_rgb_as_a_file_would(tmp_path):
    body = png(IMAGE[..., 0])
    (tmp_path / 'x.png').write_bytes(body)
    reply = read_image(body, SIZE, ResponseOptions(), sent_bytes=0)
    np.testing.assert_array_equal(reply.image, read_rgb(tmp_path / 'x.png'))
    assert reply.png is None


def test_jpeg_and_other_sizes_only_by_option():
    jpeg, small = encoded(IMAGE, 'JPEG', quality=95), png(IMAGE[::2, ::2])
    with pytest.raises(InDoubtError, match='jpeg.*png'):
        read_image(jpeg, SIZE, ResponseOptions(), sent_bytes=0)
    reply = read_image(jpeg, SIZE, ResponseOptions(formats=('png', 'jpeg')), sent_bytes=0)
    np.testing.assert_array_equal(reply.image, decoded(jpeg))
    assert (reply.png, reply.note) == (None, 'came as jpeg')
    with pytest.raises(InDoubtError, match='9x6.*17x12'):
        read_image(small, SIZE, ResponseOptions(), sent_bytes=0)
    reply = read_image(small, SIZE, ResponseOptions(size='resize'), sent_bytes=0)
    assert (reply.image.shape, reply.image.dtype, reply.png) == ((12, 17, 3), np.uint8, None)
    assert reply.note == 'came as 9x6 pixels'


WHOLE = png(IMAGE)
BROKEN = {
    'empty': (b'', 'png'),
    'html': (b'<html>We  are\nbusy</html>', "'<html>We are busy</html>'.*png"),
    'half': (WHOLE[: len(WHOLE) // 2], 'reply'),
    'without its end': (WHOLE[:-12], 'reply'),
    'damaged': (WHOLE[:60] + bytes(20) + WHOLE[80:], 'reply'),
    '16 bits, grey': (png(np.zeros(SIZE, np.uint16)), ' 8 '),
    'alpha': (png(np.zeros((*SIZE, 4), np.uint8)), 'alpha'),
    'frames': (encoded(IMAGE, 'PNG', save_all=True, append_images=[Image.fromarray(255 - IMAGE)]), ' 2 '),
    'turned': (png(IMAGE.swapaxes(0, 1)), '12x17.*17x12'),
}


@pytest.mark.parametrize('what', BROKEN)
def test_what_is_no_whole_plain_image_of_the_right_size_is_no_answer(what):
    body, quoted = BROKEN[what]
    with pytest.raises(UnusableError, match=quoted) as caught:
        read_image(body, SIZE, ResponseOptions(), sent_bytes=0)
    assert '\n' not in str(caught.value)


def test_each_fault_of_an_image_is_told_apart():
    reasons = set()
    for body, _ in BROKEN.values():
        with pytest.raises(UnusableError) as caught:
            read_image(body, SIZE, ResponseOptions(), sent_bytes=0)
        reasons.add(str(caught.value))
    assert len(reasons) == len(BROKEN) - 1  # half an image and one without its end are both truncated


def test_16_bit_rgb_is_no_answer():
    import cv2

    _, body = cv2.imencode('.png', np.zeros((*SIZE, 3), np.uint16))
    with pytest.raises(InDoubtError, match=' 8 '):
        read_image(body.tobytes(), SIZE, ResponseOptions(), sent_bytes=0)


@pytest.mark.parametrize(
    ('body', 'quoted'),
    [
        (b'{"image": "###"}', 'base64'),
        (b'{"image": "abc"}', 'base64'),
        (b'{"image": "\xc3\xa9"}', 'base64'),
        (b'{"image": 5}', 'base64'),
        (b'{"image": ""}', 'png'),
        (b'{"picture": ""}', "'image'"),
        (b'[]', "'image'"),
        (b'{"image": ', 'JSON'),
        (b'\xff\xfe', 'JSON'),
        (b'[' * 100000, 'JSON'),
    ],
)
def test_broken_json_is_no_answer(body, quoted):
    with pytest.raises(InDoubtError, match=quoted):
        read_image(body, SIZE, ResponseOptions(body='json'), sent_bytes=0)


def test_secrets_are_not_quoted():
    def hide(data):
        return data.replace(b'sesame', b'***')

    # Cut after 60 bytes, half of the key would be left; hence it is taken out before.
    body = b'.' * 56 + b'sesame'
    for read in (
        lambda: read_json(body, hide),
        lambda: read_image(body, SIZE, ResponseOptions(), sent_bytes=0, hide=hide),
    ):
        with pytest.raises(InDoubtError) as caught:
            read()
        assert 'ses' not in str(caught.value)
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text('authorization', 'sesame')
    reply = read_image(png(IMAGE, pnginfo=info), SIZE, ResponseOptions(), sent_bytes=0, hide=hide)
    assert reply.png is None
    np.testing.assert_array_equal(reply.image, IMAGE)


def test_look_up():
    content = {'a': [{'b': 1}, {'b': 2}], '0': 3}
    assert [look_up(content, field) for field in ('a.1.b', '0')] == [2, 3]
    for field in ('a.2.b', 'a.x', 'a.0.b.c', 'c', 'a.-1'):
        with pytest.raises(InDoubtError, match=f"'{field}'"):
            look_up(content, field)
