"""A step with any optimizer, a bare ``step()``, and closures as other trainers hand them over."""

from __future__ import annotations

import copy
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.optim import SAM, LookSAM, MomentumSAM, backward, repeatable, run_step, second_pass
from tests.optim.test_scaler import SCALERS

BUILDS = {
    'Adam': lambda params: torch.optim.Adam(params, lr=0.02),
    'SAM': lambda params: SAM(params, rho=0.1, lr=0.02),
    'every 2': lambda params: SAM(params, rho=0.1, every=2, lr=0.02),
    'LookSAM': lambda params: LookSAM(params, rho=0.1, every=2, lr=0.02),
    'MomentumSAM': lambda params: MomentumSAM(params, rho=0.1, lr=0.02),
}


def same(left, right, rtol=0.0):
    for one, other in zip(left.weights(), right.weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol)


@pytest.mark.parametrize('build', BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize('scaler', [None, *SCALERS])
def test_run_step_is_step_with_a_closure(problem, build, scaler):
    ours, plain = problem(dtype=torch.float32), problem(dtype=torch.float32)
    optimizer, other = build(ours.params), build(plain.params)
    scaler = scaler and scaler(1024.0)
    for _ in range(4):

        def closure():
            optimizer.zero_grad()
            loss = ours.loss()
            backward(loss, scaler)
            return loss

        loss = run_step(optimizer, closure, scaler=scaler)
        assert loss.item() == other.step(plain.closure(other)).item()
    same(ours, plain, rtol=1e-5 if scaler else 0.0)


def test_clipping_takes_place_once_on_the_final_gradient(problem):
    ours, norms = problem(), []
    optimizer = SAM(ours.params, 'SGD', rho=0.1, lr=0.1)
    clip = lambda: norms.append(torch.nn.utils.clip_grad_norm_(ours.params, 0.25).item())  # noqa: E731
    run_step(optimizer, ours.closure(optimizer), clip=clip)
    assert len(norms) == 1
    assert norms[0] > 0.25
    assert optimizer.grad_norm == pytest.approx(0.25, rel=1e-4)
    assert optimizer.sharpness > 0


@pytest.mark.parametrize('poisoned', [1, 2])
def test_an_overflow_skips_the_step(problem, poisoned):
    ours, passes = problem(dtype=torch.float32), []
    optimizer, scaler = SAM(ours.params, rho=0.1, lr=0.02), SCALERS[0](1024.0)
    before = ours.weights()

    def closure():
        optimizer.zero_grad()
        passes.append(1)
        loss = ours.loss() * (float('inf') if len(passes) == poisoned else 1.0)
        backward(loss, scaler)
        return loss

    run_step(optimizer, closure, scaler=scaler)
    assert len(passes) == poisoned
    assert all(np.array_equal(one, other) for one, other in zip(ours.weights(), before, strict=True))
    assert scaler.get_scale() == 512


def test_both_passes_of_run_step_see_one_network(network):
    """Dropout masks repeat and statistics move once, with a scaler as without."""
    nets, scaler = [network()[0] for _ in range(2)], SCALERS[0](2.0)
    _, x, y = network()
    for net, scaled in zip(nets, (None, scaler), strict=True):
        optimizer = SAM(net.parameters(), 'SGD', rho=0.1, lr=0.1)
        torch.manual_seed(1)

        def closure(net=net, scaled=scaled, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (net(x) - y).square().mean()
            backward(loss, scaled)
            return loss

        run_step(optimizer, closure, net, scaler=scaled)
    assert nets[0][1].num_batches_tracked == 1
    for one, other in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_second_pass_is_left_out_where_none_is_due(problem):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.1, every=2, lr=0.02)
    optimizer.step(ours.closure(optimizer))
    ours.closure(optimizer)()
    assert not second_pass(optimizer, lambda: pytest.fail('a second pass'), 0.0)
    optimizer.step()


# A step without a closure.


def single_pass(ours, optimizer):
    ours.closure(optimizer)()
    return optimizer


def test_a_bare_step_is_refused(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.02)
    before = ours.weights()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r'climb\(\)'):
            single_pass(ours, optimizer).step()
    assert all(np.array_equal(one, other) for one, other in zip(ours.weights(), before, strict=True))
    with optimizer.perturbed():
        ours.closure(optimizer)()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r'climb\(\)'):  # these parts were the last step's
        single_pass(ours, optimizer).step()
    optimizer.step(ours.closure(optimizer))
    with pytest.raises(RuntimeError, match=r'climb\(\)'):
        single_pass(ours, optimizer).step()


@pytest.mark.parametrize('scaler', SCALERS)
def test_a_bare_step_under_a_scaler(problem, scaler):
    ours, scaler = problem(dtype=torch.float32), scaler(1024.0)
    optimizer = SAM(ours.params, rho=0.1, lr=0.02)

    def scaled(factor=1.0):
        optimizer.zero_grad()
        scaler.scale(ours.loss() * factor).backward()

    scaled()
    with pytest.raises(RuntimeError, match=r'climb\(\)'):
        scaler.step(optimizer)
    scaler.update()
    for factor in (1.0, float('inf'), 1.0):  # the second is skipped
        with optimizer.ahead():
            scaled(factor)
        with optimizer.perturbed(skip_nonfinite=True) as climbed:
            if climbed:
                scaled()
        scaler.step(optimizer)
        scaler.update()
    with optimizer.ahead():
        scaled()
    with pytest.raises(RuntimeError, match=r'climb\(\)'):
        scaler.step(optimizer)


def test_a_bare_step_where_no_second_pass_is_due(problem):
    for build in (lambda p: SAM(p, rho=0, lr=0.02), lambda p: MomentumSAM(p, lr=0.02)):
        ours = problem()
        optimizer = build(ours.params)
        single_pass(ours, optimizer).step()
    for kind in (SAM, LookSAM):
        ours = problem()
        optimizer = kind(ours.params, every=2, lr=0.02)
        with pytest.raises(RuntimeError, match=kind.__name__):
            single_pass(ours, optimizer).step()
        optimizer.step(ours.closure(optimizer))
        single_pass(ours, optimizer).step()
        with pytest.raises(RuntimeError, match=kind.__name__):
            single_pass(ours, optimizer).step()


def test_looksam_without_a_direction_needs_a_second_pass(problem):
    ours, other = problem(), problem()
    optimizer, fresh = LookSAM(ours.params, every=3, lr=0.02), LookSAM(other.params, every=3, lr=0.02)
    optimizer.step(ours.closure(optimizer))
    fresh.load_state_dict({key: value for key, value in optimizer.state_dict().items() if key != 'sam'})
    with pytest.raises(RuntimeError, match='LookSAM'):
        single_pass(other, fresh).step()


def test_a_loaded_state_starts_a_step_and_a_copy_continues_one(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.02)
    optimizer.step(ours.closure(optimizer))
    saved = copy.deepcopy(optimizer.state_dict())
    ours.closure(optimizer)()
    with optimizer.perturbed():
        ours.closure(optimizer)()
    for copied in (copy.copy(optimizer), copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        copied.step()
    optimizer.load_state_dict(saved)
    with pytest.raises(RuntimeError, match=r'climb\(\)'):
        optimizer.step()


def test_a_scheduler_that_wraps_step_changes_nothing(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.02)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(RuntimeError, match=r'climb\(\)'):
        single_pass(ours, optimizer).step()
    optimizer.step(ours.closure(optimizer))
    scheduler.step()


# Closures that accumulate.


@pytest.mark.parametrize('set_to_none', [True, False])
@pytest.mark.parametrize('own', [True, False])
def test_closures_that_zero_in_any_way_are_fine(problem, set_to_none, own):
    ours, plain = problem(), problem()
    optimizer, other = SAM(ours.params, lr=0.02), SAM(plain.params, lr=0.02)
    module = nn.ParameterList(ours.params)

    def closure():
        (optimizer if own else module).zero_grad(set_to_none=set_to_none)
        loss = ours.loss()
        (loss / 2).backward()
        (ours.loss() / 2).backward()  # two micro-batches
        return loss

    for _ in range(3):
        optimizer.step(closure)
        other.step(plain.closure(other))
    same(ours, plain, rtol=1e-12)


@pytest.mark.parametrize('build', [BUILDS['SAM'], BUILDS['MomentumSAM']])
def test_a_closure_that_adds_to_earlier_gradients_is_refused(problem, build):
    ours = problem()
    optimizer = build(ours.params)
    optimizer.step(ours.closure(optimizer))
    before, calls = ours.weights(), []

    def closure():
        calls.append(1)
        ours.loss().backward()

    with pytest.raises(RuntimeError, match=r'step\(closure\).*accumulate_grad_batches'):
        optimizer.step(closure)
    assert len(calls) == 1
    assert all(np.array_equal(one, other) for one, other in zip(ours.weights(), before, strict=True))


def test_a_closure_that_never_zeroes_is_refused_in_the_second_pass(problem):
    ours, calls = problem(), []
    optimizer = SAM(ours.params, lr=0.02)
    before = ours.weights()

    def closure():
        calls.append(1)
        ours.loss().backward()

    with pytest.raises(RuntimeError, match=r'step\(closure\).*accumulate_grad_batches'):
        optimizer.step(closure)
    assert len(calls) == 2
    assert all(np.array_equal(one, other) for one, other in zip(ours.weights(), before, strict=True))


# Loops that behave as Lightning's and accelerate's do.


def data():
    generator = torch.Generator().manual_seed(2)
    return [tuple(torch.randn(4, size, generator=generator) for size in (5, 1)) for _ in range(8)]


def linear():
    torch.manual_seed(1)
    net = nn.Linear(5, 1)
    return net, SAM(net.parameters(), 'SGD', rho=0.1, lr=0.1)


def joint_batches(count):
    """The reference: each step has one batch, the micro-batches together."""
    net, optimizer = linear()
    for start in range(0, 8, count):
        x, y = (torch.cat(parts) for parts in zip(*data()[start : start + count], strict=True))

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return net.weight.detach()


def lightning(count):
    """Automatic optimization: the closure zeroes in the first batch of a window, and steps in the last."""
    net, optimizer = linear()
    for index, (x, y) in enumerate(data()):

        def closure(index=index, x=x, y=y):
            loss = nn.functional.mse_loss(net(x), y) / count
            if index % count == 0:
                optimizer.zero_grad()
            loss.backward()
            return loss.detach()

        if (index + 1) % count:
            closure()
        else:
            optimizer.step(closure)
    return net.weight.detach()


class Accelerated:
    """An optimizer as accelerate wraps it: outside a window's last batch nothing is done, not even the closure."""

    def __init__(self, optimizer):
        self.optimizer, self.sync = optimizer, True

    def zero_grad(self):
        if self.sync:
            self.optimizer.zero_grad()

    def step(self, closure=None):
        if self.sync:
            self.optimizer.step(closure)


def accelerate(count):
    """The usual loop, without a closure."""
    net, optimizer = linear()
    optimizer = Accelerated(optimizer)
    for index, (x, y) in enumerate(data(), 1):
        optimizer.sync = index % count == 0
        (nn.functional.mse_loss(net(x), y) / count).backward()
        optimizer.step()
        optimizer.zero_grad()


def documented(count):
    """The recipe of docs/training.md: batches are collected, and the closure runs all of them."""
    net, sam = linear()
    optimizer, window = Accelerated(sam), []
    for batch in data():
        window.append(batch)
        if len(window) < count:
            continue
        batches, window = window, []

        def closure(batches=batches):
            optimizer.zero_grad()
            total = 0.0
            for x, y in batches:
                loss = nn.functional.mse_loss(net(x), y) / len(batches)
                loss.backward()
                total += loss.detach()
            return total

        optimizer.step(repeatable(closure, net))
    return net.weight.detach()


def test_lightning_s_accumulation_is_refused_and_fine_for_one_batch():
    torch.testing.assert_close(lightning(1), joint_batches(1), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match='accumulate_grad_batches'):
        lightning(4)


def test_accelerate_s_accumulation_is_refused():
    with pytest.raises(RuntimeError, match='closure'):
        accelerate(4)


def test_the_documented_recipe_takes_the_step_of_the_joint_batch():
    for count in (1, 4):
        torch.testing.assert_close(documented(count), joint_batches(count))


@pytest.mark.parametrize('count', [1, 4])
def test_accelerate_with_a_closure_of_one_batch_warns(problem, monkeypatch, count):
    class GradientState:
        _shared_state: dict = {'plugin_kwargs': {'num_steps': count}}  # noqa: RUF012
        num_steps = count

    module = types.ModuleType('accelerate.state')
    module.GradientState = GradientState
    monkeypatch.setitem(sys.modules, 'accelerate.state', module)
    ours = problem()
    optimizer = SAM(ours.params, lr=0.02)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        optimizer.step(ours.closure(optimizer))
    assert len(caught) == (count > 1)
    assert all('gradient_accumulation_steps=1' in str(one.message) for one in caught)
