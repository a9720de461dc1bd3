"""Speed of a query run over HTTP beside a plain load generator on the same server, at the same concurrency."""

from __future__ import annotations

import http.client
import itertools
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from mea_plugin.benchmarks.query import noise_images
from mea_plugin.benchmarks.timing import compare, format_table
from mea_plugin.data.sources import image_references
from mea_plugin.query import run_queries
from mea_plugin.victims import build_victim

__all__ = ['run']

_SIZE = (120, 160)


def run(rounds: int = 5, quick: bool = False, concurrency: int = 8) -> tuple[str, list[dict[str, object]]]:
    """Compare the two on the embedded victim, served by a process of its own on this machine.

    Args:
        rounds: Timed rounds; each runs both once.
        quick: A few images, one round: shows that everything runs, not how fast.
        concurrency: Requests on their way at once.

    Returns:
        The table as Markdown, and a dict.
    """
    count = 8 if quick else 48
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as address:
        folder = Path(name)
        images = image_references(noise_images(count, _SIZE, folder / 'images'))
        bodies = [Path(str(image)).read_bytes() for image in images.values()]
        options = {'type': 'http', 'url': f'{address}/v1/translate', 'scale': 4, 'concurrency': concurrency}
        victim = build_victim({**options, 'idempotency': True, 'request': {'body': 'raw'}})
        runs = itertools.count()
        timings = compare(
            {
                'load generator': lambda: _generate_load(address, bodies, concurrency),
                'run': lambda: run_queries(victim, images, folder / f'run{next(runs)}' / 'queries'),
            },
            'load generator',
            rounds=1 if quick else rounds,
            warmup=0 if quick else 1,
        )
    share = timings[1].speedup
    text = format_table(f'HTTP, {count} images of 160x120, x4, {concurrency} at once', timings, 'load generator')
    return text, [{'name': 'http', 'count': count, 'concurrency': concurrency, 'of load generator': share}]


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The embedded victim behind ``tools/serve.py`` on a free port."""
    options = {'name': 'benchmark', 'victim': {'type': 'embedded'}, 'port': 0, 'open': True}
    options |= {'store': str(folder / 'service.sqlite'), 'limits': {'queue': 256}}
    file = folder / 'serve.yml'
    file.write_text(yaml.safe_dump(options))
    tool = Path(__file__).resolve().parents[2] / 'tools' / 'serve.py'
    command = [sys.executable, str(tool), '-opt', str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            match = re.search(r'http://\S+', process.stdout.readline())
            if match is None:
                raise RuntimeError('the server did not start')
            yield match[0]
        finally:
            process.terminate()
            process.wait(60)


def _generate_load(address: str, bodies: list[bytes], concurrency: int) -> None:
    """As many threads as requests at once, each on a connection of its own: send, read, throw away."""
    remaining = iter(bodies)
    lock = threading.Lock()
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection(address.removeprefix('http://'))
        while True:
            with lock:
                body = next(remaining, None)
            if body is None:
                break
            connection.request('POST', '/v1/translate', body, {'Content-Type': 'image/png'})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failures.append(f'status {response.status}')
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f'{len(failures)} requests failed: {failures[0]}')
