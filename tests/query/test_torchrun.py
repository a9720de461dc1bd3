"""Several processes that a launcher started share the images of one run."""

import json
import os
import subprocess
import sys

import pytest

from mea_plugin.query.engine import ledger_folder
from mea_plugin.query.ledger import Ledger
from tests.helpers import ROOT, photograph, save, write_yaml


@pytest.mark.slow
def test_two_ranks_send_each_image_once(tmp_path):
    for index in range(24):
        save(tmp_path / 'photos' / f'{index:02d}.png', photograph((48, 48), index))
    options = {
        'name': 'job', 'output': str(tmp_path / 'out'), 'victim': {'type': 'opencv', 'style': 'stylization'},
        'queries': {'images': str(tmp_path / 'photos'), 'batch_size': 2, 'budget': 24},
    }  # fmt: skip
    file = write_yaml(tmp_path / 'job.yml', options)
    command = [sys.executable, str(ROOT / 'tools' / 'query.py'), '-opt', str(file)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'WORLD_SIZE': '2'}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    ranks = [
        subprocess.Popen(command, env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)}, cwd=ROOT, **pipes)
        for rank in range(2)
    ]
    printed = [rank.communicate(timeout=200) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    assert [out.count('query set') for out, _ in printed] == [1, 0]
    assert len(json.loads((tmp_path / 'out' / 'queries' / 'manifest.json').read_text())['pairs']) == 24
    with Ledger(ledger_folder(tmp_path / 'out' / 'queries'), create=False) as ledger:
        assert ledger.spent == 24
        assert list(ledger.rows('SELECT COUNT(*), COUNT(DISTINCT query) FROM attempts')) == [(24, 24)]
