"""One attempt: what it sends, where it goes, and what is known of its fate afterwards."""

import asyncio
import base64
import contextlib
import datetime
import email.utils
import io
import itertools
import json
import logging
import time
import tracemalloc
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image

from mea_plugin.victims.http import HTTPVictim
from mea_plugin.victims.http.session import retry_after
from mea_plugin.victims.remote import InDoubtError, RefusedError, RejectedError, UnusableError
from tests.helpers import photograph, refused
from tests.victims.http.service import Answer, Service, double, doubled, png

IMAGE = photograph((10, 13))
KEY = 'sesame-0123456789'


@pytest.fixture(scope='module')
def server():
    with Service() as service:
        yield service


@pytest.fixture(scope='module')
def other_server():
    with Service() as service:
        yield service


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv('SERVICE_KEY', KEY)
    return {'env': 'SERVICE_KEY'}


def ask(server, handler=double, *, token='k1', image=IMAGE, **options):
    """One attempt."""
    server.reset(handler)
    victim = HTTPVictim(**{'url': server.url, 'scale': 2, 'timeout': 5, **options})

    async def once():
        async with victim.session() as session:
            await session.turn()
            return await session.ask(image, token)

    return asyncio.run(once())


@contextlib.contextmanager
def rejected(where, *quoted, do=()):
    """As :func:`~tests.helpers.refused`, for good."""
    with refused(where, *quoted, do=do) as caught:
        yield caught
    assert isinstance(caught.value, RejectedError)


@pytest.mark.parametrize('body', ['multipart', 'raw', 'json'])
def test_an_answer(server, body):
    reply = ask(server, request={'body': body, 'fields': {'style': 'ink'}, 'headers': {'X-Tier': 'free'}})
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    (request,) = server.requests
    assert (request.method, request.path, request.headers['x-tier']) == ('POST', '/translate', 'free')
    assert reply.sent_bytes == len(request.body)
    assert reply.received_bytes == len(reply.png)
    assert 'idempotency-key' not in request.headers
    if body == 'multipart':
        assert request.form()['style'] == b'ink'


@pytest.mark.parametrize(('idempotency', 'header'), [(True, 'idempotency-key'), ('X-Request-Id', 'x-request-id')])
def test_the_idempotency_key_is_sent(server, idempotency, header):
    ask(server, token='abc', idempotency=idempotency)
    assert server.requests[0].headers[header] == 'abc'


@pytest.mark.parametrize('status', [425, 429, 501, 503, 521])
def test_a_refusal_is_certain(server, status):
    with pytest.raises(RefusedError, match=rf'{status} \(slow down\)'):
        ask(server, lambda request: Answer(status, b'slow\n down'))


@pytest.mark.parametrize(
    'status', [408, 444, 460, 499, 500, 502, 504, 507, 520, 522, 524, 529, 530, 555, 598, 599, 999]
)
def test_after_a_status_that_does_not_refuse_there_may_have_been_an_answer(server, status):
    with pytest.raises(InDoubtError, match=str(status)) as caught:
        ask(server, lambda request: Answer(status))
    assert caught.value.status == status


@pytest.mark.parametrize('status', [204, 205, 206])
def test_a_success_without_a_whole_answer_is_charged(server, status):
    with pytest.raises(UnusableError, match=str(status)):
        ask(server, lambda request: Answer(status))


@pytest.mark.parametrize('status', [500, 524, 408])
def test_the_options_say_which_statuses_are_not_billed(server, status):
    with pytest.raises(RefusedError if status >= 500 or status == 408 else RejectedError, match=str(status)):
        ask(server, lambda request: Answer(status), unbilled=[500, 524, 408])


@pytest.mark.parametrize('code', [200, 302, 101, 600, True, '500'])
def test_an_unbilled_status_that_makes_no_sense_is_refused(code):
    with refused('victim.unbilled[0]', do=('400', '599')):
        HTTPVictim('http://127.0.0.1:1/', unbilled=[code])


def test_what_a_gateway_says_that_lost_the_service_is_no_refusal(server):
    lost = b'upstream connect error or disconnect/reset before headers. reset reason: connection termination'
    with pytest.raises(InDoubtError):
        ask(server, lambda request: Answer(503, lost))
    with pytest.raises(RefusedError):
        ask(server, lambda request: Answer(503, lost.replace(b'connection termination', b'connection failure')))


@pytest.mark.parametrize('status', [400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 418, 422])
def test_a_rejection_is_final(server, status):
    with rejected('/translate', f'{status} (no)'):
        ask(server, lambda request: Answer(status, b'no'))
    assert len(server.requests) == 1


def test_a_conflict_means_that_the_same_key_is_at_work(server):
    with pytest.raises(RefusedError, match='409'):
        ask(server, lambda request: Answer(409), idempotency=True)


@pytest.mark.parametrize('status', [429, 503])
def test_the_status_of_a_refusal_tells_enough_without_its_body(server, status):
    with pytest.raises(RefusedError, match=f'{status}$'):
        ask(server, lambda request: Answer(status, b'x' * 100, then='cut'))


def test_what_breaks_after_sending_is_in_doubt_and_told_apart(server):
    reasons = set()
    for then in ('reset', 'cut', 'stall', 'hang'):
        with pytest.raises(InDoubtError) as caught:
            ask(server, lambda request, then=then: Answer(body=png(doubled(IMAGE)), then=then), timeout=0.3)
        assert isinstance(caught.value.__context__, httpx.TimeoutException) == (then in ('stall', 'hang'))
        reasons.add(str(caught.value))
    assert len(reasons) == 4


def test_a_service_that_is_not_there_has_certainly_not_answered():
    with Service() as gone:
        pass
    with pytest.raises(RefusedError):
        ask(gone)


def test_an_answer_that_is_too_large_is_not_read(server):
    with pytest.raises(InDoubtError, match='1000'):
        ask(server, lambda request: Answer(body=bytes(50_000_000)), response={'max_bytes': 1000})


def packed(data, coding):
    """Bytes in a coding; ``deflate`` with zlib's head, ``raw`` without."""
    packer = zlib.compressobj(9, zlib.DEFLATED, {'gzip': 31, 'deflate': 15, 'raw': -15}[coding])
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize('coding', ['gzip', 'deflate', 'raw'])
def test_one_coding_is_decoded(server, coding):
    body, name = packed(png(doubled(IMAGE)), coding), 'deflate' if coding == 'raw' else coding
    reply = ask(server, lambda request: Answer(body=body, headers={'Content-Encoding': name}))
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    with pytest.raises(InDoubtError, match='broke off'):
        ask(server, lambda request: Answer(body=body[:-9], headers={'Content-Encoding': name}))


def test_members_of_gzip_are_one_body(server):
    data = png(doubled(IMAGE))
    body = packed(data[:100], 'gzip') + packed(data[100:], 'gzip')
    reply = ask(server, lambda request: Answer(body=body, headers={'Content-Encoding': 'gzip'}))
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))


@pytest.mark.parametrize('coding', ['gzip, gzip', 'br', 'zstd', 'gzip, identity, deflate', 'x' * 5000])
def test_other_codings_are_refused_unread(server, coding):
    with pytest.raises(UnusableError, match='content coding') as caught:
        ask(server, lambda request: Answer(body=bytes(100), headers={'Content-Encoding': coding}))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize('coding', ['gzip', 'deflate', 'raw'])
@pytest.mark.parametrize('status', [200, 500])
def test_a_bomb_takes_bounded_memory(server, coding, status):
    body = packed(bytes(200 << 20), coding)
    assert len(body) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InDoubtError, match=f'{1 << 20}' if status == 200 else '500'):
            name = {'Content-Encoding': 'deflate' if coding == 'raw' else coding}
            ask(server, lambda request: Answer(status, body, name), response={'max_bytes': 1 << 20})
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_image_s_size_is_known_before_it_is_decoded(server):
    buffer = io.BytesIO()
    Image.new('RGB', (9000, 9000)).save(buffer, 'PNG')
    tracemalloc.start()
    try:
        for size in ('exact', 'resize'):
            with pytest.raises(UnusableError, match='81000000 pixels'):
                ask(server, lambda request: Answer(body=buffer.getvalue()), response={'size': size})
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('body', [b'[' + b'[],' * 200_000 + b'[]]', b'{"a": ' + b'9' * 2_000_000 + b'}'])
def test_json_takes_bounded_work(server, body):
    started = time.monotonic()
    with pytest.raises(InDoubtError):
        ask(server, lambda request: Answer(body=body), response={'body': 'json'})
    assert time.monotonic() - started < 5


def test_retry_after():
    now = datetime.datetime.now(datetime.timezone.utc)

    def date(seconds):
        return email.utils.format_datetime(now + datetime.timedelta(seconds=seconds), usegmt=True)

    assert [retry_after({'Retry-After': value}) for value in ('7', ' 0 ')] == [7, 0]
    assert retry_after({'Retry-After': date(100)}) == pytest.approx(100, abs=5)
    assert retry_after({'Retry-After': date(-100)}) == 0
    for value in ('', 'soon', '-5', '1.5', '\u00b2', 'Wed, 99 Foo 2025', '\u0663'):
        assert retry_after({'Retry-After': value}) is None, value
    assert retry_after({}) is None


@pytest.mark.parametrize('value', ['30', 'date'])
def test_what_the_service_asks_to_wait_comes_with_the_refusal(server, value):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
    header = email.utils.format_datetime(moment, usegmt=True) if value == 'date' else value
    with pytest.raises(RefusedError) as caught:
        ask(server, lambda request: Answer(429, headers={'Retry-After': header}))
    assert caught.value.wait == pytest.approx(30, abs=5)


# Redirects


def redirect(status, location):
    """A handler that redirects queries, and answers what comes to ``/there``."""
    return lambda request: (
        double(request) if request.path == '/there' else Answer(status, headers={'Location': location})
    )


@pytest.mark.parametrize('status', [307, 308])
@pytest.mark.parametrize('body', ['multipart', 'raw', 'json'])
def test_a_redirect_on_the_same_host_is_followed_with_everything(server, key, status, body):
    reply = ask(server, redirect(status, '/there'), request={'body': body}, idempotency=True, key=key)
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    first, second = server.requests
    assert (second.method, second.path, second.body) == ('POST', '/there', first.body)
    assert second.headers == first.headers
    assert first.headers['authorization'] == f'Bearer {KEY}'


def test_a_redirect_to_another_port_of_the_same_host_is_followed_without_credentials(server, other_server, key):
    other_server.reset(double)
    handler = redirect(307, f'http://127.0.0.1:{other_server.port}/there')

    def with_cookie(request):
        answer = handler(request)
        return Answer(answer.status, headers={**answer.headers, 'Set-Cookie': 'session=1; Path=/'})

    reply = ask(server, with_cookie, key=key, request={'headers': {'X-Secret': 'shh'}})
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    (request,) = other_server.requests
    assert request.headers['host'] == f'127.0.0.1:{other_server.port}'
    assert not {'authorization', 'cookie', 'x-secret'} & set(request.headers)


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused(server, other_server, status):
    other_server.reset(double)
    with rejected('/translate', 'http://localhost', do='url'):
        ask(server, redirect(status, f'http://localhost:{other_server.port}/there'))
    assert not other_server.requests


@pytest.mark.parametrize('status', [301, 302, 303])
def test_a_redirect_that_drops_the_query_is_refused(server, status):
    with refused('/translate', f'({status})', f'http://127.0.0.1:{server.port}/there', do='url') as caught:
        ask(server, redirect(status, '/there?secret=1'))
    assert isinstance(caught.value, RejectedError) == (status == 301)  # after the others it may have been answered
    assert 'secret' not in str(caught.value)
    assert len(server.requests) == 1


def test_a_redirect_out_of_encryption_is_refused(key):
    asked = []

    def answer(request):
        asked.append(request.url)
        return httpx.Response(307, headers={'Location': 'http://127.0.0.1/translate'})

    async def once():
        async with HTTPVictim('https://127.0.0.1/translate', key=key).session() as session:
            session._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
            await session.ask(IMAGE, 'k1')

    with rejected('https://127.0.0.1/translate', 'http://127.0.0.1', do='url'):
        asyncio.run(once())
    assert asked == ['https://127.0.0.1/translate']


def test_redirects_in_a_circle_end(server):
    with rejected('127.0.0.1', '5', do='url'):
        ask(server, lambda request: Answer(307, headers={'Location': '/translate'}))


def test_a_redirect_to_nowhere_is_in_doubt(server):
    with pytest.raises(InDoubtError, match="'port'"):
        ask(server, lambda request: Answer(307, headers={'Location': 'http://127.0.0.1:port/'}))


# Services that answer later


class Jobs:
    """Submit to ``/translate``, poll ``/jobs/N``, fetch ``/images/N``; what comes before a good answer is scripted.

    Args:
        polls: Answers to polls, in turn, before ``done``.
        downloads: Likewise to downloads, before the image.
        result: The link to the image, or the image.
    """

    def __init__(self, polls=(), downloads=(), result='/images/1', url='/jobs/1'):
        self.polls, self.downloads, self.result, self.url = list(polls), list(downloads), result, url

    def __call__(self, request):
        if request.method == 'POST':
            return self.json(202, id=1, job={'url': self.url})
        if request.path.startswith('/jobs/'):
            return self.polls.pop(0) if self.polls else self.json(200, state='done', result=self.result)
        return self.downloads.pop(0) if self.downloads else Answer(body=png(doubled(IMAGE)))

    @staticmethod
    def json(status, **content):
        return Answer(status, json.dumps(content).encode(), {'Content-Type': 'application/json'})


RUNNING = Jobs.json(200, state='running')
JOBS = {'url': 'job.url', 'status': 'state', 'interval': 0.001, 'timeout': 20}


def test_a_job_is_polled_and_its_image_fetched(server, key):
    reply = ask(server, Jobs([RUNNING, RUNNING]), jobs=JOBS, key=key)
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    assert [request.path for request in server.requests] == ['/translate', *['/jobs/1'] * 3, '/images/1']
    assert {request.headers['authorization'] for request in server.requests} == {f'Bearer {KEY}'}
    assert reply.sent_bytes == len(server.requests[0].body)


def test_a_job_s_image_may_come_in_the_last_poll(server):
    handler = Jobs(result=base64.b64encode(png(doubled(IMAGE))).decode())
    reply = ask(server, handler, jobs=JOBS, response={'body': 'json'})
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))


def test_asking_for_a_job_again_costs_nothing(server):
    faults = [Answer(429), Answer(500), Answer(502), Answer(then='reset'), Answer(body=b'x' * 50, then='cut')]
    reply = ask(server, Jobs([RUNNING, *faults], faults), jobs=JOBS)
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    assert [request.method for request in server.requests].count('POST') == 1


def test_a_failed_job_is_refused_and_needs_another_key(server):
    with pytest.raises(RefusedError, match="'failed'") as caught:
        ask(server, Jobs([RUNNING, Jobs.json(200, state='failed')]), jobs=JOBS)
    assert caught.value.new_key


@pytest.mark.parametrize(
    ('handler', 'quoted'),
    [
        (lambda: Jobs([RUNNING] * 10000), r'0\.2 s$'),
        (lambda: Jobs([Answer(503, b'busy')] * 10000), r'0\.2 s.*503 \(busy\)'),
        (lambda: Jobs([Answer(429, headers={'Retry-After': '999'})] * 9), r'0\.2 s.*429$'),
        (lambda: Jobs([Answer(body=b'<html>')]), "JSON.*'<html>'$"),
        (lambda: Jobs([Jobs.json(200, progress='done')]), "'state'"),
        (lambda: Jobs([Jobs.json(200, state='done')]), "'result'"),
        (lambda: Jobs(result=5), 'int'),
        (lambda: Jobs(result='http://127.0.0.1:x/'), "'x'"),
        (lambda: Jobs(downloads=[Answer(body=b'<html>')]), "'<html>'.*png"),
        (lambda: Jobs(downloads=[Answer(body=png(IMAGE))]), '13x10.*26x20'),
    ],
)
def test_what_goes_wrong_with_a_job_is_in_doubt(server, handler, quoted):
    with pytest.raises(InDoubtError, match=quoted):
        ask(server, handler(), jobs={**JOBS, 'timeout': 0.2})


@pytest.mark.parametrize(
    ('handler', 'where', 'quoted', 'do'),
    [
        (lambda: Jobs([Answer(404, b'gone')]), '/jobs/1', '404 (gone)', 'address'),
        (lambda: Jobs(downloads=[Answer(403, b'gone')]), '/images/1', '403 (gone)', 'key'),
    ],
)
def test_a_rejection_after_submission_says_nothing_of_the_job(server, handler, where, quoted, do):
    """As a :class:`RejectedError`, it would take the charge back."""
    with refused(where, quoted, do=do) as caught:
        ask(server, handler(), jobs=JOBS)
    assert not isinstance(caught.value, RejectedError)


def test_a_link_to_another_host_is_refused_unless_it_is_listed(server, other_server, key):
    other_server.reset(lambda request: Answer(body=png(doubled(IMAGE))))
    # A name that is this machine's by another route: the check is of names, and no network is there.
    link = f'http://files.example:{other_server.port}/1'
    for handler in (Jobs(result=link), Jobs(url=link)):
        with refused('victim.allowed_hosts', 'files.example', do='allowed_hosts'):
            ask(server, handler, jobs=JOBS, key=key)
    assert not other_server.requests


def test_the_key_stays_with_the_service_s_own_host(server, other_server, key):
    other_server.reset(lambda request: Answer(body=png(doubled(IMAGE))))
    handler = Jobs(result=f'http://localhost:{other_server.port}/1')
    reply = ask(server, handler, jobs=JOBS, key=key, request={'headers': {'X-Secret': 'shh'}})
    np.testing.assert_array_equal(reply.image, doubled(IMAGE))
    (request,) = other_server.requests
    assert not {'authorization', 'x-secret'} & set(request.headers)
    assert all({'authorization', 'x-secret'} <= set(one.headers) for one in server.requests)


# The key


def test_the_key_goes_into_the_header_that_the_service_wants(server, key):
    ask(server, key={**key, 'header': 'X-Api-Key', 'prefix': ''})
    assert server.requests[0].headers['x-api-key'] == KEY
    assert 'authorization' not in server.requests[0].headers


def echo(status, before=0):
    """A service that says what it was sent, the key included."""

    def handler(request):
        return Answer(status, b' ' * before + json.dumps(request.headers).encode())

    return handler


@pytest.mark.parametrize('status', [200, 401, 429, 500, 502])
@pytest.mark.parametrize('before', range(400, 500, 9))
def test_a_service_that_echoes_the_key_does_not_get_it_into_an_error(server, key, status, before):
    header = {**key, 'header': 'A', 'prefix': ''}  # comes early, so that it would be quoted
    with pytest.raises((RefusedError, InDoubtError, RejectedError)) as caught:
        ask(server, echo(status, before if status != 200 else before - 400), key=header)
    error = caught.value
    while error is not None:
        text = f'{error} {error!r}'
        assert not any(KEY[:length] in text for length in range(6, len(KEY) + 1)), text
        error = error.__cause__


def test_the_key_is_in_no_log(server, key, caplog):
    caplog.set_level(logging.DEBUG)
    for logger in ('httpx', 'httpcore', 'asyncio'):
        logging.getLogger(logger).setLevel(logging.DEBUG)
    for handler in (double, echo(401), Jobs()):
        with contextlib.suppress(RejectedError):
            ask(server, handler, key=key, jobs=JOBS if isinstance(handler, Jobs) else None)
    assert any(record.name.startswith('httpcore') for record in caplog.records)  # it was on
    assert 'HTTP Request: POST' in caplog.text
    assert KEY not in caplog.text


# The rate limit


def test_queries_are_sent_at_an_even_rate(server):
    times = []

    def handler(request):
        times.append(time.monotonic())
        return double(request)

    server.reset(handler)
    victim = HTTPVictim(server.url, scale=2, rate_limit=20, concurrency=8)
    answers = victim.query([photograph((6, 6), seed) for seed in range(8)])
    assert len(answers) == 8
    gaps = [second - first for first, second in itertools.pairwise(times)]
    assert times[-1] - times[0] > 0.9 * 7 / 20
    assert min(gaps) > 0.2 / 20  # no burst
