"""SAM under a gradient scaler: the recipe of its docstring, with torch's scaler and with a plain one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mea_plugin.optim import SAM


class PlainScaler:
    """What a gradient scaler does, in a few lines: torch 2.1 has none that works without CUDA."""

    def __init__(self, init_scale):
        self._scale, self.bad = init_scale, None

    def scale(self, loss):
        return loss * self._scale

    def unscale_(self, optimizer):
        assert self.bad is None, 'unscaled twice'
        grads = [param.grad for group in optimizer.param_groups for param in group['params']]
        self.bad = not all(torch.isfinite(grad).all() for grad in grads)
        for grad in grads:
            grad.div_(self._scale)

    def step(self, optimizer):
        if self.bad is None:
            self.unscale_(optimizer)
        return None if self.bad else optimizer.step()

    def update(self):
        self._scale *= 0.5 if self.bad else 1.0
        self.bad = None

    def get_scale(self):
        return self._scale


def torch_scaler(init_scale):
    return torch.amp.GradScaler('cpu', init_scale=init_scale)


SCALERS = [
    PlainScaler,
    pytest.param(
        torch_scaler,
        marks=pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch has a CUDA scaler only'),
    ),
]


def scaled_step(problem, optimizer, scaler, poisoned=(), clip=math.inf):
    """One step by the recipe; the passes numbered in ``poisoned`` overflow. Returns how many passes ran."""
    passes = 0

    def backward():
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        factor = math.inf if passes in poisoned else 1.0
        scaler.scale(problem.loss() * factor).backward()

    backward()
    with optimizer.perturbed(skip_nonfinite=True) as climbed:
        if climbed:
            backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(problem.params, clip)
    scaler.step(optimizer)
    scaler.update()
    return passes


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize('scale', [1.0, 2.0**16, 2.0**40])
@pytest.mark.parametrize('build', SCALERS)
def test_the_scale_changes_nothing(problem, build, scale, adaptive):
    plain, scaled = problem(dtype=torch.float32), problem(dtype=torch.float32)
    one = SAM(plain.params, rho=0.1, adaptive=adaptive, lr=0.02)
    other = SAM(scaled.params, rho=0.1, adaptive=adaptive, lr=0.02)
    scaler = build(scale)
    for _ in range(4):
        one.step(plain.closure(one))
        assert scaled_step(scaled, other, scaler) == 2
    for left, right in zip(plain.weights(), scaled.weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)


@pytest.mark.parametrize(('poisoned', 'passes'), [((1,), 1), ((2,), 2), ((1, 2), 1)])
@pytest.mark.parametrize('build', SCALERS)
def test_an_overflow_skips_the_step_and_lowers_the_scale(problem, build, poisoned, passes):
    ours = problem(dtype=torch.float32)
    optimizer = SAM(ours.params, rho=0.1, lr=0.02)
    scaler = build(1024.0)
    scaled_step(ours, optimizer, scaler)
    weights, moments = ours.weights(), optimizer.state[ours.params[0]]['exp_avg'].clone()
    assert scaled_step(ours, optimizer, scaler, poisoned) == passes
    for own, weight in zip(ours.weights(), weights, strict=True):
        np.testing.assert_array_equal(own, weight)
    assert torch.equal(optimizer.state[ours.params[0]]['exp_avg'], moments)
    assert scaler.get_scale() == 512
    assert scaled_step(ours, optimizer, scaler) == 2
    assert not np.array_equal(ours.weights()[0], weights[0])


@pytest.mark.parametrize('build', SCALERS)
def test_clipping_sees_unscaled_gradients(problem, build):
    ours = problem(dtype=torch.float32)
    optimizer = SAM(ours.params, 'SGD', rho=0.1, lr=1.0)
    start = ours.weights()
    scaled_step(ours, optimizer, build(4096.0), clip=0.5)
    moved = math.sqrt(sum(np.sum((own - old) ** 2) for own, old in zip(ours.weights(), start, strict=True)))
    assert moved == pytest.approx(0.5, rel=1e-4)


def test_a_fused_base_is_left_to_the_scaler(problem):
    ours = problem(dtype=torch.float32)
    try:
        optimizer = SAM(ours.params, 'Adam', rho=0.1, lr=0.02, fused=True)
        optimizer.step(ours.closure(optimizer))
        scaler = torch_scaler(1024.0)
    except (RuntimeError, AttributeError):
        pytest.skip('this torch has no fused Adam or no scaler for the CPU')
    plain = problem(dtype=torch.float32)
    other = SAM(plain.params, 'Adam', rho=0.1, lr=0.02)
    other.step(plain.closure(other))
    for _ in range(3):
        scaled_step(ours, optimizer, scaler)
        other.step(plain.closure(other))
    for left, right in zip(ours.weights(), plain.weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4)


def test_skipping_leaves_the_weights_and_says_so(problem):
    ours = problem()
    optimizer = SAM(ours.params, adaptive=True, lr=0.02)
    weights = ours.weights()
    ours.closure(optimizer)()
    ours.params[1].grad[0, 0] = math.nan
    assert optimizer.climb(skip_nonfinite=True) is False
    assert not optimizer.climbed
    optimizer.restore()
    for own, weight in zip(ours.weights(), weights, strict=True):
        np.testing.assert_array_equal(own, weight)
