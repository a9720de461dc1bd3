"""tools/serve.py as a process: its commands, slow clients, SIGTERM, restarts, and a process that is killed."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest

from mea_plugin.serving.database import open_store
from tests.helpers import ROOT, call_tool, photograph, write_yaml
from tests.serving.stub import new_key, pixels, png, until

# A victim that waits while a file is there, and needs neither torch nor weights: the process starts quickly.
SCRIPT = """
import pathlib, runpy, sys, time
from mea_plugin.victims import register_victim

class Doubler:
    name, scale, fingerprint = 'doubler', 2, 'doubler-1'

    def __init__(self, wait_for):
        self.wait_for = pathlib.Path(wait_for)

    def query(self, images):
        self.wait_for.with_suffix('.asked').touch()
        while self.wait_for.exists():
            time.sleep(0.005)
        return [image.repeat(2, 0).repeat(2, 1) for image in images]

register_victim('doubler', Doubler)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
DEADLINE_S = 60


class Service:
    """An option file, a store, and processes that serve them."""

    def __init__(self, folder, **more):
        self.wait_for = folder / 'wait'
        self.store = folder / 's.sqlite'
        section = {'type': 'doubler', 'wait_for': str(self.wait_for)}
        self.options = write_yaml(
            folder / 'serve.yml', {'name': 'test', 'victim': section, 'store': str(self.store), 'port': 0, **more}
        )
        self.key = new_key(self.store)
        self.process = None
        self.errors = folder / 'errors.txt'

    def start(self, *arguments):
        command = [sys.executable, '-c', SCRIPT, str(ROOT / 'tools' / 'serve.py'), '-opt', str(self.options)]
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        with self.errors.open('a') as errors:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        watchdog = threading.Timer(DEADLINE_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line.startswith('serving test on http://127.0.0.1:'), (line, self.errors.read_text())
        self.address = line.split(' on ')[1].strip()
        self.port = int(self.address.rpartition(':')[2])

    def end(self, how=signal.SIGTERM):
        """The exit code."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self):
        code = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        return code

    def client(self):
        limits = httpx.Limits(max_connections=None)
        headers = {'Authorization': f'Bearer {self.key}', 'Content-Type': 'image/png'}
        return httpx.AsyncClient(base_url=self.address, headers=headers, timeout=DEADLINE_S, limits=limits)

    @contextlib.contextmanager
    def connection(self):
        with socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE_S) as connection:
            yield connection

    def billed(self):
        connection = open_store(self.store)
        try:
            return connection.execute('SELECT billed FROM keys').fetchone()[0]
        finally:
            connection.close()

    @property
    def asked(self):
        return self.wait_for.with_suffix('.asked')


@pytest.fixture
def service(tmp_path):
    made = []

    def make(**more):
        made.append(Service(tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.wait_for.unlink(missing_ok=True)
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.wait()


def received(connection):
    """All that comes until the other side closes."""
    data = b''
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def test_a_life(service):
    """Answers, bills, stops on SIGTERM with what it accepted answered, and takes up its jobs when it is back."""
    one = service(batch={'size': 1})
    one.start()

    async def before():
        async with one.client() as client:
            reply = await client.post('/v1/translate', content=png(), headers={'Idempotency-Key': 'k'})
            np.testing.assert_array_equal(pixels(reply.content)[::2, ::2], photograph((8, 10)))
            one.wait_for.touch()
            one.asked.unlink()
            jobs = [(await client.post('/v1/jobs', content=png(seed=seed))).json() for seed in range(3)]
            await until(one.asked.exists)
            accepted = asyncio.create_task(client.post('/v1/translate', content=png(seed=5)))

            async def all_in():
                return 'mea_accepted 1.0' in (await client.get('/metrics')).text

            await until(all_in)
            one.process.send_signal(signal.SIGTERM)

            async def stopping():
                return (await client.get('/healthz')).status_code == 503

            await until(stopping)
            refused = await client.post('/v1/translate', content=png())
            assert (refused.status_code, refused.json()) == (503, {'detail': 'the service is stopping'})
            assert 'retry-after' in refused.headers
            one.wait_for.unlink()
            assert (await accepted).status_code == 200
            return reply.content, jobs

    reply, jobs = asyncio.run(before())
    assert one.wait() == 0
    assert one.billed() in (3, 4)  # two translations, and the job or two that the victim had
    connection = open_store(one.store)
    statuses = {row[0] for row in connection.execute('SELECT status FROM jobs')}
    connection.close()
    assert statuses == {'done', 'queued'}

    one.start()

    async def after():
        async with one.client() as client:
            again = await client.post('/v1/translate', content=png(), headers={'Idempotency-Key': 'k'})
            assert again.headers['idempotent-replay'] == 'true'
            assert again.content == reply
            for seed, job in enumerate(jobs):

                async def done(url=f'{job["url"]}/image'):
                    response = await client.get(url)
                    return response if response.status_code == 200 else None

                answer = pixels((await until(done)).content)
                np.testing.assert_array_equal(answer[::2, ::2], photograph((8, 10), seed))

    asyncio.run(after())
    assert one.end() == 0
    assert one.billed() == 5
    assert 'Traceback' not in one.errors.read_text()


def test_a_bill_survives_a_process_that_is_killed(service):
    one = service()
    one.start()
    headers = {'Authorization': f'Bearer {one.key}', 'Content-Type': 'image/png', 'Idempotency-Key': 'k'}
    reply = httpx.post(f'{one.address}/v1/translate', content=png(), headers=headers)
    assert reply.status_code == 200
    assert one.end(signal.SIGKILL) == -signal.SIGKILL
    one.start()
    again = httpx.post(f'{one.address}/v1/translate', content=png(), headers=headers)
    assert again.headers['idempotent-replay'] == 'true'
    assert again.content == reply.content
    assert one.billed() == 1
    assert one.end(signal.SIGINT) == 0


def test_slow_clients_are_cut_off_and_200_others_are_served(service):
    # Short enough to be waited for, long enough for 200 clients of a busy machine, none of whom is one of the slow.
    one = service(limits={'body_timeout_s': 6, 'queue': 20})
    one.start()
    head = f'POST /v1/translate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {one.key}\r\nContent-Type: image/png\r\n'
    nobody = 'POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc'

    async def crowd():
        async with one.client() as client:
            replies = await asyncio.gather(
                *(client.post('/v1/translate', content=png(seed=seed % 7)) for seed in range(200))
            )
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 20
        return statuses.count(200)

    with contextlib.ExitStack() as stack:
        silent, half_a_head, half_a_body, unread_body = (stack.enter_context(one.connection()) for _ in range(4))
        half_a_head.sendall(head[:40].encode())
        half_a_body.sendall(f'{head}Content-Length: 9999\r\n\r\nabc'.encode())
        unread_body.sendall(nobody.encode())
        start = time.monotonic()
        answered = asyncio.run(crowd())
        assert received(half_a_body).startswith(b'HTTP/1.1 408 ')
        assert received(unread_body).startswith(b'HTTP/1.1 401 ')
        assert received(half_a_head) == received(silent) == b''
        assert time.monotonic() - start < DEADLINE_S / 2
    assert one.billed() == answered
    assert one.end() == 0
    assert 'Traceback' not in one.errors.read_text()


def test_a_stop_does_not_wait_for_ever(service):
    one = service(stop_timeout_s=0.3)
    one.wait_for.touch()
    one.start()

    async def main():
        async with one.client() as client:
            request = asyncio.create_task(client.post('/v1/translate', content=png()))
            await until(one.asked.exists)
            one.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.HTTPError):
                assert (await request).status_code == 500

    asyncio.run(main())
    one.wait()
    assert one.billed() == 0


def test_keys_are_made_listed_and_revoked(tmp_path, capsys):
    file = write_yaml(
        tmp_path / 'serve.yml', {'name': 'x', 'victim': {'type': 'embedded'}, 'store': str(tmp_path / 's.sqlite')}
    )
    assert call_tool('serve', '-opt', file, '--create-key', 'a', '--quota', '5', '--rate', '0.5') == 0
    out, err = capsys.readouterr()
    assert out.startswith('mea_')
    assert out.count('\n') == 1
    assert 'cannot be shown again' in err
    assert call_tool('serve', '-opt', file, '--create-key', 'b') == 0
    assert call_tool('serve', '-opt', file, '--revoke-key', 'b') == 0
    capsys.readouterr()
    assert call_tool('serve', '-opt', file, '--list-keys') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ['a\t0 billed\tquota 5\t0.5/s', 'b\t0 billed\tno quota\tno rate\trevoked']


@pytest.mark.parametrize(
    ('arguments', 'where', 'quoted'),
    [
        (['--revoke-key', 'nobody'], '--revoke-key', "'nobody'"),
        (['--create-key', 'taken'], '--create-key', "'taken'"),
        (['--create-key', 'x', '--quota', '0'], '--quota', '0'),
        (['--create-key', 'x', '--rate', 'nan'], '--rate', 'nan'),
        (['--quota', '5'], '--quota', '--create-key'),
        (['--host', '0.0.0.0', '--port', '0'], 'host', '--public'),
        (['--host', '203.0.113.1', '--port', '0', '--public'], 'port', '203.0.113.1:0'),
    ],
)
def test_bad_commands_are_one_line(tmp_path, capsys, arguments, where, quoted):
    store = tmp_path / 's.sqlite'
    new_key(store, 'taken')
    section = {'name': 'x', 'victim': {'type': 'bicubic', 'scale': 2}, 'store': str(store)}
    file = write_yaml(tmp_path / 'serve.yml', section)
    assert call_tool('serve', '-opt', file, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ''
    line = err.splitlines()[-1]
    assert line.startswith(f'error: {where}')
    assert quoted in line


@pytest.mark.parametrize('fault', ['port', 'store', 'damaged', 'victim', 'busy'])
def test_a_service_that_cannot_start_says_why_in_one_line(tmp_path, capsys, fault):
    store = tmp_path / 's.sqlite'
    victim = {'type': 'bicubic', 'scale': 2}
    with socket.socket() as taken, contextlib.ExitStack() as stack:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1] if fault == 'port' else 0
        where, quoted = 'port', f'127.0.0.1:{port}'
        if fault == 'store':
            (tmp_path / 'file').write_text('')
            store = tmp_path / 'file' / 's.sqlite'
            where, quoted = store, 'File exists'
        elif fault == 'damaged':
            store.write_bytes(b'x' * 5000)
            where, quoted = store, 'not a database'
        elif fault == 'victim':
            victim, where, quoted = {'type': 'bicubi'}, f'{tmp_path / "serve.yml"}: victim.type', "'bicubi'"
        elif fault == 'busy':
            from mea_plugin.serving.database import Database

            stack.callback(Database(store).close)
            where, quoted = store, ''
        file = write_yaml(tmp_path / 'serve.yml', {'name': 'x', 'victim': victim, 'store': str(store), 'port': port})
        assert call_tool('serve', '-opt', file) == 2
    out, err = capsys.readouterr()
    assert out == ''
    (line,) = [line for line in err.splitlines() if line.startswith('error: ')]
    assert line.startswith(f'error: {where}: ')
    assert quoted in line
    assert 'Traceback' not in err


def test_it_says_what_may_be_served(capsys):
    with pytest.raises(SystemExit):
        call_tool('serve', '--help')
    assert 'that you own, or are authorised' in capsys.readouterr().out
