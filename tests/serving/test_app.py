"""The HTTP interface: three kinds of bodies, keys, bills, replays, jobs, and what is refused."""

import asyncio
import base64
import json

import numpy as np
import pytest

from mea_plugin.serving.database import Database, open_store
from mea_plugin.serving.keys import list_keys, revoke_key
from tests.helpers import photograph
from tests.serving.stub import Doubler, encode, new_key, options, pixels, png, serving, until

PNG_HEADERS = {'Content-Type': 'image/png'}


@pytest.fixture
def store(tmp_path):
    return tmp_path / 's.sqlite'


@pytest.fixture
def key(store):
    return new_key(store)


@pytest.fixture
def victim():
    victim = Doubler()
    yield victim
    victim.may_answer.set()


def billed(store, name='me'):
    connection = open_store(store)
    try:
        return {customer.name: customer.billed for customer in list_keys(connection)}[name]
    finally:
        connection.close()


def reserved(store):
    connection = open_store(store)
    try:
        return connection.execute('SELECT sum(reserved) FROM keys').fetchone()[0]
    finally:
        connection.close()


def send(client, content, path='/v1/translate', **headers):
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    return client.post(path, content=content, headers={**PNG_HEADERS, **named})


def in_service(main, settings, victim, key=None, **arguments):
    """Run ``main(client)`` beside a service; what it returns."""

    async def run():
        async with serving(settings, victim, key, **arguments) as client:
            return await main(client)

    return asyncio.run(run())


def check_refusal(response, status, text):
    assert response.status_code == status, response.text
    assert list(response.json()) == ['detail']
    assert text in response.json()['detail']
    assert '\n' not in response.json()['detail']


@pytest.mark.parametrize('path', ['/v1/translate', '/v1/jobs'])
@pytest.mark.parametrize('kind', ['png', 'jpeg', 'octets', 'json', 'multipart'])
def test_three_kinds_of_bodies_get_the_same_answer(store, key, victim, path, kind):
    content = encode(photograph((8, 10)), 'JPEG' if kind == 'jpeg' else 'PNG')
    body = {
        'png': {'content': content, 'headers': {'Content-Type': 'image/png'}},
        'jpeg': {'content': content, 'headers': {'Content-Type': 'image/jpeg; charset=utf-8'}},
        'octets': {'content': content, 'headers': {'Content-Type': 'Application/Octet-Stream'}},
        'json': {'json': {'image': base64.b64encode(content).decode()}},
        'multipart': {'files': {'image': ('photo.png', content)}, 'data': {'note': 'x'}},
    }[kind]

    async def main(client):
        response = await client.post(path, **body)
        if path == '/v1/translate':
            assert response.status_code == 200
            return response
        assert response.status_code == 202
        job = response.json()
        assert job == {'id': job['id'], 'status': 'queued', 'url': f'/v1/jobs/{job["id"]}'}

        async def finished():
            status = (await client.get(job['url'])).json()
            return status if status['status'] == 'done' else None

        status = await until(finished)
        assert status == {**status, 'id': job['id'], 'result': f'{job["url"]}/image', 'error': None}
        return await client.get(status['result'])

    response = in_service(main, options(store), victim, key)
    assert response.headers['content-type'] == 'image/png'
    np.testing.assert_array_equal(pixels(response.content), pixels(content).repeat(2, 0).repeat(2, 1))
    assert billed(store) == 1
    assert reserved(store) == 0
    assert victim.threads == {'victim'}


@pytest.mark.parametrize('output', ['png', 'jpeg'])
def test_json_replies(store, key, victim, output):
    async def main(client):
        image = await send(client, png())
        reply = await send(client, png(), Accept='application/json')
        browser = await send(client, png(), Accept='image/webp, application/json;q=0.5')
        return image, reply, browser

    image, reply, browser = in_service(main, options(store, output={'format': output}), victim, key)
    assert image.headers['content-type'] == browser.headers['content-type'] == f'image/{output}'
    assert reply.json() == {'image': base64.b64encode(image.content).decode(), 'format': output}


def test_info_and_usage(store, victim):
    async def main(client):
        await send(client, png())
        return (await client.get('/v1/info')).json(), (await client.get('/v1/usage')).json()

    key = new_key(store, quota=5, rate=50.0)
    info, usage = in_service(main, options(store, limits={'pixels': 99}), victim, key)
    assert len(info.pop('model')) == 16
    expected = {'name': 'test', 'scale': 2, 'formats': ['png', 'jpeg'], 'max_body_bytes': 8 << 20, 'max_pixels': 99}
    expected.update(max_side=None, min_side=1)
    assert info == expected
    assert usage == {'name': 'me', 'billed': 1, 'quota': 5, 'rate': 50.0, 'pixel_rate': None}


def test_a_wrong_key_is_refused_before_the_body_is_read(store, key, victim):
    read = []

    async def body():
        read.append(True)
        yield png()

    async def main(client):
        for headers in ({}, {'Authorization': f'Bearer {key}x'}, {'Authorization': f'Basic {key}'}):
            for path in ('/v1/translate', '/v1/jobs'):
                response = await client.post(path, content=body(), headers={**PNG_HEADERS, **headers})
                check_refusal(response, 401, 'send a valid key')
                assert response.headers['www-authenticate'] == 'Bearer'
            for path in ('/v1/info', '/v1/usage', '/v1/jobs/1', '/v1/jobs/1/image'):
                check_refusal(await client.get(path, headers=headers), 401, 'send a valid key')
        assert (await client.get('/healthz')).json() == {'status': 'ok'}

    in_service(main, options(store), victim)
    assert not read
    assert not victim.batches


def test_a_key_can_be_revoked_while_the_service_runs(store, key, victim):
    async def main(client):
        assert (await send(client, png())).status_code == 200
        connection = open_store(store)
        revoke_key(connection, 'me')
        connection.close()
        check_refusal(await send(client, png()), 401, 'send a valid key')

    in_service(main, options(store), victim, key)


def test_an_open_service_needs_no_key_but_a_wrong_one_is_wrong(store, key, victim):
    async def main(client):
        assert (await send(client, png())).status_code == 200
        assert (await send(client, png(), Authorization=f'Bearer {key}')).status_code == 200
        check_refusal(await send(client, png(), Authorization='Bearer wrong'), 401, 'send a valid key')
        return (await client.get('/v1/usage')).json()

    usage = in_service(main, options(store, open=True), victim)
    assert usage == {'name': 'anonymous', 'billed': 1, 'quota': None, 'rate': None, 'pixel_rate': None}
    assert billed(store) == 1


REFUSED = {
    'no type': ({'content': png()}, 415, 'content type'),
    'text': ({'content': png(), 'headers': {'Content-Type': 'text/plain'}}, 415, 'content type'),
    'form': ({'data': {'image': 'x'}}, 415, 'content type'),
    'gzip': ({'content': png(), 'headers': {**PNG_HEADERS, 'Content-Encoding': 'gzip'}}, 415, 'content encoding'),
    'no length': (
        {'content': png(), 'headers': {**PNG_HEADERS, 'Content-Length': 'x'}}, 400, 'content length',
    ),
    'empty': ({'content': b'', 'headers': PNG_HEADERS}, 400, 'empty'),
    'garbage': ({'content': bytes(500), 'headers': PNG_HEADERS}, 400, 'not a PNG or JPEG'),
    'pixels': ({'content': png((4, 200)), 'headers': PNG_HEADERS}, 413, '200x4 pixels'),
    'long': ({'content': png((1, 61)), 'headers': PNG_HEADERS}, 413, 'sides above 60'),
    'small': ({'content': png((1, 20)), 'headers': PNG_HEADERS}, 422, 'sides below 2'),
    'bytes': ({'content': bytes(5000), 'headers': PNG_HEADERS}, 413, 'more than 4096 bytes'),
    'no json': ({'content': b'{', 'headers': {'Content-Type': 'application/json'}}, 400, 'not JSON'),
    'deep json': ({'content': b'[' * 4000, 'headers': {'Content-Type': 'application/json'}}, 400, 'JSON'),
    'other json': ({'json': {'picture': ''}}, 400, '"image"'),
    'more json': ({'json': {'image': '', 'x': 1}}, 400, '"image"'),
    'number': ({'json': {'image': 5}}, 400, '"image"'),
    'no base64': ({'json': {'image': 'a-b!'}}, 400, 'not base64'),
    'no ascii': ({'json': {'image': 'ä' * 8}}, 400, 'not base64'),
    'bad base64': ({'json': {'image': 'abcde'}}, 400, 'not base64'),
    'empty json': ({'json': {'image': ''}}, 400, 'empty'),
    'two files': ({'files': [('image', png()), ('image', png())]}, 400, 'one file'),
    'other field': ({'files': {'picture': png()}}, 400, "field 'image'"),
    'field': ({'files': {'image': (None, png())}}, 400, 'one file'),
    'no boundary': ({'content': b'x', 'headers': {'Content-Type': 'multipart/form-data'}}, 400, 'boundary'),
    'no form': (
        {'content': b'x' * 99, 'headers': {'Content-Type': 'multipart/form-data; boundary=b'}}, 400, 'multipart',
    ),
    'half a form': (
        {'content': b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nabc',
         'headers': {'Content-Type': 'multipart/form-data; boundary=b'}}, 400, '',
    ),
    'empty key': ({'content': png(), 'headers': {**PNG_HEADERS, 'Idempotency-Key': ''}}, 422, 'idempotency-key'),
    'long key': ({'content': png(), 'headers': {**PNG_HEADERS, 'Idempotency-Key': 'x' * 256}}, 422, 'idempotency-key'),
    'space': ({'content': png(), 'headers': {**PNG_HEADERS, 'Idempotency-Key': 'a b'}}, 422, 'idempotency-key'),
}  # fmt: skip


@pytest.mark.parametrize('path', ['/v1/translate', '/v1/jobs'])
def test_bad_requests_are_refused_and_not_billed(store, key, victim, path):
    async def main(client):
        for case, (arguments, status, text) in REFUSED.items():
            response = await client.post(path, **arguments)
            assert response.status_code == status, case
            check_refusal(response, status, text)

    limits = {'body_bytes': 4096, 'pixels': 600, 'max_side': 60, 'min_side': 2}
    in_service(main, options(store, limits=limits), victim, key)
    assert (billed(store), reserved(store)) == (0, 0)
    assert not victim.batches


def test_a_huge_body_is_refused_by_its_length_and_a_chunked_one_when_it_gets_too_large(store, key, victim):
    sent = []

    async def endless():
        while len(sent) < 1000:
            sent.append(1024)
            yield bytes(1024)

    async def main(client):
        declared = {**PNG_HEADERS, 'Content-Length': str(1 << 40)}
        check_refusal(await client.post('/v1/translate', content=endless(), headers=declared), 413, 'more than 4096')
        assert sent == []
        check_refusal(await client.post('/v1/translate', content=endless(), headers=PNG_HEADERS), 413, 'more than 4096')
        assert 5 <= len(sent) < 20
        assert client.service.bodies.held == 0

    in_service(main, options(store, limits={'body_bytes': 4096}), victim, key)


def test_a_body_that_trickles_is_cut_off_and_keeps_nobody_waiting(store, key, victim):
    reading = []

    async def trickle():
        yield b'x'
        reading.append(1)  # the body is being read, so the request has been admitted
        while True:
            yield b'x'
            await asyncio.sleep(0.05)

    async def main(client):
        slow = [
            asyncio.create_task(client.post('/v1/translate', content=trickle(), headers=PNG_HEADERS)) for _ in range(5)
        ]
        await until(lambda: len(reading) == 5)
        assert (await send(client, png())).status_code == 200
        for task in slow:
            check_refusal(await task, 408, 'more than 0.5 s')

    in_service(main, options(store, limits={'body_timeout_s': 0.5, 'queue': 1}), victim, key)
    assert billed(store) == 1


def test_bodies_that_arrive_together_are_bounded(store, key, victim):
    go = asyncio.Event()

    async def main(client):
        async def half():
            yield bytes(3000)
            await go.wait()

        waiting = asyncio.create_task(client.post('/v1/translate', content=half(), headers=PNG_HEADERS))
        await until(lambda: client.service.bodies.held == 3000)
        response = await send(client, bytes(2000))
        check_refusal(response, 429, 'too many bodies')
        assert response.headers['retry-after'] == '1'
        go.set()
        await waiting
        assert (await send(client, png())).status_code == 200

    in_service(main, options(store, limits={'body_bytes': 4096, 'queue': 1}), victim, key)


def test_a_quota_is_exact_also_for_requests_at_once(store, victim):
    key = new_key(store, quota=3)

    async def main(client):
        responses = await asyncio.gather(*(send(client, png(seed=seed)) for seed in range(10)))
        assert sorted(response.status_code for response in responses) == [200] * 3 + [402] * 7
        check_refusal(await send(client, png()), 402, 'quota')
        check_refusal(await send(client, png(), path='/v1/jobs'), 402, 'quota')
        assert (await client.get('/v1/usage')).json()['billed'] == 3

    in_service(main, options(store), victim, key)
    in_service(main_exhausted, options(store), victim, key)  # also after a restart
    assert victim.answered == 3


async def main_exhausted(client):
    check_refusal(await send(client, png()), 402, 'quota')


def test_a_failure_does_not_use_up_the_quota(store, victim):
    key = new_key(store, quota=1)

    async def main(client):
        for _ in range(3):
            check_refusal(await send(client, encode(np.zeros((8, 8, 3), np.uint8))), 500, 'the model failed')
        assert (await send(client, png())).status_code == 200

    in_service(main, options(store), victim, key)


def test_a_rate_is_kept_across_restarts(store, victim):
    key = new_key(store, rate=0.01)

    async def first(client):
        assert (await send(client, png())).status_code == 200

    async def second(client):
        response = await send(client, png())
        check_refusal(response, 429, 'more than 0.01 requests per second')
        assert 90 <= int(response.headers['retry-after']) <= 100
        assert (await client.get('/v1/usage')).status_code == 200  # asking is free

    in_service(first, options(store), victim, key)
    in_service(second, options(store), victim, key)


def test_the_same_idempotency_key_gets_the_same_reply_and_one_bill(store, key, victim):
    async def first(client):
        reply = await send(client, png(), Idempotency_Key='a~1')
        assert 'idempotent-replay' not in reply.headers
        again = await client.post('/v1/translate', files={'image': png()}, headers={'Idempotency-Key': 'a~1'})
        assert again.headers['idempotent-replay'] == 'true'
        assert again.content == reply.content
        check_refusal(await send(client, png(seed=1), Idempotency_Key='a~1'), 422, 'another request')
        check_refusal(await send(client, png(), '/v1/jobs', Idempotency_Key='a~1'), 422, 'another request')
        return reply.content

    async def second(client):
        again = await send(client, png(), Idempotency_Key='a~1', Accept='application/json')
        assert again.headers['idempotent-replay'] == 'true'
        return base64.b64decode(again.json()['image'])

    reply = in_service(first, options(store), victim, key)
    assert in_service(second, options(store, output={'format': 'jpeg'}), victim, key) == reply
    assert victim.answered == 1
    assert billed(store) == 1
    other = new_key(store, 'other')
    in_service(first, options(store), victim, other)  # another customer's keys are others


def test_the_same_key_while_the_first_is_under_way_joins_it(store, key, victim):
    victim.may_answer.clear()

    async def main(client):
        first = asyncio.create_task(send(client, png(), Idempotency_Key='k'))
        await until(victim.asked.is_set)
        second = asyncio.create_task(send(client, png(), Idempotency_Key='k'))
        check_refusal(await send(client, png(seed=1), Idempotency_Key='k'), 422, 'another request')
        check_refusal(await send(client, png(), '/v1/jobs', Idempotency_Key='k'), 422, 'another request')
        await until(lambda: client.service.active == 2)
        victim.may_answer.set()
        replies = [await first, await second]
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[0].content == replies[1].content
        assert replies[1].headers['idempotent-replay'] == 'true'

    in_service(main, options(store, limits={'queue': 2}), victim, key)
    assert victim.answered == 1
    assert billed(store) == 1


def test_the_work_goes_on_for_those_who_joined_when_the_first_leaves(store, key, victim):
    victim.may_answer.clear()

    async def main(client):
        first = asyncio.create_task(send(client, png(), Idempotency_Key='k'))
        await until(victim.asked.is_set)
        second = asyncio.create_task(send(client, png(), Idempotency_Key='k'))
        await until(lambda: client.service.active == 2)
        first.cancel()
        await asyncio.wait([first])
        victim.may_answer.set()
        assert (await second).status_code == 200

    in_service(main, options(store), victim, key)
    assert (billed(store), reserved(store)) == (1, 0)


def test_an_error_is_not_kept_under_an_idempotency_key(store, key, victim):
    black = encode(np.zeros((8, 8, 3), np.uint8))

    async def main(client):
        check_refusal(await send(client, black, Idempotency_Key='k'), 500, 'the model failed')
        victim.query = lambda images: [image.repeat(2, 0).repeat(2, 1) for image in images]
        reply = await send(client, black, Idempotency_Key='k')
        assert reply.status_code == 200
        assert 'idempotent-replay' not in reply.headers

    in_service(main, options(store), victim, key)
    assert billed(store) == 1


def test_200_clients_at_once(store, key, victim):
    async def main(client):
        responses = await asyncio.gather(*(send(client, png(seed=seed % 5)) for seed in range(200)))
        counts = {status: [r.status_code for r in responses].count(status) for status in (200, 429)}
        assert counts[200] + counts[429] == 200
        assert counts[200] >= 20
        assert all('retry-after' in r.headers for r in responses if r.status_code == 429)
        for seed, response in enumerate(responses):
            if response.status_code == 200:
                expected = photograph((8, 10), seed % 5).repeat(2, 0).repeat(2, 1)
                np.testing.assert_array_equal(pixels(response.content), expected)
        assert client.service._places.total == client.service.active == 0
        return counts[200]

    answered = in_service(main, options(store, limits={'queue': 20}), victim, key)
    assert billed(store) == victim.answered == answered
    assert reserved(store) == 0
    assert max(map(len, victim.batches)) > 1


def test_a_full_queue_says_so_before_the_body_is_read(store, key, victim):
    victim.may_answer.clear()
    read = []

    async def body():
        read.append(True)
        yield png()

    async def main(client):
        first = asyncio.create_task(send(client, png()))
        await until(victim.asked.is_set)
        response = await client.post('/v1/translate', content=body(), headers=PNG_HEADERS)
        check_refusal(response, 429, 'the queue is full')
        assert response.headers['retry-after'] == '1'
        assert not read
        victim.may_answer.set()
        assert (await first).status_code == 200
        assert (await client.post('/v1/translate', content=body(), headers=PNG_HEADERS)).status_code == 200

    in_service(main, options(store, limits={'queue': 1}), victim, key)


def test_an_error_of_the_victim_fails_its_batch_only_and_is_logged(store, key, victim, caplog):
    black = encode(np.zeros((8, 10, 3), np.uint8))
    victim.may_answer.clear()

    async def main(client):
        first = asyncio.create_task(send(client, png()))
        await until(victim.asked.is_set)
        contents = [black, png(seed=1), png((9, 9))]
        rest = [asyncio.create_task(send(client, content)) for content in contents]
        await until(lambda: client.service._answerer.depth == 3)
        victim.may_answer.set()
        assert (await first).status_code == 200
        assert [(await one).status_code for one in rest] == [500, 500, 200]

    in_service(main, options(store), victim, key)
    assert victim.batches == [[(8, 10, 3)], [(8, 10, 3)] * 2, [(9, 9, 3)]]
    (record,) = [record for record in caplog.records if record.name == 'mea_plugin.serving.answering']
    assert ' 2 ' in record.message
    assert 'cannot see anything' in caplog.text
    assert billed(store) == 2


@pytest.mark.parametrize(
    'answer', [lambda image: image, lambda image: image.repeat(2, 0).repeat(2, 1).astype(float), lambda image: None]
)
def test_an_answer_that_is_none_is_an_error(store, key, victim, answer):
    victim.query = lambda images: [answer(image) for image in images]

    async def main(client):
        check_refusal(await send(client, png()), 500, 'the model failed')

    in_service(main, options(store), victim, key)
    assert billed(store) == 0


def test_jobs_belong_to_their_customer(store, key, victim):
    other = {'Authorization': f'Bearer {new_key(store, "other")}'}

    async def main(client):
        job = (await send(client, png(), '/v1/jobs')).json()
        for path in (job['url'], f'{job["url"]}/image'):
            check_refusal(await client.get(path, headers=other), 404, 'no such job')
            check_refusal(await client.get(path.replace('jobs/', 'jobs/0')), 404, 'no such job')

    in_service(main, options(store), victim, key)


def test_a_job_that_is_not_done_has_no_image(store, key, victim):
    victim.may_answer.clear()
    black = encode(np.zeros((8, 10, 3), np.uint8))

    async def main(client):
        job = (await send(client, black, '/v1/jobs')).json()
        await until(victim.asked.is_set)
        assert (await client.get(job['url'])).json()['status'] == 'running'
        check_refusal(await client.get(f'{job["url"]}/image'), 409, 'the job is running')
        victim.may_answer.set()

        async def failed():
            status = (await client.get(job['url'])).json()
            return status if status['status'] == 'failed' else None

        expected = {'id': job['id'], 'status': 'failed', 'result': None, 'error': 'the model failed on this image'}
        assert await until(failed) == expected
        check_refusal(await client.get(f'{job["url"]}/image'), 409, 'the job is failed: the model failed')

    in_service(main, options(store), victim, key)
    assert (billed(store), reserved(store)) == (0, 0)


def test_waiting_jobs_are_bounded_and_idempotent(store, key, victim):
    victim.may_answer.clear()

    async def main(client):
        first = await send(client, png(), '/v1/jobs', Idempotency_Key='k')
        await until(victim.asked.is_set)
        again = await send(client, png(), '/v1/jobs', Idempotency_Key='k')
        assert again.json()['id'] == first.json()['id']
        assert again.headers['idempotent-replay'] == 'true'
        check_refusal(await send(client, png(seed=1), '/v1/jobs', Idempotency_Key='k'), 422, 'another request')
        second = await send(client, png(seed=1), '/v1/jobs')
        assert second.json()['status'] == 'queued'
        response = await send(client, png(seed=2), '/v1/jobs')
        check_refusal(response, 429, 'too many jobs')
        assert response.headers['retry-after'] == '5'
        victim.may_answer.set()
        for job in (first, second):
            url = f'{job.json()["url"]}/image'

            async def done(url=url):
                return (await client.get(url)).status_code == 200

            await until(done)

    in_service(main, options(store, limits={'queue': 2}), victim, key)
    assert billed(store) == 2


def test_queued_jobs_survive_a_restart(store, victim):
    key = new_key(store, quota=3)
    victim.may_answer.clear()

    async def first(client):
        jobs = [(await send(client, png(seed=seed), '/v1/jobs')).json() for seed in range(3)]
        await until(victim.asked.is_set)
        client.service.begin_stop()
        victim.may_answer.set()
        return jobs

    async def second(client):
        check_refusal(await send(client, png()), 402, 'quota')  # the jobs have it
        for seed, job in enumerate(jobs):

            async def done(url=f'{job["url"]}/image'):
                response = await client.get(url)
                return response if response.status_code == 200 else None

            response = await until(done)
            np.testing.assert_array_equal(pixels(response.content)[::2, ::2], photograph((8, 10), seed))

    jobs = in_service(first, options(store, batch={'size': 1}), victim, key)
    assert victim.answered == 1
    in_service(second, options(store), victim, key)
    assert (billed(store), victim.answered, reserved(store)) == (3, 3, 0)


def test_a_job_that_was_running_when_the_process_died_runs_again(store, key, victim):
    async def main(client):
        return (await send(client, png(), '/v1/jobs')).json()

    async def second(client):
        async def done():
            return (await client.get(f'{job["url"]}/image')).status_code == 200

        await until(done)

    job = in_service(main, options(store), Doubler(), key)
    connection = open_store(store)
    connection.execute(
        "UPDATE jobs SET status = 'running', image = NULL, expires = NULL, input = coalesce(input, ?)", (png(),)
    )
    connection.execute('UPDATE keys SET billed = 0, reserved = 7')
    connection.close()
    in_service(second, options(store), victim, key)
    assert (billed(store), victim.answered, reserved(store)) == (1, 1, 0)


def test_while_it_stops_new_requests_are_refused_and_accepted_ones_answered(store, key, victim):
    victim.may_answer.clear()

    async def main(client):
        first = asyncio.create_task(send(client, png()))
        await until(victim.asked.is_set)
        client.service.begin_stop()
        for response in (await client.get('/healthz'), await send(client, png())):
            check_refusal(response, 503, 'stopping')
            assert response.headers['retry-after'] == '10'
        victim.may_answer.set()
        assert (await first).status_code == 200

    in_service(main, options(store), victim, key)
    assert billed(store) == 1


def test_metrics_count(store, key, victim):
    async def main(client):
        for seed in (0, 0, 1):
            await send(client, png(seed=seed), Idempotency_Key=f'k{seed}')
        await send(client, b'garbage')
        await client.get('/made-up')
        await client.get('/v1/jobs/5')
        return (await client.get('/metrics')).text

    lines = in_service(main, options(store), victim, key).splitlines()
    for line in (
        'mea_requests_total{route="/v1/translate",status="200"} 3.0',
        'mea_requests_total{route="/v1/translate",status="400"} 1.0',
        'mea_requests_total{route="/v1/jobs/{id}",status="404"} 1.0',
        'mea_requests_total{route="none",status="404"} 1.0',
        'mea_request_seconds_count{route="/v1/translate"} 4.0',
        'mea_billed_total 2.0',
        'mea_replayed_total 1.0',
        'mea_batch_size_sum 2.0',
        'mea_queue_depth 0.0',
    ):
        assert line in lines
    assert key not in '\n'.join(lines)


@pytest.mark.parametrize(
    ('client', 'public', 'status'),
    [('127.0.0.1', False, 200), ('::1', False, 200), ('::ffff:127.0.0.1', False, 200), ('192.0.2.7', False, 403),
     ('192.0.2.7', True, 200), ('', False, 403)],
)  # fmt: skip
def test_metrics_are_for_this_machine(store, victim, client, public, status):
    async def main(connection):
        return (await connection.get('/metrics')).status_code

    assert in_service(main, options(store, public_metrics=public), victim, client=client) == status


def test_an_error_of_our_own_is_one_line_too(store, key, victim, monkeypatch):
    async def main(client):
        def fail(*_):
            raise KeyError('a bug')

        monkeypatch.setattr('mea_plugin.serving.answering.encode', fail)
        check_refusal(await send(client, png()), 500, 'the service failed')
        check_refusal(await client.get('/nowhere'), 404, 'Not Found')
        check_refusal(await client.get('/v1/translate'), 405, 'Method Not Allowed')

    in_service(main, options(store), victim, key)
    assert (billed(store), reserved(store)) == (0, 0)


def test_a_job_that_meets_an_error_of_our_own_does_not_stop_the_others(store, key, victim, monkeypatch):
    async def main(client):
        def fail(*_):
            raise KeyError('a bug')

        with monkeypatch.context() as patch:
            patch.setattr('mea_plugin.serving.answering.encode', fail)
            url = (await send(client, png(), '/v1/jobs')).json()['url']

            async def failed():
                return (await client.get(url)).json()['status'] == 'failed'

            await until(failed)
        assert (await client.get(url)).json()['error'] == 'the service failed'
        url = (await send(client, png(), '/v1/jobs')).json()['url']

        async def done():
            return (await client.get(url)).json()['status'] == 'done'

        await until(done)

    in_service(main, options(store), victim, key)
    assert (billed(store), reserved(store)) == (1, 0)


def test_what_is_promised_is_on_the_disk_first(store, key, victim, monkeypatch):
    durable = {}
    call = Database.call

    async def note(self, function, *arguments, **settings):
        durable[function.__name__] = settings.get('durable', False)
        return await call(self, function, *arguments, **settings)

    monkeypatch.setattr(Database, 'call', note)

    async def main(client):
        await send(client, png())
        await send(client, png(), '/v1/jobs')
        await until(lambda: 'finish_job' in durable)

    in_service(main, options(store), victim, key)
    assert all(durable[name] for name in ('settle', 'add_job', 'finish_job'))
    assert not any(durable[name] for name in ('admit', 'begin'))


def test_replies_expire(store, key, victim):
    async def main(client):
        await send(client, png(), Idempotency_Key='k')
        await send(client, png(), Idempotency_Key='k')

    in_service(main, options(store, idempotency_hours=1e-9), victim, key)
    assert billed(store) == 2


def test_openapi_shows_all_kinds_of_bodies(store, victim):
    async def main(client):
        return (await client.get('/openapi.json')).json(), (await client.get('/docs')).status_code

    page, docs = in_service(main, options(store), victim)
    assert docs == 200
    json.dumps(page)
    for path in ('/v1/translate', '/v1/jobs'):
        operation = page['paths'][path]['post']
        content = operation['requestBody']['content']
        expected = {'multipart/form-data', 'application/json', 'image/png', 'image/jpeg', 'application/octet-stream'}
        assert set(content) == expected
        assert content['multipart/form-data']['schema']['properties']['image']['format'] == 'binary'
        assert content['application/json']['schema']['required'] == ['image']
        assert [parameter['name'] for parameter in operation['parameters']] == ['idempotency-key']
        assert operation['security'] == [{'HTTPBearer': []}]
        described = {'400', '401', '402', '408', '413', '415', '422', '429', '500', '503'}
        assert described < set(operation['responses'])
        assert operation['responses']['422']['content']['application/json']['schema']['$ref'].endswith('/Error')
    assert page['components']['securitySchemes']['HTTPBearer']['scheme'] == 'bearer'
    assert 'security' not in page['paths']['/healthz']['get']
