"""Whatever goes wrong, the weights are at ``w``, the base optimizer has not stepped, and training can go on."""

from __future__ import annotations

import copy
import math
import pickle
import re

import pytest
import torch

from mea_plugin.optim import SAM, NonFiniteGradientError, ascent, sam
from tests.optim.interrupts import interrupt_at


class Trap:
    """A closure that springs on one of its calls."""

    def __init__(self, problem, optimizer, call, spring):
        self.inner = problem.closure(optimizer)
        self.call, self.spring, self.calls = call, spring, 0

    def __call__(self):
        self.calls += 1
        loss = self.inner()
        if self.calls == self.call:
            self.spring()
        return loss


def raiser(error):
    def spring():
        raise error

    return spring


def snapshot(problem, optimizer):
    return copy.deepcopy([[param.detach() for param in problem.params], optimizer.state_dict()])


def assert_same(one, other):
    """Equal bit by bit, through lists and dicts."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def trained(problem, adaptive=False, **options):
    """A problem and its optimizer after one step, so that there is state to lose."""
    each = problem(dtype=torch.float32)
    optimizer = SAM(each.params, 'Adam', rho=0.1, adaptive=adaptive, **{'lr': 0.01, **options})
    optimizer.step(each.closure(optimizer))
    return each, optimizer


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize('error', [ValueError('broken'), KeyboardInterrupt(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize('call', [1, 2])
def test_what_a_closure_raises(problem, call, error, adaptive):
    ours, optimizer = trained(problem, adaptive)
    before = snapshot(ours, optimizer)
    trap = Trap(ours, optimizer, call, raiser(error))
    with pytest.raises(type(error)):
        optimizer.step(trap)
    assert trap.calls == call
    assert not optimizer.climbed
    assert_same(snapshot(ours, optimizer), before)
    undisturbed, other = trained(problem, adaptive)
    optimizer.step(ours.closure(optimizer))
    other.step(undisturbed.closure(other))
    assert_same(snapshot(ours, optimizer), snapshot(undisturbed, other))


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(('call', 'point'), [(1, 'w'), (2, 'w + e')])
def test_a_gradient_that_is_not_finite(problem, call, point, value, adaptive):
    ours, optimizer = trained(problem, adaptive)
    before = snapshot(ours, optimizer)

    def poison():
        ours.params[1].grad[1, 2] = value
        ours.params[2].grad.fill_(value)

    said = rf'\(at {re.escape(point)}\).*\b1\b.*\b15\b.*\(group 0, index 1, shape \(3, 5\)\).*\b1\b'
    with pytest.raises(NonFiniteGradientError, match=said):
        optimizer.step(Trap(ours, optimizer, call, poison))
    assert not optimizer.climbed
    assert_same(snapshot(ours, optimizer), before)
    optimizer.step(ours.closure(optimizer))


def test_a_named_parameter_is_named(problem):
    ours = problem()
    named = [(f'layer{index}.weight', param) for index, param in enumerate(ours.params)]
    try:
        torch.optim.SGD(named, lr=0.1)
    except TypeError:
        pytest.skip('this torch takes no named parameters')
    optimizer = SAM(named, lr=0.1)
    ours.closure(optimizer)()
    ours.params[2].grad[0, 0] = math.nan
    with pytest.raises(NonFiniteGradientError, match=r"'layer2\.weight' \(group 0, index 2"):
        optimizer.climb()


def test_without_a_closure_the_gradients_are_checked_too(problem):
    ours, optimizer = trained(problem)
    before = snapshot(ours, optimizer)
    with optimizer.perturbed():
        ours.params[0].grad[0, 0] = math.nan
    with pytest.raises(NonFiniteGradientError, match=r'step\(\).*\bindex 0\b'):
        optimizer.step()
    assert_same(snapshot(ours, optimizer), before)


def test_rho_zero_refuses_them_as_well(problem):
    ours = problem()
    optimizer = SAM(ours.params, rho=0, lr=0.1)
    before = snapshot(ours, optimizer)
    with pytest.raises(NonFiniteGradientError, match=r'\b1\b.*\b12\b'):
        optimizer.step(Trap(ours, optimizer, 1, lambda: ours.params[0].grad[0].data[0].fill_(math.inf)))
    assert_same(snapshot(ours, optimizer), before)


def test_weight_times_gradient_may_overflow():
    param = torch.nn.Parameter(torch.full((2,), 1e30))
    optimizer = SAM([param], adaptive=True, lr=0.1)
    param.grad = torch.full((2,), 1e30)
    with pytest.raises(NonFiniteGradientError, match=r'\(at w\)') as caught:
        optimizer.climb()
    assert 'index' not in caught.value.what  # each gradient by itself is finite
    assert torch.equal(param, torch.full((2,), 1e30))


def test_an_error_in_the_arithmetic_itself(problem, monkeypatch):
    ours, optimizer = trained(problem, adaptive=True)
    before = snapshot(ours, optimizer)

    def out_of_memory(*_args, **_kwargs):
        raise RuntimeError('out of memory')

    ours.closure(optimizer)()
    monkeypatch.setattr(torch, '_foreach_add_', out_of_memory)  # the last of the four operations of the climb
    with pytest.raises(RuntimeError, match='out of memory'):
        optimizer.climb()
    assert not optimizer.climbed
    assert_same(snapshot(ours, optimizer), before)


def test_an_error_between_the_parts(problem):
    ours, optimizer = trained(problem)
    before = snapshot(ours, optimizer)
    ours.closure(optimizer)()
    with pytest.raises(KeyboardInterrupt), optimizer.perturbed() as climbed:
        assert climbed
        assert optimizer.climbed
        assert not torch.equal(ours.params[0], before[0][0])
        raise KeyboardInterrupt
    assert_same(snapshot(ours, optimizer), before)


def test_the_way_back_does_not_depend_on_what_the_weights_became(problem):
    ours, optimizer = trained(problem)
    before = snapshot(ours, optimizer)
    ours.closure(optimizer)()
    optimizer.climb()
    with torch.no_grad():
        ours.params[0].fill_(math.nan)
    for param in ours.params:
        param.grad = None
    optimizer.restore()
    assert_same(snapshot(ours, optimizer), before)


@pytest.mark.parametrize('misuse', ['climb', 'step', 'step_closure'])
def test_parts_in_the_wrong_order(problem, misuse):
    ours, optimizer = trained(problem)
    before = snapshot(ours, optimizer)
    closure = ours.closure(optimizer)
    closure()
    optimizer.climb()
    call = {'climb': optimizer.climb, 'step': optimizer.step, 'step_closure': lambda: optimizer.step(closure)}[misuse]
    with pytest.raises(RuntimeError, match=r'climb\(\).*restore\(\)'):
        call()
    assert_same(snapshot(ours, optimizer), before)
    optimizer.restore()  # harmless at w
    assert_same(snapshot(ours, optimizer), before)


@pytest.mark.parametrize('copier', [copy.deepcopy, pickle.dumps], ids=['deepcopy', 'pickle'])
def test_no_copy_is_made_away_from_w(problem, copier):
    ours, optimizer = trained(problem)
    ours.closure(optimizer)()
    with optimizer.perturbed(), pytest.raises(RuntimeError, match=r'climb\(\).*restore\(\)'):
        copier(optimizer)


def test_sparse_gradients_are_refused():
    table = torch.nn.Embedding(10, 3, sparse=True)
    optimizer = SAM(table.parameters(), 'SGD', lr=0.1)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match=r'torch\.sparse_coo\b.*\(group 0, index 0\b'):
        optimizer.climb()
    assert not optimizer.climbed


def test_an_interrupt_at_any_line_of_the_climb(problem):
    """Ctrl-C may strike between any two lines, on the way up or back: traced, one run per line."""
    files = {ascent.__file__, sam.__file__}
    struck = 0
    for line in range(1, 200):
        ours, optimizer = trained(problem, adaptive=True)
        before = snapshot(ours, optimizer)
        ours.closure(optimizer)()
        seen, interrupted = interrupt_at(line, files, optimizer.perturbed)
        struck += interrupted
        if seen < line:
            break
        assert not optimizer.climbed, f'line event {line}'
        assert_same(snapshot(ours, optimizer), before)
    assert struck > 30
