"""A victim behind HTTP as any other: many images, several at once, asked again where there was no answer."""

import asyncio
import dataclasses
import json
import time

import numpy as np
import pytest

from mea_plugin.victims import build_victim
from mea_plugin.victims.http import HTTPVictim
from mea_plugin.victims.remote import NotAnsweredError, Retrying
from mea_plugin.victims.retrying import attempts
from tests.helpers import photograph, refused
from tests.victims.http.service import FAULTS, Answer, Billing, Service, double, doubled

IMAGES = [photograph((6 + index % 3, 9), index) for index in range(12)]
QUICK = {'first': 0.001, 'longest': 0.01}


@pytest.fixture(scope='module')
def server():
    with Service() as service:
        yield service


def victim_of(server, **options):
    """A victim that does not wait long."""
    return build_victim({'type': 'http', 'url': server.url, 'scale': 2, 'retry': QUICK, 'timeout': 5, **options})


@pytest.mark.parametrize('concurrency', [1, 3])
def test_as_many_at_once_as_allowed_and_never_more(server, concurrency):
    gathered, waiting = None, []

    async def handler(request):
        """Answer only when ``concurrency`` requests are there: fewer at once would never be answered."""
        nonlocal gathered
        gathered = gathered or asyncio.Event()
        waiting.append(request)
        if len(waiting) == concurrency:
            gathered.set()
        await asyncio.wait_for(gathered.wait(), 10)
        await asyncio.sleep(0.005)
        return double(request)

    server.reset(handler)
    answers = victim_of(server, concurrency=concurrency).query(IMAGES)
    for image, answer in zip(IMAGES, answers, strict=True):
        np.testing.assert_array_equal(answer, doubled(image))
    assert server.most == concurrency
    assert len(server.requests) == len(IMAGES)


def test_images_in_nested_json_are_not_mixed_up(server):
    def handler(request):
        image = json.loads(request.body)['input']['image']
        return double(dataclasses.replace(request, body=json.dumps({'image': image}).encode()))

    server.reset(handler)
    options = {'body': 'json', 'field': 'input.image', 'fields': {'input': {'style': 'ink'}}}
    answers = victim_of(server, request=options, concurrency=8).query(IMAGES)
    for image, answer in zip(IMAGES, answers, strict=True):
        np.testing.assert_array_equal(answer, doubled(image))


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_asked_again_under_the_same_key_and_billed_once(server, fault):
    billing = Billing(faults=(fault,), chance=0.7)
    server.reset(billing)
    answers = victim_of(server, idempotency=True, timeout=0.2).query(IMAGES[:6])
    for image, answer in zip(IMAGES, answers, strict=False):
        np.testing.assert_array_equal(answer, doubled(image))
    assert billing.injected[fault] > 0
    assert list(billing.billed.values()) == [1] * 6


@pytest.mark.parametrize('status', [400, 401, 404, 413, 422])
def test_a_rejection_is_not_asked_again(server, status):
    server.reset(lambda request: Answer(status))
    with refused('/translate', str(status)):
        victim_of(server).query(IMAGES[:1])
    assert len(server.requests) == 1


def test_it_gives_up_after_so_many_attempts(server):
    server.reset(lambda request: Answer(503, b'closed'))
    with refused('victim', '503 (closed)'):
        victim_of(server, retry={**QUICK, 'attempts': 3}).query(IMAGES[:1])
    assert len(server.requests) == 3


def test_it_waits_as_long_as_the_service_asks(server):
    times = []

    def handler(request):
        times.append(time.monotonic())
        return double(request) if len(times) > 1 else Answer(429, headers={'Retry-After': '1'})

    server.reset(handler)
    victim_of(server).query(IMAGES[:1])
    assert times[1] - times[0] >= 1


def test_it_does_not_wait_for_ever(server):
    server.reset(lambda request: Answer(429, headers={'Retry-After': '86400'}))
    with refused('victim.retry.patience', '86400 s', do='patience'):
        victim_of(server).query(IMAGES[:1])
    assert len(server.requests) == 1


def test_a_failed_job_is_submitted_again_under_another_key(server):
    keys = []

    def handler(request):
        if request.method == 'POST':
            keys.append(request.headers['idempotency-key'])
            return Answer(body=b'{"url": "/jobs"}')
        return Answer(body=b'{"status": "failed"}')

    server.reset(handler)
    with refused('victim', "'failed'"):
        victim_of(server, jobs={}, idempotency=True, retry={**QUICK, 'attempts': 3}).query(IMAGES[:1])
    assert len(set(keys)) == len(keys) == 3


def waits_of(retrying, error=None):
    """What would be waited between attempts that all fail."""
    waits = []

    async def run():
        again = attempts(retrying)

        async def sleep(seconds):
            waits.append(seconds)

        again.sleep = sleep
        async for attempt in again:
            with attempt:
                raise error or NotAnsweredError('no')

    with pytest.raises(NotAnsweredError):
        asyncio.run(run())
    return waits


def test_waits_double_with_jitter_up_to_the_longest():
    waits = waits_of(Retrying(attempts=8, first=1, longest=20))
    assert len(waits) == 7
    for index, wait in enumerate(waits):
        assert min(2**index, 20) <= wait <= min(2**index + 1, 20)
    assert waits_of(Retrying(attempts=2, first=1)) != waits_of(Retrying(attempts=2, first=1))


def test_waits_are_never_shorter_than_asked():
    waits = waits_of(Retrying(attempts=4, first=1, longest=3), NotAnsweredError('no', wait=2.5))
    assert waits[0] == 2.5
    assert waits[1:] == [pytest.approx(2.75, abs=0.25), 3]


def test_rate_and_concurrency_hold_together(server):
    server.reset(double)
    victim = HTTPVictim(server.url, scale=2, rate_limit=50, concurrency=2)
    started = time.monotonic()
    victim.query(IMAGES[:6])
    assert time.monotonic() - started > 0.9 * 5 / 50
    assert server.most <= 2
