"""A lock keeps others out, tells them who holds it, and ends with its process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from mea_plugin.core.locks import OwnedLock, is_locked, locked
from tests.helpers import refused

_HOLD = """
import sys, pathlib
from mea_plugin.core.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""

# Holds a lock; a forked child of it lives on when it is killed.
_OWN = """
import os, pathlib, sys, time
from mea_plugin.core.locks import OwnedLock
lock = OwnedLock(pathlib.Path(sys.argv[1]), 'the folder')
if not os.fork():
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.read()
"""


def start(code, path):
    return subprocess.Popen(
        [sys.executable, '-c', code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_lock_keeps_others_out_for_as_long_as_it_is_held(tmp_path):
    path = tmp_path / 'new' / 'lock'
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    assert not is_locked(path)
    assert path.is_file()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / 'lock'
    holder = start(_HOLD, path)
    try:
        assert holder.stdout.readline() == 'held\n'
        assert is_locked(path)
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    with locked(path, wait=False):
        pass


class TestOwnedLock:
    """Of a folder that a process works in."""

    def test_others_are_told_who_holds_it_until_it_is_killed(self, tmp_path):
        path = tmp_path / 'new' / 'a.lock'
        holder = start(_OWN, path)
        child = int(holder.stdout.readline())
        try:
            with refused('the folder', str(holder.pid), socket.gethostname(), 'since 20', 'UTC'):
                OwnedLock(path, 'the folder')
        finally:
            holder.kill()
            holder.wait(30)
            holder.stdin.close()
        try:
            with OwnedLock(path, 'the folder'):  # a child that lives on does not keep it
                assert json.loads(path.read_text())['pid'] == os.getpid()
            assert not is_locked(path)
            assert path.read_text() == ''
        finally:
            os.kill(child, signal.SIGKILL)
            holder.stdout.close()

    def test_a_holder_that_has_not_written_yet_or_writes_nonsense_is_another_process(self, tmp_path):
        path = tmp_path / 'lock'
        for content in ('', '{"host": 1}', 'x' * 10_000, '[]', '{"pid": "' + 'y' * 5000 + '"}'):
            path.write_text(content)
            with locked(path), refused('here', 'another process'):
                OwnedLock(path, 'here')

    def test_within_a_process_it_is_shared(self, tmp_path):
        path = tmp_path / 'lock'
        first, second = OwnedLock(path, 'x'), OwnedLock(path, 'x')
        first.release()
        first.release()
        assert is_locked(path)
        second.release()
        assert not is_locked(path)

    def test_it_goes_with_its_object(self, tmp_path):
        lock = OwnedLock(tmp_path / 'lock', 'x')
        del lock
        assert not is_locked(tmp_path / 'lock')

    def test_of_many_threads_each_releases_its_own(self, tmp_path):
        path = tmp_path / 'lock'

        def work():
            for _ in range(50):
                with OwnedLock(path, 'x'):
                    assert is_locked(path)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not is_locked(path)

    def test_a_disk_without_locks_is_no_reason_to_stop(self, tmp_path, monkeypatch):
        import errno
        import fcntl

        def none(*args):
            raise OSError(errno.ENOSYS, 'Function not implemented')

        monkeypatch.setattr(fcntl, 'flock', none)
        with pytest.warns(UserWarning, match='no locks'), OwnedLock(tmp_path / 'lock', 'x'):
            pass
