"""The benchmark of training runs, and gives the numbers that the README quotes."""

from __future__ import annotations

import pytest

pytest.importorskip('mea_plugin.basicsr')
pytest.importorskip('mea_plugin.mmagic')


@pytest.mark.slow
def test_training():
    from mea_plugin.benchmarks import train

    text, rows = train.run(quick=True)
    steps = [row for row in rows if 'times_reference' in row]
    references = [row['name'] for row in steps if row['times_reference'] == 1]
    assert {"BasicSR's SRModel", "MMagic's BaseEditModel"} <= set(references)
    assert {'SAM', 'SAM, every: 5', 'LookSAM, every: 5', 'MomentumSAM'} <= {row['name'] for row in steps}
    waiting = {row['name']: row['waiting_share'] for row in rows if 'waiting_share' in row}
    assert set(waiting) == {'PNG', 'PNG, kept in memory', 'LMDB'}
    assert all(0 <= share < 1 for share in waiting.values())
    assert [row['iteration'] for row in rows if 'seconds' in row] == [0, 1_000, 1_000_000]
    assert text.count('###') == 4
