"""The tool in a process of its own, ended by real signals while it trains, and taken up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT
from tests.mmagic import runs
from tests.query_sets.sets import make_set

pytest.importorskip('mmagic')

CONFIG = ROOT / 'options' / 'mmagic' / 'small' / 'edsr_x4_proposed.py'


@pytest.fixture(scope='module')
def query_set(tmp_path_factory) -> Path:
    return make_set(tmp_path_factory.mktemp('set') / 'queries', dict.fromkeys('0123', (40, 36)), 4)


def arguments(query_set: Path, folder: Path, last: int) -> list[str]:
    options = {
        'experiment_name': f'{folder.name}_{last}',
        'train_cfg.max_iters': last,
        'param_scheduler.T_max': 10**6,
        'param_scheduler.end': 10**6,
        'train_dataloader.dataset.data_root': query_set,
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': False,
        'default_hooks.checkpoint.interval': 5,
        'randomness.seed': 3,
    }
    return [str(CONFIG), '--work-dir', str(folder), '--cfg-options', *(f'{key}={one}' for key, one in options.items())]


def newest(folder: Path) -> int:
    return max((int(path.stem.partition('_')[2]) for path in folder.glob('iter_*.pth')), default=0)


def run_until_ended(query_set: Path, folder: Path, send) -> subprocess.Popen:
    """Start the tool for a million iterations, and end it once it has written a checkpoint."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, str(ROOT / 'tools' / 'train_mmagic.py'), *arguments(query_set, folder, 10**6)]
    with (folder / 'said').open('w') as said:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env=environment, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 120
            while not newest(folder) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            send(process)
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return process


ENDS = {
    'SIGTERM': (lambda process: process.terminate(), 143),
    # As a terminal sends it: to the workers that load data, too.
    'Ctrl-C': (lambda process: os.killpg(process.pid, signal.SIGINT), 130),
    'kill -9': (lambda process: process.kill(), -9),
}


@pytest.mark.slow
@pytest.mark.parametrize('end', ENDS)
def test_ended_and_taken_up(end, query_set, tmp_path, capsys):
    from mea_plugin.mmagic.run import train

    send, code = ENDS[end]
    folder, whole = tmp_path / 'parts', tmp_path / 'whole'
    folder.mkdir()
    ended = run_until_ended(query_set, folder, send)
    said = (folder / 'said').read_text()
    assert ended.returncode == code, said
    stopped = newest(folder)
    if code != -9:
        assert re.search(rf'\b{stopped}\D+1000000\b.*{re.escape(str(folder))}', said)
        assert '--resume' in said
        assert 'Traceback' not in said
    train.main([*arguments(query_set, folder, stopped + 3), '--resume'])
    train.main(arguments(query_set, whole, stopped + 3))
    first, second = (torch.load(one / train.WEIGHTS, weights_only=True) for one in (whole, folder))
    assert not runs.differences(first, second)
    assert not runs.differences(*(runs.final_state(one, stopped + 3)['optimizer'] for one in (whole, folder)))
