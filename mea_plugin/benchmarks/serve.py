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
from typing import Any

import yaml

from mea_plugin.benchmarks.query import large_victim, noise_images
from mea_plugin.benchmarks.timing import compare, format_table
from mea_plugin.data.sources import image_references
from mea_plugin.query import run_queries
from mea_plugin.victims import build_victim

__all__ = ['run']

_SIZE = (120, 160)


def run(rounds: int = 5, quick: bool = False, concurrency: int = 8) -> tuple[str, list[dict[str, object]]]:
    """Compare the two on two victims, served by a process of its own on this machine, whose cores they share.

    Args:
        rounds: Timed rounds; each runs both once.
        quick: A few images, one round: shows that everything runs, not how fast.
        concurrency: Requests on their way at once.

    Returns:
        The tables as Markdown, and one dict per victim.
    """
    parts, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        victims = {'embedded': ({'type': 'embedded'}, 96), 'MSRResNet': (large_victim(Path(folder)), 16)}
        for name, (victim, count) in victims.items():
            share, text = _compare(name, victim, 4 if quick else count, 1 if quick else rounds, concurrency)
            parts.append(text)
            rows.append({'name': name, 'concurrency': concurrency, 'of load generator': share})
    return '\n'.join(parts), rows


def _compare(name: str, victim: dict[str, Any], count: int, rounds: int, concurrency: int) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as place, _served(victim, Path(place)) as address:
        folder = Path(place)
        images = image_references(noise_images(count, _SIZE, folder / 'images'))
        bodies = [Path(str(image)).read_bytes() for image in images.values()]
        options = {'type': 'http', 'url': f'{address}/v1/translate', 'scale': 4, 'concurrency': concurrency}
        asked = build_victim({**options, 'idempotency': True, 'request': {'body': 'raw'}})
        runs = itertools.count()
        timings = compare(
            {
                'load generator': lambda: _generate_load(address, bodies, concurrency),
                'run': lambda: run_queries(asked, images, folder / f'run{next(runs)}' / 'queries'),
            },
            'load generator',
            rounds=rounds,
            warmup=0 if rounds == 1 else 1,
        )
    text = format_table(
        f'{name} over HTTP, {count} images of 160x120, x4, {concurrency} at once', timings, 'load generator'
    )
    return timings[1].speedup, text


@contextmanager
def _served(victim: dict[str, Any], folder: Path) -> Iterator[str]:
    """A victim behind ``tools/serve.py`` on a free port."""
    options = {'name': 'benchmark', 'victim': victim, 'port': 0, 'open': True}
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
