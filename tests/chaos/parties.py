"""The two parties of a round as processes: a service, which is killed and started again, and runs that query it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from mea_plugin.serving.database import open_store
from mea_plugin.serving.keys import create_key, list_keys
from mea_plugin.victims import build_victim
from tests.chaos.books import Books
from tests.chaos.service import Settings
from tests.helpers import ROOT
from tests.victims.http.service import SCALE, doubled

CLIENT = 'CHAOS_CLIENT'
"""The environment variable of the key to the service: the name of the run, for a service that knows them by it."""


def environment(**variables: str) -> dict[str, str]:
    """Of a child process: one thread, and this checkout."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), **variables}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


class Service(Protocol):
    """A service that can be killed at any moment, and keeps books."""

    def start(self) -> None:
        """Start it, and wait until it listens."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def victim(self) -> dict[str, Any]:
        """Options of the victim that runs query."""
        ...

    def key(self, client: str) -> str:
        """The key that a run shows."""
        ...

    def answer(self, image: np.ndarray) -> np.ndarray:
        """What the service answers, when it does."""
        ...

    def billed(self) -> int:
        """All bills."""
        ...

    def paid_twice(self, charged: Mapping[str, int]) -> int:
        """Bills for images beyond the charges for them, by the hash of the image."""
        ...

    def answered(self, client: str) -> set[str]:
        """Images to which a run was sent whole answers, as far as the service knows."""
        ...

    def requests(self) -> int:
        """How many came, as far as the service knows."""
        ...

    def faults(self) -> Counter[str]:
        """What was injected."""
        ...


class _Process:
    """A process that says when it listens."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def _start(self, command: list[str], sign: str, log: Path) -> None:
        with log.open('a') as file:
            self._process = subprocess.Popen(
                command,
                env=environment(),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if re.search(sign, line):
                return
        raise RuntimeError(f'the service did not start: {log.read_text()[-2000:]}')

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class FaultyService(_Process):
    """The service of :mod:`tests.chaos.service`."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._settings, self._options = settings, options
        with Books(settings.books):
            pass

    def start(self) -> None:
        command = [sys.executable, '-m', 'tests.chaos.service', json.dumps(asdict(self._settings))]
        self._start(command, 'listening', Path(self._settings.books).with_suffix('.log'))

    def victim(self) -> dict[str, Any]:
        return {
            'url': f'http://127.0.0.1:{self._settings.port}/translate',
            'scale': SCALE,
            'idempotency': self._settings.idempotent,
            'request': {'body': 'raw'},
            'key': {'env': CLIENT, 'prefix': ''},
            **self._options,
        }

    def key(self, client: str) -> str:
        return client

    def answer(self, image: np.ndarray) -> np.ndarray:
        return doubled(image)

    def billed(self) -> int:
        with Books(self._settings.books) as books:
            return books.billed().total()

    def paid_twice(self, charged: Mapping[str, int]) -> int:
        with Books(self._settings.books) as books:
            return sum(max(count - charged.get(image, 0), 0) for image, count in books.billed().items())

    def answered(self, client: str) -> set[str]:
        with Books(self._settings.books) as books:
            return books.answered(client)

    def requests(self) -> int:
        with Books(self._settings.books) as books:
            return books.requests()

    def faults(self) -> Counter[str]:
        with Books(self._settings.books) as books:
            return books.faults()


class OwnService(_Process):
    """``tools/serve.py`` with a stylisation of OpenCV, which needs no weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._port = folder, free_port()
        self._style = {'type': 'opencv', 'style': 'detail_enhance'}
        self._file, self._store = folder / 'serve.yml', folder / 'service.sqlite'
        options = {'name': 'chaos', 'victim': self._style, 'port': self._port, 'store': str(self._store)}
        self._file.write_text(yaml.safe_dump(options))
        connection = open_store(self._store)
        self._key = create_key(connection, 'customer')
        connection.close()
        self._victim = build_victim(self._style)

    def start(self) -> None:
        command = [sys.executable, '-u', str(ROOT / 'tools/serve.py'), '-opt', str(self._file)]
        self._start(command, 'http://', self._folder / 'serve.log')

    def victim(self) -> dict[str, Any]:
        url = f'http://127.0.0.1:{self._port}/v1/translate'
        return {'url': url, 'scale': 1, 'idempotency': True, 'key': {'env': CLIENT}}

    def key(self, client: str) -> str:
        return self._key

    def answer(self, image: np.ndarray) -> np.ndarray:
        return self._victim.query([image])[0]

    def billed(self) -> int:
        connection = open_store(self._store)
        try:
            return sum(key.billed for key in list_keys(connection))
        finally:
            connection.close()

    def paid_twice(self, charged: Mapping[str, int]) -> int:
        return max(self.billed() - len(charged), 0)

    def answered(self, client: str) -> set[str]:
        return set()

    def requests(self) -> int:
        return 0

    def faults(self) -> Counter[str]:
        return Counter()


class Client:
    """One run of ``tools/query.py``.

    Args:
        name: Of the run.
        options: Its option file.
        key: To the service.
    """

    def __init__(self, name: str, options: Path, key: str) -> None:
        self.name, self._log = name, options.with_name(f'{name}.log')
        command = [sys.executable, str(ROOT / 'tools/query.py'), '-opt', str(options)]
        with self._log.open('w') as file:
            # A session of its own: nothing of it reaches the terminal that chaos is started from.
            self._process = subprocess.Popen(
                command, env=environment(**{CLIENT: key}), stdout=file, stderr=file, start_new_session=True
            )
        self.ended_by: signal.Signals | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self._process.returncode

    @property
    def said(self) -> str:
        """What it printed."""
        return self._log.read_text()

    def end(self, number: signal.Signals) -> bool:
        """Send a signal; returns whether it met a run that had not ended."""
        if not self.running:
            return False
        self.ended_by = number
        self._process.send_signal(number)
        return True

    def wait(self, seconds: float) -> str | None:
        """Wait for its end; returns what is wrong with it, if something is."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f'{self.name} did not end within {seconds:.0f} s'
        last = (self.said.strip().splitlines() or [''])[-1]
        if 'Traceback' in self.said:
            return f'{self.name} ended in a traceback: {last}'
        if self.ended_by is None and code not in (0, 2):
            return f'{self.name} ended with {code}: {last}'
        return None
