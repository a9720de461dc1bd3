"""Directions against the formula, and the loss where it is looked up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mea_plugin.flatness import Criterion, Objective, line, plane, random_direction
from mea_plugin.flatness.landscape import spread


def objective(criterion=None):
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.Linear(4 * 25, 6, bias=False)
    )
    with torch.no_grad():
        net[0].weight[2] = 0
    return Objective(net, torch.rand(3, 3, 5, 5), torch.rand(3, 6), criterion or Criterion('mse'), batch_size=2)


def test_filters_are_as_long_as_the_networks_and_single_weights_stay():
    one = objective()
    parts = one.split(random_direction(one, seed=7))
    generator = torch.Generator().manual_seed(7)
    for part, parameter in zip(parts, one.parameters, strict=True):
        raw = torch.randn(parameter.shape, generator=generator)
        for j in range(len(parameter)):
            if parameter.dim() <= 1:
                assert float(part[j]) == 0
            else:
                length = float(raw[j].square().sum().sqrt())
                expected = raw[j] / length * float(parameter[j].detach().square().sum().sqrt())
                torch.testing.assert_close(part[j], expected, rtol=1e-5, atol=1e-7)
    assert parts[0][2].abs().max() == 0  # a filter of zeros
    assert parts[0][1].abs().max() > 0
    assert not torch.equal(random_direction(one, seed=8), random_direction(one, seed=7))


def moved(one, offset):
    """The loss with the weights moved, by hand."""
    with torch.no_grad():
        before = [parameter.clone() for parameter in one.parameters]
        for parameter, part in zip(one.parameters, one.split(offset), strict=True):
            parameter += part
        loss = one.loss()
        for parameter, value in zip(one.parameters, before, strict=True):
            parameter.copy_(value)
    return loss


def test_line_and_plane_are_the_loss_at_these_steps():
    one = objective()
    first, second = (random_direction(one, seed) for seed in (4, 5))
    steps = spread(0.5, 5)
    found = line(one, steps, seed=4)
    assert found['steps'] == [-0.5, -0.25, 0, 0.25, 0.5]
    assert found['loss'] == pytest.approx([moved(one, step * first) for step in steps], rel=1e-6)
    assert found['loss'][2] == one.loss()
    surface = plane(one, [-1.0, 0.0, 0.5], [0.0, 2.0], seed=4)
    expected = [[moved(one, a * first + b * second) for a in (-1, 0, 0.5)] for b in (0, 2)]
    assert surface['loss'] == [pytest.approx(row, rel=1e-6) for row in expected]
    assert len({round(value, 6) for row in surface['loss'] for value in row}) == 6


def test_the_weights_are_back_at_the_end_and_after_a_failure():
    calls = []

    def fails(prediction, response):
        calls.append(1)
        if len(calls) > 6:
            raise ZeroDivisionError
        return (prediction - response).square().mean()

    one = objective()
    before = [parameter.detach().clone() for parameter in one.parameters]
    plane(one, [0.3], [0.7, 0.1])
    assert all(torch.equal(now, then) for now, then in zip(one.parameters, before, strict=True))
    one._criterion = fails
    with pytest.raises(ZeroDivisionError):
        line(one, [1.0, 2.0, 3.0, 4.0])
    assert all(torch.equal(now, then) for now, then in zip(one.parameters, before, strict=True))
