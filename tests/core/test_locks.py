"""A lock keeps others out, and ends with its process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mea_plugin.core.locks import is_locked, locked

_HOLD = """
import sys, pathlib
from mea_plugin.core.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""


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
    holder = subprocess.Popen(
        [sys.executable, '-c', _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'held\n'
        assert is_locked(path)
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    with locked(path, wait=False):
        pass
