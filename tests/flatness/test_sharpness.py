"""Sharpness of quadratic losses, whose maximum in a ball is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.flatness import Objective, sharpness
from tests.flatness.quadratic import largest_in_ball, quadratic, symmetric

POSITIVE = symmetric([7.0, 3.0, 1.0, 0.5, 0.1])
MIXED = symmetric([2.0, 1.0, -0.5, -3.0, -6.0], seed=1)
SLOPE = [0.3, -0.2, 0.5, 0.1, -0.4]


@pytest.mark.parametrize('radius', [0.01, 0.5, 3.0])
def test_at_a_minimum_it_is_half_the_largest_eigenvalue_times_the_radius_squared(radius):
    found = sharpness(quadratic(POSITIVE), [radius], steps=40)
    assert found[radius] == pytest.approx(7.0 * radius**2 / 2, rel=1e-4)


@pytest.mark.parametrize('hessian', [POSITIVE, MIXED, -POSITIVE, np.zeros((5, 5))], ids=['+', '+-', '-', '0'])
def test_elsewhere_it_is_the_solution_of_the_trust_region_problem(hessian):
    radii = [0.05, 0.2, 1.0]
    found = sharpness(quadratic(hessian, SLOPE), radii, steps=60)
    for radius in radii:
        largest = largest_in_ball(hessian, SLOPE, radius)
        assert (1 - 2e-3) * largest <= found[radius] <= largest + 1e-12


def test_adaptive_measures_in_units_of_the_weights():
    at = np.array([1.0, -2.0, 0.5, 3.0, -0.1])
    found = sharpness(quadratic(MIXED, SLOPE, at), [0.1, 0.7], steps=60, adaptive=True)
    stretch = np.diag(np.abs(at))
    for radius, value in found.items():
        expected = largest_in_ball(stretch @ MIXED @ stretch, stretch @ np.array(SLOPE), radius)
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('adaptive', [False, True])
def test_without_ascent_it_is_sams_step(adaptive):
    at, slope = np.array([1.0, -2.0, 0.5, 3.0, -0.1]), np.array(SLOPE)
    stretched = np.abs(at) * slope if adaptive else slope
    e = 0.4 * (np.abs(at) * stretched if adaptive else stretched) / np.linalg.norm(stretched)
    found = sharpness(quadratic(POSITIVE, SLOPE, at), [0.4], steps=0, adaptive=adaptive)
    assert found[0.4] == pytest.approx(e @ POSITIVE @ e / 2 + slope @ e, rel=1e-9)


def test_at_a_maximum_nothing_grows():
    assert sharpness(quadratic(-POSITIVE), [0.1, 1.0]) == {0.1: 0.0, 1.0: 0.0}


def test_ascent_reaches_what_one_step_misses():
    hessian, slope = np.diag([10.0, 0.0, 0.0]), [0.01, 1.0, 0.0]
    one, many = (sharpness(quadratic(hessian, slope), [2.0], steps=steps)[2.0] for steps in (0, 20))
    assert many > 5 * one


def test_it_never_falls_as_the_radius_grows_and_comes_in_order():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1))
    queries = torch.rand(2, 3, 6, 6)
    objective = Objective(net, queries, queries, lambda a, b: (a - b).square().mean())
    radii = [3.0, 0.1, 1.0, 0.3]
    found = sharpness(objective, radii, steps=3)
    assert list(found) == sorted(radii)
    values = list(found.values())
    assert values == sorted(values)
    assert values[0] > 0
    assert sharpness(objective, radii, steps=3) == found


def test_the_weights_are_back_when_the_loss_explodes_and_when_it_fails():
    def explodes(weights, _):
        return torch.exp(1e3 * weights.square().sum())

    def fails(weights, _):
        if weights.abs().sum() > 3.5:
            raise ZeroDivisionError
        return weights.sum()

    values = torch.tensor([0.1, 0.7, 0.3], dtype=torch.float64)
    for criterion, scale in ((explodes, 1.0), (fails, 3.0)):
        objective = quadratic(np.eye(3), at=values * scale)
        objective._criterion = criterion
        before = [parameter.detach().clone() for parameter in objective.parameters]
        if criterion is explodes:
            assert sharpness(objective, [0.01, 3.0])[3.0] == math.inf
        else:
            with pytest.raises(ZeroDivisionError):
                sharpness(objective, [0.1, 3.0])
        assert all(torch.equal(now, then) for now, then in zip(objective.parameters, before, strict=True))
