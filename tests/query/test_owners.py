"""Who is alive: told by a lock that the kernel takes away with the process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mea_plugin.query.owners import Owner, is_alive
from tests.helpers import ROOT

_HOLD = """
import sys
from pathlib import Path
from mea_plugin.query.owners import Owner
owner = Owner(Path(sys.argv[1]))
print(owner.token, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that owns something, and its token."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', _HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    token = process.stdout.readline().strip()
    yield process, token
    process.kill()
    process.communicate()


def test_an_owner_is_alive_until_it_says_good_bye(tmp_path):
    owner = Owner(tmp_path / 'owners')
    assert is_alive(tmp_path / 'owners', owner.token)
    assert is_alive(tmp_path / 'owners', owner.token)  # asking changes nothing
    owner.close()
    owner.close()
    assert not is_alive(tmp_path / 'owners', owner.token)
    assert list((tmp_path / 'owners').iterdir()) == []


def test_nobody_knows_an_unknown_one(tmp_path):
    assert not is_alive(tmp_path, 'nobody')
    assert not is_alive(tmp_path / 'nowhere', 'nobody')


def test_two_owners_of_one_process_are_two(tmp_path):
    one, two = Owner(tmp_path), Owner(tmp_path)
    one.close()
    assert not is_alive(tmp_path, one.token)
    assert is_alive(tmp_path, two.token)
    two.close()


def test_a_killed_process_is_dead_at_once(tmp_path, other):
    process, token = other
    assert is_alive(tmp_path, token)
    process.send_signal(signal.SIGSTOP)  # a stopped one still lives
    assert is_alive(tmp_path, token)
    process.kill()
    process.wait()
    assert not is_alive(tmp_path, token)
    assert not (tmp_path / token).exists()


def test_a_child_program_does_not_keep_its_parent_alive(tmp_path):
    owner = Owner(tmp_path)
    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, close_fds=False)
    os.close(owner._file)  # as the kernel does when a process dies
    deadline = time.monotonic() + 20
    while is_alive(tmp_path, owner.token):  # the child lets go of it some time after it was started
        assert time.monotonic() < deadline
    child.communicate(b'\n')
