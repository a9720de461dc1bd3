"""Shares of one customer among others, over HTTP: pixel rates, jobs, places, and stores of the version before."""

import asyncio

import pytest

from mea_plugin.serving import database, jobs, keys
from mea_plugin.serving.database import open_store
from tests.serving.stub import Doubler, new_key, options, png, serving, until

PNG_HEADERS = {'Content-Type': 'image/png'}


@pytest.fixture
def store(tmp_path):
    return tmp_path / 's.sqlite'


def send(client, content, path='/v1/translate', **headers):
    return client.post(path, content=content, headers={**PNG_HEADERS, **headers})


def as_customer(key):
    return {'Authorization': f'Bearer {key}'}


def test_pixels_per_second_are_counted(store):
    key = new_key(store, pixel_rate=100.0)

    async def main():
        async with serving(options(store), Doubler(), key) as client:
            assert (await send(client, png((20, 30)))).status_code == 200  # more than a second's worth, and a debt
            refused = await send(client, png((1, 1)))
            assert refused.status_code == 429
            assert '100 pixels per second' in refused.json()['detail']
            assert 4 <= int(refused.headers['retry-after']) <= 5
            usage = (await client.get('/v1/usage')).json()
            assert (usage['billed'], usage['pixel_rate']) == (1, 100.0)

    asyncio.run(main())


def test_a_replay_costs_no_pixels(store):
    key = new_key(store, pixel_rate=1e6)

    async def main():
        async with serving(options(store), Doubler(), key) as client:
            named = {'Idempotency-Key': 'k'}
            assert (await send(client, png(), **named)).status_code == 200
            before = client.service._database._connection.execute('SELECT pixel_tokens FROM keys').fetchone()
            assert before[0] == 1e6 - 80
            assert (await send(client, png(), **named)).headers['idempotent-replay'] == 'true'
            assert client.service._database._connection.execute('SELECT pixel_tokens FROM keys').fetchone() == before

    asyncio.run(main())


@pytest.mark.parametrize('path', ['/v1/translate', '/v1/jobs'])
def test_one_key_does_not_take_the_places_of_another(store, path):
    crowd, modest = (as_customer(new_key(store, name)) for name in ('crowd', 'modest'))
    victim = Doubler()
    victim.may_answer.clear()

    async def main():
        async with serving(options(store, limits={'queue': 4}), victim) as client:
            flood = [asyncio.create_task(send(client, png(seed=n), path, **crowd)) for n in range(12)]
            service = client.service
            if path == '/v1/jobs':
                await asyncio.gather(*flood)
            else:
                await until(lambda: service._places.total == 4)
            mine = asyncio.create_task(send(client, png(seed=99), path, **modest))
            if path == '/v1/translate':
                await until(lambda: service._places.total == 5 or mine.done())
            victim.may_answer.set()
            assert (await mine).status_code in (200, 202)
            statuses = [response.status_code for response in await asyncio.gather(*flood)]
            assert statuses.count(429) >= 4
            assert all('retry-after' in one.result().headers for one in flood if one.result().status_code == 429)

    asyncio.run(main())


def test_addresses_without_a_key_have_places_of_their_own(store):
    victim = Doubler()
    victim.may_answer.clear()

    async def main():
        async with serving(options(store, open=True, limits={'queue': 2}), victim) as client:
            flood = [asyncio.create_task(send(client, png(seed=n))) for n in range(2)]
            await until(lambda: client.service._places.total == 2)
            assert (await send(client, png())).status_code == 429
            customer = await client.service.admit(None, '198.51.100.7')
            assert customer.anonymous
            victim.may_answer.set()
            assert [(await one).status_code for one in flood] == [200, 200]

    asyncio.run(main())


def test_jobs_of_all_owners_take_turns(store):
    connection = open_store(store)
    for number, owner in enumerate(['crowd'] * 10 + ['a', 'b']):
        keys.create_key(connection, str(number))
        jobs.add_job(connection, number + 1, None, b'', b'', jobs.Limit(owner, 100), 0, 0)
    assert [job.owner for job in jobs.claim_jobs(connection, 4, 4)] == ['crowd', 'a', 'b', 'crowd']
    assert jobs.claim_jobs(connection, 4, 4) == []  # half of the slots are the most that one may have
    connection.execute("UPDATE jobs SET status = 'done' WHERE owner = 'crowd' AND status = 'running'")
    assert len(jobs.claim_jobs(connection, 4, 4)) == 2
    connection.close()


def test_a_store_of_the_version_before_is_taken_over(store):
    connection = open_store(store)
    key = keys.create_key(connection, 'me', quota=5, rate=2.0)
    connection.execute("INSERT INTO jobs (id, key_id, status) VALUES ('x', 1, 'queued')")
    for column in ('pixel_rate', 'pixel_tokens', 'pixel_refilled'):
        connection.execute(f'ALTER TABLE keys DROP COLUMN {column}')
    connection.execute('ALTER TABLE jobs DROP COLUMN owner')
    connection.execute('PRAGMA user_version = 1')
    connection.close()
    connection = open_store(store, check=True)
    customer = keys.find_customer(connection, key, False)
    assert (customer.quota, customer.rate, customer.pixel_rate) == (5, 2.0, None)
    assert connection.execute('SELECT owner FROM jobs').fetchone() == ('key 1',)
    assert connection.execute('PRAGMA user_version').fetchone() == (database._VERSION,)
    connection.close()
