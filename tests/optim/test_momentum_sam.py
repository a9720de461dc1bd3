"""Momentum-SAM against its algorithm, written out in numpy, and its way there and back."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from mea_plugin.optim import MomentumSAM, NonFiniteGradientError, ascent, momentum_sam, sam
from tests.optim.interrupts import interrupt_at


def ahead_in_numpy(weights, momenta, rho, adaptive):
    """Against the momentum: the way the base optimizer goes. Without momentum nowhere."""
    total = sum(np.sum((w * m if adaptive else m) ** 2) for w, m in zip(weights, momenta, strict=True))
    norm = math.sqrt(total)
    if not norm:
        return weights
    return [w - rho * (w**2 if adaptive else 1) * m / norm for w, m in zip(weights, momenta, strict=True)]


def sgd_by_hand(problem, *, rho, adaptive, lr=0.02, mu=0.9, steps=6):
    weights, momenta = problem.weights(), [np.zeros_like(weight) for weight in problem.weights()]
    for _ in range(steps):
        grads = problem.gradients(ahead_in_numpy(weights, momenta, rho, adaptive))
        momenta = [mu * m + g for m, g in zip(momenta, grads, strict=True)]
        weights = [w - lr * m for w, m in zip(weights, momenta, strict=True)]
    return weights


def adam_by_hand(problem, *, rho, adaptive, lr=0.02, steps=6):
    weights = problem.weights()
    m, v = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    for step in range(1, steps + 1):
        grads = problem.gradients(ahead_in_numpy(weights, m, rho, adaptive))
        m = [0.9 * old + 0.1 * g for old, g in zip(m, grads, strict=True)]
        v = [0.999 * old + 0.001 * g**2 for old, g in zip(v, grads, strict=True)]
        for index, weight in enumerate(weights):
            mean, square = m[index] / (1 - 0.9**step), v[index] / (1 - 0.999**step)
            weights[index] = weight - lr * mean / (np.sqrt(square) + 1e-8)
    return weights


def run(problem, optimizer, steps):
    for _ in range(steps):
        optimizer.step(problem.closure(optimizer))
    return problem.weights()


def assert_equal(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def assert_close(one, other, rtol=1e-11):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=1e-13)


def trained(problem, base='Adam', steps=2, **options):
    ours = problem()
    optimizer = MomentumSAM(ours.params, base, **{'rho': 0.3, 'lr': 0.02, **options})
    run(ours, optimizer, steps)
    return ours, optimizer


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize(
    ('name', 'options', 'by_hand'), [('SGD', {'momentum': 0.9}, sgd_by_hand), ('Adam', {}, adam_by_hand)]
)
def test_steps_follow_the_algorithm(problem, name, options, by_hand, adaptive):
    ours = problem()
    optimizer = MomentumSAM(ours.params, name, rho=0.3, adaptive=adaptive, lr=0.02, **options)
    assert_close(run(ours, optimizer, 6), by_hand(problem(), rho=0.3, adaptive=adaptive))


@pytest.mark.parametrize(
    ('name', 'options'),
    [('SGD', {'momentum': 0.9, 'nesterov': True}), ('RMSprop', {'momentum': 0.5})]
    + [(name, {}) for name in ('Adam', 'AdamW', 'NAdam', 'RAdam', 'Adamax')],
)
def test_without_a_radius_it_is_the_base_optimizer(problem, name, options):
    results = []
    for build in (lambda p: MomentumSAM(p, name, rho=0, lr=0.02, **options), None):
        each = problem()
        optimizer = build(each.params) if build else getattr(torch.optim, name)(each.params, lr=0.02, **options)
        results.append(run(each, optimizer, 4))
    assert_equal(*results)
    moved, optimizer = trained(problem, name, 4, **options)
    assert not np.array_equal(moved.weights()[0], results[0][0])
    assert optimizer.sharpness is None


def test_one_pass_whose_place_is_ahead(problem):
    ours, optimizer = trained(problem)
    before, seen = ours.weights(), []
    closure = ours.closure(optimizer)
    optimizer.step(lambda: (seen.append(ours.weights()), closure())[1])
    assert len(seen) == 1
    moved = math.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(seen[0], before, strict=True)))
    assert moved == pytest.approx(0.3, rel=1e-12)
    assert not optimizer.second_pass_due
    assert not optimizer.climb()


def test_the_parts_are_the_step(problem):
    (whole, one), (parts, other), (within, third) = (trained(problem) for _ in range(3))
    for _ in range(3):
        one.step(whole.closure(one))
        with other.ahead():
            parts.closure(other)()
        assert not other.climbed
        with other.perturbed() as climbed:
            assert not climbed
        other.complete()
        other.step()
        with third.ahead():
            with third.ahead():
                within.closure(third)()
            assert third.climbed
            third.step()
            assert not third.climbed
    assert_equal(whole.weights(), parts.weights())
    assert_equal(whole.weights(), within.weights())


def test_a_closure_inside_goes_ahead_once(problem):
    (plain, one), (nested, other) = (trained(problem) for _ in range(2))
    one.step(plain.closure(one))
    with other.ahead():
        other.step(nested.closure(other))
    assert_equal(plain.weights(), nested.weights())


def test_micro_batches_find_the_same_place(problem):
    ours, optimizer = trained(problem)
    seen = []
    for _ in range(2):
        with optimizer.ahead():
            seen.append(ours.weights())
    assert_equal(*seen)


def test_each_group_has_its_own_rho_under_one_norm(problem):
    ours = problem()
    first, second, third = ours.params
    groups = [{'params': [first], 'rho': 0.3}, {'params': [second], 'rho': 0.0}, {'params': [third], 'adaptive': True}]
    optimizer = MomentumSAM(groups, 'SGD', rho=0.1, lr=0.02, momentum=0.9)
    run(ours, optimizer, 2)
    before = ours.weights()
    momenta = [optimizer.state[param]['momentum_buffer'].numpy() for param in ours.params]
    stretch = [1, 1, np.abs(before[2])]
    norm = math.sqrt(sum(np.sum((t * m) ** 2) for t, m in zip(stretch, momenta, strict=True)))
    expected = [w - r * t**2 * m / norm for w, r, t, m in zip(before, (0.3, 0.0, 0.1), stretch, momenta, strict=True)]
    with optimizer.ahead():
        assert_close(ours.weights(), expected, rtol=1e-13)
        assert np.array_equal(ours.weights()[1], before[1])
    assert_equal(ours.weights(), before)


def test_maximising_is_minimising_the_negative(problem):
    results = []
    for sign in (1, -1):
        ours = problem()
        optimizer = MomentumSAM(ours.params, rho=0.3, lr=0.02, maximize=sign < 0)

        def closure(ours=ours, optimizer=optimizer, sign=sign):
            optimizer.zero_grad()
            (sign * ours.loss()).backward()

        for _ in range(4):
            optimizer.step(closure)
        results.append(ours.weights())
    assert_close(*results, rtol=1e-13)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_returns_to_the_bit(problem, dtype):
    ours = problem(dtype=dtype)
    optimizer = MomentumSAM(ours.params, rho=0.3, lr=0.02)
    run(ours, optimizer, 2)
    before = [param.detach().clone() for param in ours.params]
    with optimizer.ahead():
        assert not torch.equal(ours.params[0], before[0])
        with torch.no_grad():
            ours.params[1].fill_(math.nan)
    assert all(torch.equal(param, value) for param, value in zip(ours.params, before, strict=True))


@pytest.mark.parametrize('error', [ValueError('broken'), KeyboardInterrupt()], ids=repr)
def test_what_a_closure_raises(problem, error):
    (ours, optimizer), (undisturbed, other) = (trained(problem) for _ in range(2))
    before = ours.weights()

    def closure():
        ours.closure(optimizer)()
        raise error

    with pytest.raises(type(error)):
        optimizer.step(closure)
    assert_equal(ours.weights(), before)
    assert_equal(run(ours, optimizer, 2), run(undisturbed, other, 2))


def test_a_gradient_that_is_not_finite(problem):
    ours, optimizer = trained(problem)
    before, moments = ours.weights(), copy.deepcopy(optimizer.state_dict())
    closure = ours.closure(optimizer)
    with pytest.raises(NonFiniteGradientError, match=r'\b1\b.*\b12\b'), optimizer.ahead():
        closure()
        ours.params[0].grad[0, 0] = math.inf
        optimizer.step()
    assert_equal(ours.weights(), before)
    assert torch.equal(optimizer.state[ours.params[0]]['exp_avg'], moments['state'][0]['exp_avg'])


def test_a_momentum_that_is_not_finite(problem):
    ours, optimizer = trained(problem)
    before = ours.weights()
    optimizer.state[ours.params[1]]['exp_avg'][0, 0] = math.nan
    with pytest.raises(NonFiniteGradientError, match='momentum'):
        optimizer.step(ours.closure(optimizer))
    assert_equal(ours.weights(), before)
    assert not optimizer.climbed


def test_an_interrupt_at_any_line(problem):
    files = {ascent.__file__, sam.__file__, momentum_sam.__file__}
    struck = 0
    for line in range(1, 300):
        ours, optimizer = trained(problem, adaptive=True)
        before = ours.weights()
        seen, interrupted = interrupt_at(line, files, optimizer.ahead)
        struck += interrupted
        if seen < line:
            break
        assert not optimizer.climbed, f'line event {line}'
        assert_equal(ours.weights(), before)
        with optimizer.ahead():
            assert not np.array_equal(ours.weights()[0], before[0]), f'line event {line}'
    assert struck > 30


def test_goes_on_bit_for_bit_after_a_round_trip(problem, tmp_path):
    ours, resumed = problem(dtype=torch.float32), problem(dtype=torch.float32)
    optimizer = MomentumSAM(ours.params, 'SGD', rho=0.3, lr=0.02, momentum=0.9)
    run(ours, optimizer, 3)
    torch.save([[param.detach() for param in ours.params], optimizer.state_dict()], tmp_path / 'state.pth')
    weights, state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert set(state) == {'state', 'param_groups'}
    other = MomentumSAM(resumed.params, 'SGD', rho=0.3, lr=0.5, momentum=0.9)
    other.load_state_dict(state)
    for param, weight in zip(resumed.params, weights, strict=True):
        param.data.copy_(weight)
    assert_equal(run(ours, optimizer, 4), run(resumed, other, 4))


@pytest.mark.parametrize('copier', [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies(problem, copier):
    ours, optimizer = trained(problem)
    twin = problem()
    copied, twin.params = copier((optimizer, ours.params))
    assert_equal(run(ours, optimizer, 3), run(twin, copied, 3))
    with optimizer.ahead(), pytest.raises(RuntimeError, match=r'climb\(\).*restore\(\)'):
        copier(optimizer)


def test_a_plain_optimizers_state_gives_the_momentum(problem):
    ours, plain = problem(), problem()
    adam = torch.optim.Adam(plain.params, lr=0.02)
    run(plain, adam, 2)
    optimizer = MomentumSAM(ours.params, rho=0.3, lr=0.02)
    optimizer.load_state_dict(adam.state_dict())
    before = ours.weights()
    with optimizer.ahead():
        assert not np.array_equal(ours.weights()[0], before[0])


class Hidden(torch.optim.Adam):
    """Keeps its momentum under another name."""

    def step(self, closure=None):
        super().step(closure)
        for state in self.state.values():
            state['velocity'] = state.pop('exp_avg')


@pytest.mark.parametrize(
    ('base', 'options', 'names'),
    [
        ('SGD', {}, (' SGD ', 'momentum=0.9')),
        ('RMSprop', {}, (' RMSprop ', 'momentum=0.9')),
        ('Adam', {'betas': (0.0, 0.99)}, (' Adam ', 'betas[0]=0', 'betas=(0.9, 0.999)')),
        ('Adagrad', {}, (' Adagrad ', "'Adam'", "'SGD'", 'momentum=0.9')),
        ('ASGD', {}, (' ASGD ', "'Adam'", "'SGD'")),
        ('Adam', {'every': 2}, ('MomentumSAM', "'every'")),
        ('Adam', {'first_pass': 'local'}, ('MomentumSAM', "'first_pass'")),
        ('Adam', {'rho': -1}, ('rho', ' -1')),
    ],
)
def test_options_that_are_refused(problem, base, options, names):
    with pytest.raises(ValueError, match='.') as caught:
        MomentumSAM(problem().params, base, lr=0.1, **options)
    assert all(name in str(caught.value) for name in names)


def test_groups_and_bases_without_momentum_are_refused(problem):
    ours = problem()
    with pytest.raises(ValueError, match=r'\bSGD\b.*momentum=0(?!\.\d)'):
        MomentumSAM([{'params': ours.params, 'momentum': 0}], 'SGD', lr=0.1, momentum=0.9)
    optimizer = MomentumSAM(ours.params[:1], 'SGD', lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r'\bSGD\b.*momentum=0(?!\.\d)'):
        optimizer.add_param_group({'params': ours.params[1:], 'momentum': 0})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({'params': ours.params[1:]})
    run(ours, optimizer, 2)
    hidden = MomentumSAM(ours.params, Hidden, lr=0.1)
    run(ours, hidden, 1)
    with pytest.raises(ValueError, match=r'\bHidden\b.*exp_avg.*momentum_buffer'):
        run(ours, hidden, 1)
