"""Runs over HTTP for the tests: against a service, in this process or as a process of their own, and what came of them.

As a program: ``http_runs.py JSON`` with ``victim`` (options, or ``local``: a log that a slow victim here writes),
``images`` (a folder), ``output`` and further arguments of ``run_queries``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from mea_plugin.core.cli import run_tool
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.query import run_queries
from mea_plugin.query.ledger import Ledger
from mea_plugin.victims import build_victim
from tests.helpers import ROOT, photograph, save
from tests.victims.http.service import SCALE, doubled

QUICK = {'attempts': 6, 'first': 0.001, 'longest': 0.01}


class SlowVictim:
    """Answers here, one image after another, and writes down what it is asked."""

    name, scale, fingerprint = 'slow', SCALE, 'slow-1'

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def query(self, images):
        answers = []
        for image in images:
            with self._log.open('a') as file:
                file.write(hash_array(image) + '\n')
            time.sleep(0.01)
            answers.append(doubled(image))
        return answers


def make_images(folder: Path, count: int) -> dict[str, Path]:
    """Small images of a few sizes, by name."""
    return {
        f'{index:03d}': save(folder / f'{index:03d}.png', photograph((8 + index % 2, 10), index))
        for index in range(count)
    }


def http_options(service, **options):
    """Of a victim that does not wait long."""
    return {'type': 'http', 'url': service.url, 'scale': SCALE, 'retry': QUICK, 'timeout': 5, **options}


def run(service, images, output: Path, *, victim=None, **arguments):
    """A run in this process; the query set is ``output/queries``."""
    return run_queries(build_victim(http_options(service, **victim or {})), images, output / 'queries', **arguments)


def start(**options) -> subprocess.Popen:
    """A run as a process of its own, in a session of its own."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, __file__, json.dumps(options, default=str)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def wait_until(condition, process: subprocess.Popen) -> bool:
    """Whether it came true before the process ended."""
    deadline = time.monotonic() + 60
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return True


class Account:
    """What a ledger says in the end; every one must agree with itself."""

    def __init__(self, output: Path) -> None:
        with Ledger(output / 'ledger', create=False) as ledger:
            ledger.recover()
            self.spent = ledger.spent
            self.states = dict(ledger.rows('SELECT hash, state FROM queries'))
            ((charged,),) = ledger.rows('SELECT COALESCE(SUM(charged), 0) FROM attempts')
            assert charged == self.spent
            rows = list(ledger.rows("SELECT id, hash, response FROM queries WHERE state = 'settled'"))
            for query, content, response in rows:
                pixels, answer = (read_rgb(file) for file in ledger.pair(query))
                assert (hash_array(pixels), hash_array(answer)) == (content, response)
                assert hash_array(doubled(pixels)) == response
        self.settled = len(rows)

    def count(self, state: str) -> int:
        """How many queries are in a state."""
        return list(self.states.values()).count(state)


def check_all_answered_once(output: Path, images, billing) -> Account:
    """Each query answered and whole on disk, each billed once, and the ledger knows it."""
    account = Account(output)
    contents = {hash_array(read_rgb(path)) for path in images.values()}
    assert set(account.states) == contents
    assert account.settled == len(contents) == account.spent
    assert dict(billing.billed) == dict.fromkeys(contents, 1)
    manifest = json.loads((output / 'queries' / 'manifest.json').read_text())
    assert manifest['complete'] is True
    assert {pair['query'] for pair in manifest['pairs']} == contents
    return account


def main(argv) -> None:
    """Run as the options say."""
    options = json.loads(argv[0])
    victim, folder = options.pop('victim'), options.pop('images')
    images = {path.stem: path for path in list_images(folder)}
    victim = SlowVictim(victim['local']) if 'local' in victim else build_victim(victim)
    run_queries(victim, images, Path(options.pop('output')) / options.pop('set', 'queries'), **options)


if __name__ == '__main__':
    sys.exit(run_tool(main, sys.argv[1:]))
