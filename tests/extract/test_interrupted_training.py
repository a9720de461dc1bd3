"""Ctrl-C while a surrogate is trained: the training puts its state away before the extraction ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from mea_plugin.extract import training

_TRAINING = """
import pathlib, signal, sys, time
def stop(*args):
    for _ in range(9):
        print('still saving', flush=True)
        time.sleep(0.1)
    pathlib.Path(sys.argv[1], 'saved').touch()
    sys.exit(143)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1], 'ready').touch()
time.sleep(60)
"""


def test_it_is_waited_for(tmp_path):
    def interrupt():
        until = time.monotonic() + 20
        while not (tmp_path / 'ready').exists() and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            training._run([sys.executable, '-c', _TRAINING, str(tmp_path)], 'x', 1, tmp_path / 'x.log')
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / 'saved').exists()
    assert (tmp_path / 'x.log').read_text().count('still saving') == 9
