"""The table of a flatness measurement."""

from __future__ import annotations

import json
from pathlib import Path

from mea_plugin.evaluation.tables import to_csv, to_markdown
from mea_plugin.report.minima import minima_table
from tests.report.results import make_flatness


def test_every_number_of_every_checkpoint(tmp_path: Path):
    measured = json.loads((make_flatness(tmp_path) / 'flatness.json').read_text())
    last = measured['trajectories']['proposed'][-1]
    last |= {'iteration': None, 'checkpoint': 'models/net_g_latest.pth', 'sharpness': {'0.05': None}}
    last['trace'] = {'value': 51.23456, 'standard_error': None, 'probes': 1}
    table = minima_table(measured)
    assert table.name == 'flat-flatness'
    lines = to_csv(table).splitlines()
    assert lines[0] == (
        'run,iteration,loss,sharpness_0.05,top_eigenvalue,top_eigenvalue_residual,trace,trace_standard_error'
    )
    assert lines[1] == 'baseline,100,0.1,0.2,0.02,0.1,50.0,2.0'
    assert lines[-1] == 'proposed,net_g_latest.pth,0.1,,0.01,0.1,51.23456,'
    text = to_markdown(table)
    assert 'not finite' in text
    assert '51.23' in text
    assert '± standard error' in text
    assert 'lower numbers' in text
    assert 'L1, over 8 crops' in text


def test_what_was_not_measured_has_no_column(tmp_path: Path):
    measured = json.loads((make_flatness(tmp_path) / 'flatness.json').read_text())
    for points in measured['trajectories'].values():
        for point in points:
            point |= {'sharpness': {}, 'top_eigenvalue': None, 'trace': None}
    assert [column.name for column in minima_table(measured).header] == ['run', 'iteration', 'loss']
