"""The benchmark runs, its peer is a true SAM, and what it says about memory holds at any size."""

from __future__ import annotations

import json

import pytest
import torch

from mea_plugin.benchmarks.optim import LoopSAM, run
from mea_plugin.optim import SAM


def test_the_peer_takes_the_same_steps(problem):
    results = []
    for build in (LoopSAM, SAM):
        each = problem()
        optimizer = build(each.params, rho=0.1, lr=0.01)
        for _ in range(3):
            for move in (optimizer.climb, optimizer.restore):
                torch.autograd.backward(each.loss(), inputs=each.params)
                move()
                for param in each.params if move == optimizer.climb else []:
                    param.grad = None
            optimizer.step()
            for param in each.params:
                param.grad = None
        results.append(each.params)
    for peer, ours in zip(*results, strict=True):
        torch.testing.assert_close(peer, ours, rtol=1e-9, atol=0)


def test_the_benchmark_runs():
    text, rows = run(1, quick=True)
    assert json.loads(json.dumps(rows)) == rows
    assert text.count('###') == 6
    whole = next(row for row in rows if 'own_share_percent' in row)
    assert 0 < whole['own_share_percent'] < 100
    memory = {row['name']: row for row in rows if 'first_step_peak' in row}
    assert memory['SAM of this package']['first_step_peak'] == pytest.approx(1, abs=0.1)
    assert memory['SAM of this package']['in_the_state_dict'] == 0
    assert memory['loop over parameters']['in_the_state_dict'] == 1
