"""SAM against its equations, written in numpy, with the base optimizer run on its own."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.optim import SAM

REFUSED = {'LBFGS', 'SparseAdam', 'Adadelta'}
BASES = sorted(
    name
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and name not in REFUSED | {'Optimizer'}
)
OPTIONS = [
    ('SGD', {'momentum': 0.9, 'nesterov': True, 'weight_decay': 1e-2}),
    ('Adam', {'weight_decay': 5e-4, 'betas': (0.5, 0.999), 'amsgrad': True}),
    ('Adam', {'foreach': True}),
    ('RMSprop', {'centered': True, 'momentum': 0.5}),
]


def steps_by_hand(problem, climb, name, options, rho, adaptive, count):
    """The losses and final weights of ``count`` SAM steps without SAM: numpy climbs, the bare optimizer steps."""
    base = getattr(torch.optim, name)(problem.params, **options)
    losses = []
    for _ in range(count):
        losses.append(problem.loss().item())
        weights = problem.weights()
        size = len(weights)
        up = climb(weights, problem.gradients(weights), [rho] * size, [adaptive] * size)
        for param, grad in zip(problem.params, problem.gradients(up), strict=True):
            param.grad = torch.tensor(grad)
        base.step()
    return losses, problem.weights()


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize(('name', 'options'), [(name, {}) for name in BASES] + OPTIONS)
def test_steps_follow_the_equations(problem, climb_in_numpy, name, options, adaptive):
    options = {'lr': 0.02, **options}
    expected = steps_by_hand(problem(), climb_in_numpy, name, options, 0.1, adaptive, 6)
    ours = problem()
    optimizer = SAM(ours.params, name, rho=0.1, adaptive=adaptive, **options)
    losses = [optimizer.step(ours.closure(optimizer)).item() for _ in range(6)]
    np.testing.assert_allclose(losses, expected[0], rtol=1e-12)
    for own, wanted in zip(ours.weights(), expected[1], strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-11, atol=1e-13)


def test_every_torch_optimizer_is_either_tried_or_refused(problem):
    assert {'Adam', 'AdamW', 'SGD', 'RMSprop', 'Adagrad', 'NAdam'} <= set(BASES)
    for name in REFUSED:
        with pytest.raises(ValueError, match=rf'base_optimizer\b.*\b{name}\b'):
            SAM(problem().params, name)


@pytest.mark.parametrize('base', ['Adam', 'SGD'])
def test_rho_zero_is_the_base_optimizer(network, base):
    results = []
    for wrap in (False, True):
        net, x, y = network()
        cls = getattr(torch.optim, base)
        optimizer = SAM(net.parameters(), base, rho=0, lr=0.01) if wrap else cls(net.parameters(), lr=0.01)
        calls = 0

        def closure(optimizer=optimizer, net=net, x=x, y=y):
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            loss = (net(x) - y).square().mean()
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(3)]
        results.append((calls, losses, [value.clone() for value in net.state_dict().values()]))
    assert results[0][:2] == results[1][:2]
    for plain, ours in zip(results[0][2], results[1][2], strict=True):
        assert torch.equal(plain, ours)


def test_each_group_has_its_own_rho_under_one_norm(problem, climb_in_numpy):
    ours = problem()
    first, second, third = ours.params
    groups = [{'params': [first], 'rho': 0.3}, {'params': [second], 'rho': 0.0}, {'params': [third], 'adaptive': True}]
    optimizer = SAM(groups, 'SGD', rho=0.05, lr=0.1)
    weights = ours.weights()
    expected = climb_in_numpy(weights, ours.gradients(weights), [0.3, 0.0, 0.05], [False, False, True])
    ours.closure(optimizer)()
    optimizer.climb()
    for own, wanted in zip(ours.weights(), expected, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-13)
    assert torch.equal(second, torch.tensor(weights[1]))


def test_one_group_per_parameter_is_the_same_as_one_group(problem):
    results = []
    for split in (False, True):
        ours = problem()
        groups = [{'params': [param]} for param in ours.params] if split else ours.params
        optimizer = SAM(groups, rho=0.1, lr=0.01)
        for _ in range(3):
            optimizer.step(ours.closure(optimizer))
        results.append(ours.weights())
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


def test_maximising_is_minimising_the_negative(problem):
    results = []
    for sign in (1, -1):
        ours = problem()
        optimizer = SAM(ours.params, 'SGD', rho=0.1, lr=0.01, maximize=sign < 0)

        def closure(ours=ours, optimizer=optimizer, sign=sign):
            optimizer.zero_grad()
            (sign * ours.loss()).backward()

        for _ in range(3):
            optimizer.step(closure)
        results.append(ours.weights())
    for down, up in zip(*results, strict=True):
        np.testing.assert_allclose(down, up, rtol=1e-14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=5),
    power=st.integers(-42, 36),
    rho=st.floats(1e-4, 10),
    adaptive=st.booleans(),
)
def test_climbs_by_rho_whatever_the_gradients_scale(shapes, power, rho, adaptive):
    """float32 gradients from 1e-42 (denormal) to 1e36, whose squares do not fit float32."""
    rng = np.random.default_rng(len(shapes))
    weights = [rng.uniform(0.5, 2, size=shape).astype(np.float32) for shape in shapes]
    params = [torch.nn.Parameter(torch.tensor(weight)) for weight in weights]
    optimizer = SAM(params, 'SGD', rho=rho, adaptive=adaptive, lr=0.1)
    for param in params:
        grad = rng.uniform(1, 3, size=tuple(param.shape)) * 10.0**power
        param.grad = torch.tensor(grad.astype(np.float32))
    assert optimizer.climb()
    moved = [param.detach().double().numpy() - weight for param, weight in zip(params, weights, strict=True)]
    stretched = [m / weight for m, weight in zip(moved, weights, strict=True)] if adaptive else moved
    length = np.sqrt(sum(np.sum(m**2) for m in stretched))
    # Denormal gradients hold few digits, and the factor rho / norm has an end; neither may overshoot.
    tolerance = 1e-4 + 1e-6 / rho
    assert length <= rho * (1 + (tolerance if power > -38 else 0.5))
    if power > -36:
        assert length >= rho * (1 - tolerance)
    optimizer.restore()
    for param, weight in zip(params, weights, strict=True):
        assert torch.equal(param, torch.tensor(weight))


@pytest.mark.parametrize('adaptive', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(climb_in_numpy, dtype, adaptive):
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(300, 20, generator=generator), torch.randn(50, generator=generator)]
    params = [torch.nn.Parameter(value.to(dtype)) for value in start]
    optimizer = SAM(params, 'SGD', rho=8.0, adaptive=adaptive, lr=0.1)
    for param in params:  # 6050 squares of 1e-4 vanish in float16, 6050 of 300 overflow
        param.grad = (torch.randn(param.shape, generator=generator) * (1e-4 if adaptive else 300)).to(dtype)
    weights = [param.detach().double().numpy() for param in params]
    grads = [param.grad.double().numpy() for param in params]
    expected = climb_in_numpy(weights, grads, [8.0] * 2, [adaptive] * 2)
    optimizer.climb()
    for param, wanted in zip(params, expected, strict=True):
        assert param.dtype == dtype
        half_an_ulp = torch.finfo(dtype).eps / 2
        np.testing.assert_allclose(param.detach().double().numpy(), wanted, rtol=1.01 * half_an_ulp, atol=1e-6)
    optimizer.restore()
    for param, weight in zip(params, weights, strict=True):
        assert np.array_equal(param.detach().double().numpy(), weight)


def test_dtypes_may_be_mixed(climb_in_numpy):
    dtypes = [torch.float32, torch.float64, torch.bfloat16]
    params = [torch.nn.Parameter(torch.randn(6, 5).to(dtype)) for dtype in dtypes]
    optimizer = SAM(params, 'SGD', rho=1.0, lr=0.1)
    for param in params:
        param.grad = torch.randn(6, 5).to(param.dtype)
    weights = [param.detach().double().numpy().copy() for param in params]
    grads = [param.grad.double().numpy() for param in params]
    optimizer.climb()
    for param, wanted in zip(params, climb_in_numpy(weights, grads, [1.0] * 3, [False] * 3), strict=True):
        eps = max(torch.finfo(param.dtype).eps, 1e-7)  # the norm holds float32 parts
        np.testing.assert_allclose(param.detach().double().numpy(), wanted, rtol=2 * eps, atol=2 * eps)


@pytest.mark.parametrize('adaptive', [False, True])
def test_complex_parameters_count_as_pairs_of_numbers(adaptive):
    results = []
    for as_complex in (True, False):
        torch.manual_seed(5)
        pairs = torch.randn(4, 3, 2, dtype=torch.float64)
        param = torch.nn.Parameter(torch.view_as_complex(pairs) if as_complex else pairs)
        optimizer = SAM([param], 'Adam', rho=0.2, adaptive=adaptive, lr=0.05)

        def closure(optimizer=optimizer, param=param, as_complex=as_complex):
            optimizer.zero_grad()
            value = torch.view_as_real(param) if as_complex else param
            loss = (value**4).sum() + value.sin().sum()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        final = param.detach()
        results.append(torch.view_as_real(final) if as_complex else final)
    torch.testing.assert_close(results[0], results[1], rtol=1e-13, atol=0)


@pytest.mark.parametrize('adaptive', [False, True])
def test_zero_gradient_leaves_the_weights_and_the_step_proceeds(problem, adaptive):
    ours = problem()
    optimizer = SAM(ours.params, 'SGD', adaptive=adaptive, lr=0.1, weight_decay=0.5)
    weights = ours.weights()
    seen = []

    def closure():
        seen.append(ours.weights())
        optimizer.zero_grad()
        loss = sum((0 * param).sum() for param in ours.params)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(seen) == 2
    for index, weight in enumerate(weights):
        np.testing.assert_array_equal(seen[1][index], weight)
        np.testing.assert_allclose(ours.weights()[index], 0.95 * weight, rtol=1e-15)


def test_frozen_and_unused_parameters_stay_and_take_no_memory(problem):
    ours = problem()
    frozen = torch.nn.Parameter(torch.randn(3), requires_grad=False)
    unused = torch.nn.Parameter(torch.randn(3))
    empty = torch.nn.Parameter(torch.randn(0, 3))
    extra = [frozen, unused, empty]
    before = [param.clone() for param in extra]
    alone = problem()
    optimizers = [SAM([*ours.params, *extra], lr=0.01), SAM(alone.params, lr=0.01)]
    for _ in range(2):
        for each, optimizer in zip((ours, alone), optimizers, strict=True):
            optimizer.step(each.closure(optimizer))
    for param, value in zip(extra, before, strict=True):
        assert torch.equal(param, value)
    for one, other in zip(ours.weights(), alone.weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    optimizer = optimizers[0]
    ours.closure(optimizer)()
    with optimizer.perturbed():
        for param, value in zip(extra, before, strict=True):
            assert torch.equal(param, value)


def test_without_any_gradient_nothing_moves(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.01)
    weights = ours.weights()
    assert optimizer.climb()
    optimizer.restore()
    optimizer.step()
    for own, weight in zip(ours.weights(), weights, strict=True):
        np.testing.assert_array_equal(own, weight)


def test_layouts_may_differ(climb_in_numpy):
    params = [
        torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)),
        torch.nn.Parameter(torch.randn(6, 4).t()),
    ]
    optimizer = SAM(params, 'SGD', rho=1.0, lr=0.1)
    for param in params:
        param.grad = torch.randn(tuple(param.shape))  # contiguous, unlike the parameter
    weights = [param.detach().double().numpy() for param in params]
    expected = climb_in_numpy(weights, [param.grad.double().numpy() for param in params], [1.0] * 2, [False] * 2)
    optimizer.climb()
    for param, wanted in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    optimizer.restore()
    for param, weight in zip(params, weights, strict=True):
        assert np.array_equal(param.detach().double().numpy(), weight)
