"""One customer floods the service, and another does not notice; connections that nobody uses keep nobody out."""

import contextlib
import http.client
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers import ROOT, write_yaml
from tests.serving.stub import new_key, png

# Half a second for a large image, however many processors there are: only the order of the work is measured.
SCRIPT = """
import runpy, sys, time
from mea_plugin.victims import register_victim

class Slow:
    name, scale, fingerprint = 'slow', 1, 'slow-1'

    def __init__(self):
        pass

    def query(self, images):
        time.sleep(sum(0.5 if image.size > 3 * 4096 else 0.005 for image in images))
        return images

register_victim('slow', Slow)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


class Service:
    def __init__(self, folder, **more):
        store = folder / 's.sqlite'
        section = {'name': 'test', 'victim': {'type': 'slow'}, 'store': str(store), 'port': 0, **more}
        options = write_yaml(folder / 'serve.yml', section)
        self.keys = [new_key(store, name) for name in ('crowd', 'modest')]
        command = [sys.executable, '-c', SCRIPT, str(ROOT / 'tools' / 'serve.py'), '-opt', str(options)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
        )
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        self.port = int(self.process.stdout.readline().rpartition(':')[2])
        watchdog.cancel()

    def ask(self, method, path, content=None, key=None):
        """Status, the header Retry-After, seconds."""
        start = time.monotonic()
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        headers = {'Content-Type': 'image/png', 'Authorization': f'Bearer {key}', 'Connection': 'close'}
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.getheader('Retry-After'), time.monotonic() - start


@pytest.fixture
def service(tmp_path):
    made = []

    def make(**more):
        made.append(Service(tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait(60)
        one.process.stdout.close()


def test_a_flood_of_large_images_does_not_delay_another_customer_s_small_ones(service):
    one = service(limits={'queue': 16})
    crowd, modest = one.keys
    large, small = png((256, 256)), png((16, 16))
    go_on, seen = True, []

    def flood():
        while go_on:
            with contextlib.suppress(OSError, http.client.HTTPException):  # the service is killed in the end
                seen.append(one.ask('POST', '/v1/translate', large, crowd)[:2])

    def measure(count):
        outcomes = []
        for _ in range(count):
            outcomes.append(one.ask('POST', '/v1/translate', small, modest))
            time.sleep(0.02)
        assert {status for status, _, _ in outcomes} == {200}
        return [seconds for _, _, seconds in outcomes]

    measure(5)
    idle = statistics.median(measure(30))
    threads = [threading.Thread(target=flood, daemon=True) for _ in range(40)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.5)
        under_load = measure(60)
        whole_service = one.ask('GET', '/healthz')
    finally:
        go_on = False
        one.process.kill()
        for thread in threads:
            thread.join(60)
    # The figure is twice the time; forty clients and a busy machine take their part of it here, but a large image takes
    # half a second, and sixteen of them wait.
    assert statistics.median(under_load) < 2 * idle + 0.03
    assert sorted(under_load)[-3] < 0.4
    assert whole_service[0] == 200
    refused = [retry for status, retry in seen if status == 429]
    assert refused
    assert all(int(retry) >= 1 for retry in refused)


def test_idle_connections_stop_neither_a_probe_nor_a_customer(service):
    one = service()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    lines = []
    try:
        for number in range(1500):
            line = socket.create_connection(('127.0.0.1', one.port), timeout=30)
            lines.append(line)
            if number % 3 == 1:
                line.sendall(b'GET /healthz HT')
        for _ in range(5):
            status, _, seconds = one.ask('GET', '/healthz')
            assert status == 200
            assert seconds < 5
            assert one.ask('POST', '/v1/translate', png((16, 16)), one.keys[1])[0] == 200
    finally:
        for line in lines:
            line.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_bodies_that_never_end_keep_no_customer_out(service):
    one = service(limits={'connections': 20, 'connections_per_address': 20})
    head = (
        f'POST /v1/translate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {one.keys[0]}\r\nContent-Type: image/png\r\n'
    )
    lines = []
    try:
        for _ in range(60):
            line = socket.create_connection(('127.0.0.1', one.port), timeout=30)
            line.sendall(f'{head}Content-Length: 9999\r\n\r\nabc'.encode())
            lines.append(line)
        for _ in range(3):
            assert one.ask('POST', '/v1/translate', png((16, 16)), one.keys[1])[0] == 200
    finally:
        for line in lines:
            line.close()


def test_a_refusal_is_heard_by_a_client_that_is_still_sending(service):
    one = service()
    head = b'POST /v1/translate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n'
    for _ in range(20):
        with socket.create_connection(('127.0.0.1', one.port), timeout=30) as line:
            line.sendall(head + b'Content-Length: 900000\r\n\r\n' + bytes(900_000))
            data = b''
            while piece := line.recv(65536):
                data += piece
        assert data.startswith(b'HTTP/1.1 401 ')
