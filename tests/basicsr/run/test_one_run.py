"""One run at a time in an experiment's folder: the second ends before it touches anything, and names the first."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT, pair_folders, run_tool, training_options, write_yaml


def start(root, file, *arguments):
    command = [sys.executable, str(ROOT / 'tools' / 'train_basicsr.py'), '-opt', str(file), '--root', str(root)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def wait_for(process, pattern, folder):
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(folder.glob(pattern))


@pytest.mark.every_environment
@pytest.mark.slow
def test_two_runs_of_one_name(tmp_path):
    lq, gt = pair_folders(tmp_path)
    options = training_options(lq, gt, total_iter=10**6)
    options['datasets']['train']['num_worker_per_gpu'] = 1
    options['train']['scheduler']['periods'] = [10**6]
    options['logger']['save_checkpoint_freq'] = 20
    first, folder = write_yaml(tmp_path / '1.yml', options), tmp_path / 'experiments' / 'tiny'
    options['train'] = {**options['train'], 'pixel_opt': {'type': 'L1Loss', 'loss_weight': 5.0}, 'total_iter': 4}
    second = write_yaml(tmp_path / '2.yml', options)
    process = start(tmp_path, first)
    try:
        wait_for(process, 'training_states/*.state', folder)
        logs = sorted(path.name for path in folder.glob('*.log'))
        for arguments in ((), ('--auto_resume',)):
            refused = run_tool('train_basicsr', '-opt', second, '--root', tmp_path, *arguments)
            assert refused.returncode == 2, refused.stderr
            (line,) = [one for one in refused.stderr.splitlines() if one.startswith('error: ')]
            assert all(one in line for one in (str(folder), f'process {process.pid} on {socket.gethostname()}'))
            assert re.search(r'since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC', line)
            assert 'Traceback' not in refused.stderr
        assert process.poll() is None
        assert not list(folder.parent.glob('tiny_archived_*'))
        assert sorted(path.name for path in folder.glob('*.log')) == logs
        assert (folder / 'tiny.yml').read_text().count('5.0') == 0
        # The kernel ends it with the process, whose workers may live on for seconds.
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        done = run_tool('train_basicsr', '-opt', second, '--root', tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(list(folder.parent.glob('tiny_archived_*'))) == 1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
