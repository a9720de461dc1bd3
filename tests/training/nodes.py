"""Runs of training tools by torchrun: on this machine, and on two that are network namespaces joined by a cable."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

SUBNET = '10.213.77'


def environment() -> dict[str, str]:
    """On one thread; without what a launcher around the tests may have set."""
    dropped = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'GLOO_SOCKET_IFNAME')
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}


class Run:
    """A tool under torchrun; its output goes into a file."""

    def __init__(self, tool: str, arguments: list[str], log: Path, *, prefix: tuple[str, ...] = (), **torchrun: object):
        options = [f'--{key}={value}' for key, value in torchrun.items()]
        script = str(ROOT / 'tools' / f'{tool}.py')
        command = [*prefix, sys.executable, '-m', 'torch.distributed.run', *options, script, *map(str, arguments)]
        self.log = log
        with log.open('w') as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
            )

    def text(self) -> str:
        return self.log.read_text(errors='replace')

    def wait_for(self, pattern: str, seconds: float = 120) -> None:
        """Until the log has it; the run must still be going."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            assert self.process.poll() is None, self.text()[-3000:]
            assert time.monotonic() < deadline, self.text()[-3000:]
            time.sleep(0.1)

    def wait(self, seconds: float = 240) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f'still running after {seconds} s:\n{self.text()[-3000:]}')

    def wait_for_lost_peer(self, seconds: float) -> str:
        """Its end after another process has gone, in time; returns the line that says so."""
        began = time.monotonic()
        assert self.wait(seconds + 30) != 0
        assert time.monotonic() - began < seconds
        said = [line for line in self.text().splitlines() if line.startswith('error: ')]
        assert said, self.text()[-3000:]
        assert 'gone' in said[0] or 'not been heard of' in said[0]
        return said[0]

    def workers(self) -> list[int]:
        """The processes of the ranks on this node, in their order."""
        found = {}
        for folder in Path('/proc').iterdir():
            if not folder.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                status = (folder / 'stat').read_text().rpartition(')')[2].split()
                variables = dict(
                    item.split('=', 1) for item in (folder / 'environ').read_text().split('\0') if '=' in item
                )
                if 'LOCAL_RANK' in variables and int(status[1]) == self.agent():
                    found[int(variables['LOCAL_RANK'])] = int(folder.name)
        return [found[rank] for rank in sorted(found)]

    def agent(self) -> int:
        """torchrun itself: ``ip netns exec`` becomes what it starts."""
        return self.process.pid

    def close(self) -> None:
        """Kill whatever still runs: torchrun, and the ranks, which it starts in sessions of their own."""
        workers = self.workers()
        for process in (self.process.pid, *workers) if self.process.poll() is None else workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(30)


@contextlib.contextmanager
def on_this_machine(tool: str, arguments: list, log: Path, processes: int = 2) -> Iterator[Run]:
    """Some processes here."""
    place = {'nnodes': 1, 'nproc_per_node': processes, 'master_addr': '127.0.0.1', 'master_port': free_port()}
    run = Run(tool, arguments, log, **place)
    try:
        yield run
    finally:
        run.close()


@contextlib.contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with one end of a veth pair; skips where they cannot be made."""
    if os.geteuid() != 0 or shutil.which('ip') is None:
        pytest.skip('network namespaces need root and iproute2')
    names = f'mea{os.getpid()}a', f'mea{os.getpid()}b'
    made = []
    try:
        for name in names:
            done = subprocess.run(['ip', 'netns', 'add', name], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f'no network namespace can be made here ({done.stderr.strip()})')
            made.append(name)
        ip('link', 'add', 'vetha', 'netns', names[0], 'type', 'veth', 'peer', 'name', 'vethb', 'netns', names[1])
        for name, device, number in ((names[0], 'vetha', 1), (names[1], 'vethb', 2)):
            ip('-n', name, 'addr', 'add', f'{SUBNET}.{number}/24', 'dev', device)
            ip('-n', name, 'link', 'set', device, 'up')
            ip('-n', name, 'link', 'set', 'lo', 'up')
        yield names
    finally:
        for name in made:
            subprocess.run(['ip', 'netns', 'del', name], check=False)


def cut(namespace: str) -> None:
    """Pull the cable out: no connection is closed, nothing arrives any more."""
    ip('-n', namespace, 'link', 'set', 'vethb', 'down')


@contextlib.contextmanager
def on_two_nodes(names: tuple[str, str], tool: str, arguments: list, folder: Path) -> Iterator[list[Run]]:
    """One process on each node."""
    runs = []
    try:
        for rank, name in enumerate(names):
            prefix = ('ip', 'netns', 'exec', name)
            place = {'nnodes': 2, 'node_rank': rank, 'nproc_per_node': 1}
            address = {'master_addr': f'{SUBNET}.1', 'master_port': 29400}
            runs.append(Run(tool, arguments, folder / f'node{rank}.log', prefix=prefix, **place, **address))
        yield runs
    finally:
        for run in runs:
            run.close()


def ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True, capture_output=True, text=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
