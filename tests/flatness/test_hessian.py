"""Eigenvalue and trace of known Hessians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.flatness import Criterion, Objective, hessian_trace, top_eigenvalue
from tests.flatness.quadratic import quadratic, symmetric


@pytest.mark.parametrize(
    'values',
    [[9.0, 4.0, 1.0, 0.2, 0.0], [5.0, 1.0, 0.0, -2.0, -4.0], [2.0, 1.0, 0.5, -3.0, -8.0], [-1.0, -2.0, -3.0, -4.0]],
    ids=['positive', 'dominant', 'dominated', 'negative'],
)
def test_the_largest_eigenvalue_is_found_wherever_it_stands(values):
    found = top_eigenvalue(quadratic(symmetric(values)), iterations=500, tolerance=1e-5)
    assert found.value == pytest.approx(values[0], abs=1e-6)
    assert found.residual <= 1e-5 * (abs(values[0]) + abs(min(values)))


def test_it_stops_when_the_residual_is_small_and_says_what_it_is():
    matrix = symmetric([4.0, 1.0, 0.5])
    objective = quadratic(matrix)
    counted = []
    objective.on_pass = lambda: counted.append(1)
    found = top_eigenvalue(objective, iterations=200, tolerance=1e-3)
    assert 0 < found.residual <= 1e-3 * found.value
    assert found.iterations == len(counted) < 20
    short = top_eigenvalue(objective, iterations=1, seed=3)
    v = torch.randn(3, generator=torch.Generator().manual_seed(3)).double().numpy()
    v /= np.linalg.norm(v)
    assert short.iterations == 1
    assert short.value == pytest.approx(v @ matrix @ v, rel=1e-6)
    assert short.residual == pytest.approx(np.linalg.norm(matrix @ v - (v @ matrix @ v) * v), rel=1e-6)


def test_no_curvature_at_all():
    found = top_eigenvalue(quadratic(np.zeros((4, 4)), slope=[1, 2, 3, 4]))
    assert (found.value, found.residual, found.iterations) == (0, 0, 1)


def test_a_diagonal_trace_is_exact_after_one_probe():
    found = hessian_trace(quadratic(np.diag([3.0, -1.0, 0.5, 2.0])), probes=1)
    assert (found.value, found.standard_error, found.probes) == (pytest.approx(4.5, rel=1e-12), None, 1)
    assert hessian_trace(quadratic(np.diag([3.0, -1.0])), probes=5).standard_error == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_the_standard_error_is_that_of_the_estimator():
    matrix = symmetric([5.0, 3.0, 1.0, -2.0, 0.5, 0.1], seed=2)
    found = hessian_trace(quadratic(matrix), probes=2000, together=64)
    off = matrix - np.diag(np.diag(matrix))
    deviation = math.sqrt(2 * (off**2).sum())  # of one probe, from the theory
    assert found.standard_error == pytest.approx(deviation / math.sqrt(2000), rel=0.1)
    assert abs(found.value - np.trace(matrix)) < 4 * found.standard_error


def test_the_number_of_probes_at_a_time_does_not_matter():
    objective = quadratic(symmetric([5.0, 3.0, -1.0]))
    first, second = (hessian_trace(objective, probes=7, together=together) for together in (1, 3))
    assert first == second
    assert first != hessian_trace(objective, probes=7, seed=1)


@pytest.mark.slow
def test_of_a_network_both_are_those_of_the_whole_hessian():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Tanh(), nn.Conv2d(2, 3, 1)).double()
    data = torch.rand(3, 3, 4, 4).double()
    criterion = Criterion('charbonnier', epsilon=0.2)
    objective = Objective(net, data, data.flip(1), criterion, batch_size=2)
    matrix = torch.stack(objective.hessian_products(list(torch.eye(objective.size, dtype=torch.float64))))
    torch.testing.assert_close(matrix, matrix.T)
    found = top_eigenvalue(objective, iterations=2000, tolerance=1e-6)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-6)
    trace = hessian_trace(objective, probes=200)
    assert abs(trace.value - float(matrix.trace())) < 4 * trace.standard_error
