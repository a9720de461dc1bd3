"""A second pass in every k-th step only, what a step reports, and what a state dict adds for it."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from mea_plugin.optim import SAM


def counted(problem, optimizer):
    """A closure, and how often it was called."""
    inner, calls = problem.closure(optimizer), []

    def closure():
        calls.append(1)
        return inner()

    return closure, calls


def passes(problem, optimizer, steps):
    """How many passes each step took."""
    counts = []
    for _ in range(steps):
        closure, calls = counted(problem, optimizer)
        optimizer.step(closure)
        counts.append(len(calls))
    return counts


@pytest.mark.parametrize(('every', 'expected'), [(1, [2] * 7), (2, [2, 1] * 3 + [2]), (3, [2, 1, 1, 2, 1, 1, 2])])
def test_the_first_of_every_few_steps_takes_two_passes(problem, every, expected):
    ours = problem()
    assert passes(ours, SAM(ours.params, every=every, lr=0.01), 7) == expected


def test_steps_between_are_the_base_optimizers(problem, climb_in_numpy):
    ours, by_hand = problem(), problem()
    optimizer = SAM(ours.params, 'Adam', rho=0.2, every=3, lr=0.02)
    base = torch.optim.Adam(by_hand.params, lr=0.02)
    for step in range(7):
        optimizer.step(ours.closure(optimizer))
        weights = by_hand.weights()
        at = climb_in_numpy(weights, by_hand.gradients(weights), [0.2] * 3, [False] * 3) if step % 3 == 0 else weights
        for param, grad in zip(by_hand.params, by_hand.gradients(at), strict=True):
            param.grad = torch.tensor(grad)
        base.step()
    for own, wanted in zip(ours.weights(), by_hand.weights(), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-11, atol=1e-13)


def test_the_parts_know_whether_a_second_pass_is_due(problem):
    whole, parts = problem(), problem()
    one, other = (SAM(each.params, rho=0.1, every=2, lr=0.02) for each in (whole, parts))
    climbed = []
    for _ in range(4):
        one.step(whole.closure(one))
        closure = parts.closure(other)
        due = other.second_pass_due
        with other.ahead():
            closure()
        with other.perturbed() as moved:
            climbed.append(moved)
            assert moved == due == other.second_pass_due
            if moved:
                closure()
        other.complete()
        other.step()
    assert climbed == [True, False, True, False]
    for left, right in zip(whole.weights(), parts.weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_step_that_was_not_taken_is_not_counted(problem):
    ours = problem()
    optimizer = SAM(ours.params, every=3, lr=0.01)
    closure = ours.closure(optimizer)
    for _ in range(2):
        with pytest.raises(FloatingPointError):
            optimizer.step(lambda: (closure(), ours.params[0].grad.fill_(math.nan)))
    with optimizer.perturbed(skip_nonfinite=True) as climbed:
        assert not climbed
    assert passes(ours, optimizer, 4) == [2, 1, 1, 2]


def test_without_a_radius_none_is_due(problem):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.0, lr=0.01)
    assert not optimizer.second_pass_due
    assert not optimizer.climb()
    optimizer.param_groups[0]['rho'] = 0.1
    assert optimizer.second_pass_due


@pytest.mark.parametrize('steps', [1, 2, 3, 4])
def test_goes_on_in_the_middle_of_a_period(problem, tmp_path, steps):
    ours, resumed = problem(dtype=torch.float32), problem(dtype=torch.float32)
    optimizer = SAM(ours.params, rho=0.1, every=3, lr=0.02)
    passes(ours, optimizer, steps)
    torch.save([[param.detach() for param in ours.params], optimizer.state_dict()], tmp_path / 'state.pth')
    weights, state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert state['sam'] == {'steps': steps}
    other = SAM(resumed.params, rho=0.1, every=3, lr=0.5)
    other.load_state_dict(state)
    for param, weight in zip(resumed.params, weights, strict=True):
        param.data.copy_(weight)
    assert passes(ours, optimizer, 5) == passes(resumed, other, 5)
    for left, right in zip(ours.weights(), resumed.weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_state_dicts_of_others_start_a_period(problem):
    ours, plain = problem(), problem()
    adam = torch.optim.Adam(plain.params, lr=0.01)
    optimizer = SAM(ours.params, every=3, lr=0.01)
    passes(ours, optimizer, 2)
    adam.load_state_dict(optimizer.state_dict())
    adam.step(plain.closure(adam))
    assert 'sam' not in SAM(problem().params).state_dict()
    optimizer.load_state_dict(adam.state_dict())
    assert passes(ours, optimizer, 3) == [2, 1, 1]


@pytest.mark.parametrize('entry', [3, {'steps': -1}, {'steps': '3'}, {'steps': True}, {'steps': None}])
def test_a_state_dict_with_another_count_is_refused(problem, entry):
    ours = problem()
    optimizer = SAM(ours.params, every=3, lr=0.01)
    passes(ours, optimizer, 1)
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"\bSAM\b.*'sam'"):
        optimizer.load_state_dict({**state, 'sam': entry})
    assert optimizer.state_dict()['sam'] == {'steps': 1}


@pytest.mark.parametrize('copier', [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_count_on(problem, copier):
    ours = problem()
    optimizer = SAM(ours.params, every=3, first_pass='local', lr=0.01)
    passes(ours, optimizer, 2)
    twin = problem()
    copied, twin.params = copier((optimizer, ours.params))
    assert copied.first_pass == 'local'
    assert passes(twin, copied, 3) == passes(ours, optimizer, 3) == [1, 2, 1]


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        ({'every': 0}, ('every', ' 1', ' 0')),
        ({'every': 2.0}, ('every', ' 2.0')),
        ({'every': True}, ('every', ' True')),
        ({'every': '2'}, ('every', "'2'")),
        ({'first_pass': 'global'}, ('first_pass', "'averaged'", "'local'", "'global'")),
        ({'first_pass': None}, ('first_pass', ' None')),
    ],
)
def test_options_that_are_refused(problem, options, names):
    with pytest.raises(ValueError, match='.') as caught:
        SAM(problem().params, **options)
    assert all(name in str(caught.value) for name in names)


def test_first_pass_is_held_for_whoever_runs_the_passes(problem):
    assert SAM(problem().params).first_pass == 'averaged'
    assert SAM(problem().params, first_pass='local').first_pass == 'local'


def test_sharpness_is_the_loss_higher_up(problem, climb_in_numpy):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.3, every=2, lr=0.01)
    assert optimizer.sharpness is None
    weights = ours.weights()
    up = climb_in_numpy(weights, ours.gradients(weights), [0.3] * 3, [False] * 3)
    expected = ours.loss([torch.tensor(w) for w in up]) - ours.loss()
    optimizer.step(ours.closure(optimizer))
    seen = optimizer.sharpness
    assert seen.shape == ()
    assert not seen.requires_grad
    torch.testing.assert_close(seen, expected.detach(), rtol=1e-12, atol=0)
    optimizer.step(ours.closure(optimizer))  # one pass: the last value stays
    assert optimizer.sharpness is seen


@pytest.mark.parametrize('returned', [None, 'a loss', torch.zeros(2)])
def test_a_closure_that_returns_no_loss_has_no_sharpness(problem, returned):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.01)
    closure = ours.closure(optimizer)
    optimizer.step(lambda: (closure(), returned)[1])
    assert optimizer.sharpness is None


def test_the_gradient_norm_is_of_what_the_base_steps_with(problem, climb_in_numpy):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.3, lr=0.01)
    assert optimizer.grad_norm is None
    weights = ours.weights()
    grads = ours.gradients(climb_in_numpy(weights, ours.gradients(weights), [0.3] * 3, [False] * 3))
    optimizer.step(ours.closure(optimizer))
    assert optimizer.grad_norm == pytest.approx(math.sqrt(sum(np.sum(grad**2) for grad in grads)), rel=1e-12)
    with optimizer.perturbed():
        ours.closure(optimizer)()
    total = torch.nn.utils.clip_grad_norm_(ours.params, 0.25)
    assert total > 0.25
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(0.25, rel=1e-4)
