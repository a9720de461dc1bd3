"""The comparison with the peers runs, and says which of them are missing."""

from __future__ import annotations

import importlib.util
import json

import pytest

from mea_plugin.benchmarks import losses
from tests import helpers


def test_the_tool_prints_a_table_and_writes_the_numbers(tmp_path):
    path = tmp_path / 'numbers.json'
    run = helpers.run_tool('benchmark', 'losses', '--quick', '--json', path)
    assert run.returncode == 0, run.stderr
    assert 'torch: ' in run.stdout
    assert '| HighFrequencyLoss |' in run.stdout
    for peer in losses.PEERS:
        missing = importlib.util.find_spec(peer) is None
        assert (f'{peer}: not installed (pip install {peer})' in run.stdout) == missing
        assert (f'| {peer} |' in run.stdout) != missing
    rows = json.loads(path.read_text())['losses']
    assert rows[-1]['name'] == 'HighFrequencyLoss'
    assert all(row['value_difference'] < 1e-5 and row['gradient_difference'] < 1e-5 for row in rows)


def test_without_peers_it_measures_ours_alone(monkeypatch):
    monkeypatch.setattr(losses.importlib.util, 'find_spec', lambda name: None)
    text, rows = losses.run(rounds=1, sizes=[24])
    assert [row['name'] for row in rows] == ['HighFrequencyLoss']
    assert rows[0]['shape'] == (16, 3, 24, 24)
    assert rows[0]['milliseconds'] > 0
    assert 'ptwt: not installed (pip install ptwt)' in text


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (['nothing'], ("'nothing'", 'losses')),
        (['losses', '--sizes', '19'], (' --sizes: ', '19', '20')),
        (['losses', '--rounds', '0'], (' --rounds: ', ' 0 ')),
        (['losses', '--json', 'missing/numbers.json'], (' --json: ', ' missing ')),
    ],
)
def test_bad_arguments_end_with_one_line(arguments, names):
    run = helpers.run_tool('benchmark', *arguments)
    assert run.returncode == 2
    assert all(name in run.stderr for name in names)
    assert len(run.stderr.strip().splitlines()) == 1
