"""LookSAM against its algorithm, written out in numpy one number after the other."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from mea_plugin.optim import SAM, LookSAM, NonFiniteGradientError


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def unflat(vector, like):
    pieces, start = [], 0
    for array in like:
        pieces.append(vector[start : start + array.size].reshape(array.shape))
        start += array.size
    return pieces


def by_hand(problem, climb, base, *, rho=0.2, every=3, alpha=0.7, adaptive=False, steps=7):
    """Algorithm 1, with the cosine as the paper has it; any torch optimizer steps with the gradients found."""
    for step in range(steps):
        weights = problem.weights()
        grads = problem.gradients(weights)
        g = flat(grads)
        if step % every == 0:
            up = climb(weights, grads, [rho] * len(weights), [adaptive] * len(weights))
            used = flat(problem.gradients(up))
            cosine = sum(a * b for a, b in zip(g, used, strict=True)) / np.linalg.norm(g) / np.linalg.norm(used)
            across = used - np.linalg.norm(used) * cosine * g / np.linalg.norm(g)
        else:
            used = g + alpha * np.linalg.norm(g) / np.linalg.norm(across) * across
        for param, grad in zip(problem.params, unflat(used, grads), strict=True):
            param.grad = torch.tensor(grad)
        base.step()
    return problem.weights()


def run(problem, optimizer, steps):
    for _ in range(steps):
        optimizer.step(problem.closure(optimizer))
    return problem.weights()


def assert_close(one, other, rtol=1e-10):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=1e-13)


def assert_equal(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize(
    ('name', 'options'), [('SGD', {'momentum': 0.9}), ('Adam', {'weight_decay': 1e-2}), ('AdamW', {'foreach': True})]
)
def test_steps_follow_the_algorithm(problem, climb_in_numpy, name, options, adaptive):
    by, ours = problem(), problem()
    base = getattr(torch.optim, name)(by.params, lr=0.02, **options)
    expected = by_hand(by, climb_in_numpy, base, adaptive=adaptive)
    optimizer = LookSAM(ours.params, name, rho=0.2, every=3, adaptive=adaptive, lr=0.02, **options)
    assert_close(run(ours, optimizer, 7), expected)


@pytest.mark.parametrize('alpha', [0.0, 0.3, 2])
def test_alpha_is_the_share_that_is_added(problem, climb_in_numpy, alpha):
    by, ours = problem(), problem()
    expected = by_hand(by, climb_in_numpy, torch.optim.SGD(by.params, lr=0.02), alpha=alpha, every=2)
    assert_close(run(ours, LookSAM(ours.params, 'SGD', rho=0.2, every=2, alpha=alpha, lr=0.02), 7), expected)


def test_the_defaults_are_the_papers(problem):
    optimizer = LookSAM(problem().params)
    assert (optimizer.every, optimizer.alpha) == (5, 0.7)
    calls = []
    ours = problem()
    optimizer = LookSAM(ours.params, lr=0.01)
    for _ in range(6):
        closure = ours.closure(optimizer)
        optimizer.step(lambda closure=closure: (calls.append(1), closure())[1])
    assert len(calls) == 8


def test_every_one_is_sam(problem):
    one, other = problem(), problem()
    look, sam = LookSAM(one.params, every=1, rho=0.2, lr=0.02), SAM(other.params, rho=0.2, lr=0.02)
    assert_equal(run(one, look, 4), run(other, sam, 4))
    assert look.state_dict().keys() == sam.state_dict().keys()


def test_without_a_radius_it_is_the_base_optimizer(problem):
    one, other = problem(), problem()
    adam = torch.optim.Adam(other.params, lr=0.02)
    assert_equal(run(one, LookSAM(one.params, rho=0.0, lr=0.02), 4), run(other, adam, 4))


def test_what_is_added_is_across_and_in_proportion(problem):
    ours = problem()
    optimizer = LookSAM(ours.params, rho=0.2, alpha=0.7, lr=0.02)
    run(ours, optimizer, 1)
    ours.closure(optimizer)()
    before = flat([param.grad.numpy().copy() for param in ours.params])
    optimizer.complete()
    added = flat([param.grad.numpy() for param in ours.params]) - before
    assert np.linalg.norm(added) == pytest.approx(0.7 * np.linalg.norm(before), rel=1e-12)
    optimizer.complete()  # only once
    np.testing.assert_allclose(flat([param.grad.numpy() for param in ours.params]) - before, added, rtol=1e-9)
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(np.linalg.norm(before + added), rel=1e-12)


def test_groups_share_one_direction(problem, climb_in_numpy):
    by, ours = problem(), problem()
    expected = by_hand(by, climb_in_numpy, torch.optim.SGD(by.params, lr=0.02))
    groups = [{'params': [param]} for param in ours.params]
    assert_close(run(ours, LookSAM(groups, 'SGD', rho=0.2, every=3, lr=0.02), 7), expected)


def test_maximising_is_minimising_the_negative(problem):
    results = []
    for sign in (1, -1):
        ours = problem()
        optimizer = LookSAM(ours.params, 'SGD', rho=0.1, every=2, lr=0.01, maximize=sign < 0)

        def closure(ours=ours, optimizer=optimizer, sign=sign):
            optimizer.zero_grad()
            (sign * ours.loss()).backward()

        for _ in range(4):
            optimizer.step(closure)
        results.append(ours.weights())
    assert_close(*results, rtol=1e-13)


def test_parallel_gradients_leave_nothing_to_add():
    """One number: whatever the second pass finds, it is along the gradient; rounding must not be blown up."""
    for dtype in (torch.float32, torch.float64):
        param, plain = (torch.nn.Parameter(torch.tensor([1.3], dtype=dtype)) for _ in range(2))
        look, base = LookSAM([param], 'SGD', rho=0.3, every=4, lr=0.01), torch.optim.SGD([plain], lr=0.01)

        def closure(optimizer, weight):
            optimizer.zero_grad()
            loss = (weight**4).sum() + weight.cos().sum()
            loss.backward()
            return loss

        look.step(lambda look=look, param=param: closure(look, param))
        plain.data.copy_(param.data)
        for _ in range(3):
            look.step(lambda look=look, param=param: closure(look, param))
            base.step(lambda base=base, plain=plain: closure(base, plain))
        assert torch.equal(param, plain)


@pytest.mark.parametrize('scale', [1e-30, 1e30])
def test_the_gradients_scale_changes_nothing(problem, scale):
    """A plain step along the gradient over its norm, in float32, where squares of these do not fit."""
    results = []
    for factor in (1.0, scale):
        ours = problem(dtype=torch.float32)
        optimizer = LookSAM(ours.params, 'SGD', rho=0.2, every=3, lr=0.02)
        for _ in range(6):
            ours.closure(optimizer)()
            with optimizer.perturbed() as climbed:
                if climbed:
                    optimizer.zero_grad()
                    (ours.loss() * factor).backward()
            if not climbed:
                for param in ours.params:
                    param.grad.mul_(factor)
            optimizer.complete()
            for param in ours.params:
                param.grad.div_(factor)
            optimizer.step()
        results.append(ours.weights())
    assert_close(*results, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(4)
    half = [torch.nn.Parameter(torch.randn(40, 30).to(dtype)), torch.nn.Parameter(torch.randn(50).to(dtype))]
    full = [torch.nn.Parameter(param.detach().float()) for param in half]
    optimizers = [LookSAM(params, 'SGD', rho=1.0, every=2, lr=0.0) for params in (half, full)]
    targets = [torch.randn(param.shape).to(dtype).float() for param in half]
    for step in range(2):
        for params, optimizer in zip((half, full), optimizers, strict=True):
            first = [(target + step).to(dtype) for target in targets]
            for param, grad in zip(params, first, strict=True):
                param.grad = grad.to(param.dtype)
            with optimizer.perturbed() as climbed:
                if climbed:
                    for param, grad in zip(params, first, strict=True):
                        param.grad = (grad.float().abs() + 0.1).to(dtype).to(param.dtype)
            optimizer.complete()
            if step:
                continue
            optimizer.step()
    for one, other in zip(half, full, strict=True):
        assert one.grad.dtype == dtype
        torch.testing.assert_close(one.grad.float(), other.grad, rtol=torch.finfo(dtype).eps, atol=1e-4)


def test_complex_parameters_count_as_pairs_of_numbers():
    results = []
    for as_complex in (True, False):
        torch.manual_seed(5)
        pairs = torch.randn(4, 3, 2, dtype=torch.float64)
        param = torch.nn.Parameter(torch.view_as_complex(pairs) if as_complex else pairs)
        optimizer = LookSAM([param], 'SGD', rho=0.2, every=3, lr=0.02)

        def closure(optimizer=optimizer, param=param, as_complex=as_complex):
            optimizer.zero_grad()
            value = torch.view_as_real(param) if as_complex else param
            loss = (value**4).sum() + (value.sin() * torch.arange(2)).sum()
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        state = optimizer.state_dict()['sam']['direction'][0]
        assert state.shape == (4, 3, 2)
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step(closure)
        results.append(torch.view_as_real(param.detach()) if as_complex else param.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize('steps', [1, 2, 3, 4, 6])
def test_goes_on_bit_for_bit_in_the_middle_of_a_period(problem, tmp_path, steps):
    ours, resumed = problem(dtype=torch.float32), problem(dtype=torch.float32)
    optimizer = LookSAM(ours.params, rho=0.1, every=3, lr=0.02)
    run(ours, optimizer, steps)
    torch.save([[param.detach() for param in ours.params], optimizer.state_dict()], tmp_path / 'state.pth')
    weights, state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert ('direction' in state['sam']) == (steps % 3 != 0)
    other = LookSAM(resumed.params, rho=0.1, every=3, lr=0.5)
    run(resumed, other, 2)  # a period and a direction of its own, which must give way
    other.load_state_dict(state)
    for param, weight in zip(resumed.params, weights, strict=True):
        param.data.copy_(weight)
    assert_equal(run(ours, optimizer, 5), run(resumed, other, 5))


@pytest.mark.parametrize('copier', [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_go_on_with_their_own_direction(problem, copier):
    ours, twin = problem(), problem()
    optimizer = LookSAM(ours.params, rho=0.1, every=4, lr=0.02)
    run(ours, optimizer, 2)
    copied, twin.params = copier((optimizer, ours.params))
    assert_equal(run(ours, optimizer, 4), run(twin, copied, 4))


def test_state_dicts_are_exchanged_with_other_optimizers(problem):
    ours, plain = problem(), problem()
    adam = torch.optim.Adam(plain.params, lr=0.02)
    run(plain, adam, 2)
    optimizer = LookSAM(ours.params, lr=0.02)
    run(ours, optimizer, 2)
    adam.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(adam.state_dict())
    assert optimizer.second_pass_due
    sam = SAM(problem().params, every=5, lr=0.02)
    sam.load_state_dict(optimizer.state_dict())
    sam.load_state_dict({**optimizer.state_dict(), 'sam': {'steps': 3}})
    optimizer.load_state_dict(sam.state_dict())  # in the middle of a period, and without a direction
    assert optimizer.second_pass_due
    run(ours, optimizer, 1)
    assert not optimizer.second_pass_due


@pytest.mark.parametrize(
    'direction', [3, {0: torch.zeros(4, 4)}, {7: torch.zeros(4, 3)}, {'0': torch.zeros(4, 3)}, {0: 1.0}]
)
def test_another_networks_direction_is_refused(problem, direction):
    ours = problem()
    optimizer = LookSAM(ours.params, lr=0.02)
    run(ours, optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"LookSAM\b.*'sam'.*\bdirection\b"):
        optimizer.load_state_dict({**before, 'sam': {'steps': 2, 'direction': direction}})
    assert all(
        torch.equal(optimizer.state_dict()['sam']['direction'][i], before['sam']['direction'][i]) for i in (0, 1)
    )


def test_a_new_parameter_waits_for_the_next_direction(problem):
    ours = problem()
    optimizer = LookSAM(ours.params[:2], 'SGD', rho=0.1, every=3, lr=0.02)
    run(ours, optimizer, 1)
    optimizer.add_param_group({'params': ours.params[2:]})
    ours.closure(optimizer)()
    grad = ours.params[2].grad.clone()
    optimizer.complete()
    assert torch.equal(ours.params[2].grad, grad)
    optimizer.step()
    run(ours, optimizer, 2)
    ours.closure(optimizer)()
    grad = ours.params[2].grad.clone()
    optimizer.complete()
    assert not torch.equal(ours.params[2].grad, grad)


@pytest.mark.parametrize('call', [1, 2, 3, 4])
def test_after_a_failure_training_goes_on_as_if_it_had_not_been(problem, call):
    """The calls of two periods of two steps: first pass, second pass, plain, first pass again."""
    ours, undisturbed = problem(), problem()
    optimizer, other = (LookSAM(each.params, rho=0.1, every=2, lr=0.02) for each in (ours, undisturbed))
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        loss = ours.closure(optimizer)()
        if calls == call:
            raise KeyboardInterrupt
        return loss

    for _ in range(2):
        before = ours.weights()
        try:
            optimizer.step(closure)
        except KeyboardInterrupt:
            assert_equal(ours.weights(), before)
            optimizer.step(closure)
    assert_equal(run(ours, optimizer, 3), run(undisturbed, other, 5))


@pytest.mark.parametrize('call', [1, 2, 3])
def test_gradients_that_are_not_finite(problem, call):
    ours = problem()
    optimizer = LookSAM(ours.params, rho=0.1, every=2, lr=0.02)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        loss = ours.closure(optimizer)()
        if calls == call:
            ours.params[0].grad[0, 0] = math.nan
        return loss

    with pytest.raises(NonFiniteGradientError, match=r'\b1\b.*\b12\b'):
        for _ in range(2):
            before = ours.weights()
            optimizer.step(closure)
    assert_equal(ours.weights(), before)
    run(ours, optimizer, 2)
    assert all(np.isfinite(weight).all() for weight in ours.weights())


def test_under_a_scaler_as_without(problem):
    """Overflows included: a step that is skipped is tried again, and its direction is not kept."""
    plain, scaled = problem(), problem()
    one, other = (LookSAM(each.params, rho=0.1, every=3, lr=0.02) for each in (plain, scaled))
    scale, overflows = 2.0**16, {2, 5}
    passes = 0

    def backward():
        nonlocal passes
        passes += 1
        other.zero_grad()
        (scaled.loss() * scale * (math.inf if passes in overflows else 1)).backward()

    taken = 0
    while taken < 6:
        backward()
        with other.perturbed(skip_nonfinite=True) as climbed:
            if climbed:
                backward()
        other.complete()
        if all(torch.isfinite(param.grad).all() for param in scaled.params):
            for param in scaled.params:
                param.grad.div_(scale)
            other.step()
            taken += 1
    assert_close(run(plain, one, 6), scaled.weights(), rtol=1e-9)


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        ({'alpha': -0.1}, ('alpha', ' -0.1', '0.7')),
        ({'alpha': math.nan}, ('alpha', ' nan')),
        ({'alpha': 'a'}, ('alpha', "'a'")),
        ({'alpha': True}, ('alpha', ' True')),
        ({'every': 0}, ('every', ' 0')),
        ({'first_pass': 'local'}, ('LookSAM', "first_pass='local'", "first_pass='averaged'")),
        ({'base_optimizer': 'RMSprop'}, ('base_optimizer', 'RMSprop', "'alpha'", 'LookSAM')),
        ({'base_optimizer': LookSAM}, ('base_optimizer', 'LookSAM', 'climb')),
    ],
)
def test_options_that_are_refused(problem, options, names):
    with pytest.raises(ValueError, match='.') as caught:
        LookSAM(problem().params, **options)
    assert all(name in str(caught.value) for name in names)


def test_completing_away_from_w_is_refused(problem):
    ours = problem()
    optimizer = LookSAM(ours.params, lr=0.02)
    before = ours.weights()
    ours.closure(optimizer)()
    optimizer.climb()
    with pytest.raises(RuntimeError, match=r'complete\(\).*climb\(\).*restore\(\)'):
        optimizer.complete()
    assert_equal(ours.weights(), before)


def test_each_step_is_completed_whoever_drops_the_gradients(problem):
    """Also where that is the network's ``zero_grad``, of which the optimizer hears nothing."""
    ours, plain = problem(), problem()
    optimizer, other = (LookSAM(each.params, rho=0.1, every=4, lr=0.02) for each in (ours, plain))
    run(plain, other, 4)
    run(ours, optimizer, 1)
    for _ in range(3):
        for param in ours.params:
            param.grad = None
        ours.loss().backward()
        optimizer.step()
    assert_equal(ours.weights(), plain.weights())
