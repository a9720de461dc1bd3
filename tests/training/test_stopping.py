"""Signals become requests; the handlers that were there come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mea_plugin.training import stopping
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.stopping import StopRequests


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request(number, capfd):
    before = signal.getsignal(number)
    with StopRequests() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.agreed(Ranks())
        assert stop.signal == number
        os.kill(os.getpid(), number)  # at once: a launcher repeats what the terminal sent
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count(number.name) == 1


def test_it_is_heard_when_nobody_reads_any_more(monkeypatch):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, '__stderr__', Broken())
    with StopRequests() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested()


def test_a_second_ctrl_c_later_ends_at_once(monkeypatch):
    monkeypatch.setattr(stopping, '_AGAIN', 0.0)
    with StopRequests(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)


def test_not_under_a_launcher(monkeypatch):
    monkeypatch.setattr(stopping, '_AGAIN', 0.0)
    monkeypatch.setenv('WORLD_SIZE', '2')
    with StopRequests() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        assert stop.requested()


@pytest.mark.every_environment
def test_loader_workers_outlive_a_signal_to_the_job():
    code = """
import os, signal, sys
import torch
from mea_plugin.training.stopping import StopRequests, ignore_signals
class Data(torch.utils.data.Dataset):
    def __len__(self): return 100
    def __getitem__(self, index): return index
if __name__ == '__main__':
    signal.alarm(60)
    os.setpgrp()
    with StopRequests() as stop:
        loader = torch.utils.data.DataLoader(Data(), num_workers=2, worker_init_fn=ignore_signals)
        for index, item in enumerate(loader):
            if index == 10:
                os.killpg(os.getpid(), signal.SIGTERM)
                os.killpg(os.getpid(), signal.SIGINT)
    sys.exit(0 if stop.requested() and int(item) == 99 else 1)
"""
    process = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
