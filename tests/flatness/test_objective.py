"""The loss as a function of the weights: against autograd on the whole, and what is put back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mea_plugin.flatness import Criterion, Objective
from tests.helpers import refused

CRITERIA = [
    Criterion('mse'),
    Criterion('l1'),
    Criterion('charbonnier', epsilon=0.1, high_frequency={'wave': 'haar', 'level': 1}),
]


def network():
    """x2, with everything that bends: 90 weights."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 2, 1), nn.Softplus(), nn.Conv2d(2, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 12, 1)]
    return nn.Sequential(*layers, nn.PixelShuffle(2)).double()


def samples(count=5):
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.rand(count, 3, size, size, generator=generator).double() for size in (4, 8))


def whole(net, criterion, queries, responses):
    """The loss as a function of one vector of all weights, in one batch."""
    names, shapes = zip(*((name, value.shape) for name, value in net.named_parameters()), strict=True)

    def function(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return criterion(torch.func.functional_call(net, weights, (queries,)), responses)

    return function, torch.cat([value.detach().flatten() for value in net.parameters()])


@pytest.mark.parametrize('criterion', CRITERIA, ids=lambda one: one.kind)
@pytest.mark.parametrize('batch_size', [2, 5])
def test_value_gradient_and_hessian_are_those_of_autograd(criterion, batch_size):
    net, data = network(), samples()
    objective = Objective(net, *data, criterion, batch_size=batch_size)
    function, weights = whole(net, criterion, *data)
    hessian = torch.autograd.functional.hessian(function, weights)
    weights.requires_grad_(True)
    value = function(weights)
    (expected,) = torch.autograd.grad(value, weights)
    loss, gradient = objective.gradient()
    assert objective.size == len(weights)
    assert loss == pytest.approx(float(value), rel=1e-12)
    assert objective.loss() == pytest.approx(float(value), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    assert float(hessian.norm()) > 1e-3
    vectors = [torch.randn(objective.size, dtype=torch.float64) for _ in range(3)]
    for vector, product in zip(vectors, objective.hessian_products(vectors), strict=True):
        torch.testing.assert_close(product, hessian @ vector, rtol=1e-8, atol=1e-11)


def test_batches_are_no_larger_than_asked():
    seen = []

    class Spy(nn.Conv2d):
        def forward(self, queries):
            seen.append(len(queries))
            return super().forward(queries)

    queries = torch.rand(7, 3, 4, 4)
    objective = Objective(Spy(3, 3, 1), queries, queries, Criterion(), batch_size=3)
    objective.hessian_products([objective.zeros()] * 4)
    assert seen == [3, 3, 1]


def test_a_linear_network_has_no_curvature_under_l1():
    queries = torch.rand(2, 3, 4, 4)
    objective = Objective(nn.Conv2d(3, 3, 1), queries, queries + 5, Criterion('l1'))
    (product,) = objective.hessian_products([torch.ones(objective.size)])
    assert product.abs().max() == 0


def test_weights_that_do_not_count_and_frozen_ones():
    net = nn.Conv2d(3, 3, 1)
    net.unused = nn.Parameter(torch.ones(2))
    net.bias.requires_grad_(False)
    queries = torch.rand(2, 3, 4, 4)
    objective = Objective(net, queries, queries, Criterion('mse'))
    assert objective.size == 9 + 2
    assert objective.gradient()[1][-2:].tolist() == [0, 0]
    assert objective.hessian_products([torch.ones(11)])[0][-2:].tolist() == [0, 0]


def test_bytes_are_images():
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    net = nn.Conv2d(3, 3, 1)
    values = images.float() / 255
    whole, bytes_ = (Objective(net, one, one, Criterion('mse')).loss() for one in (values, images))
    assert bytes_ == pytest.approx(whole, rel=1e-6)


def test_evaluation_mode_fixes_the_statistics_and_leaves_the_mode_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)).train()
    net[1].eval()
    queries = torch.rand(6, 3, 4, 4)
    first = Objective(net, queries, queries, Criterion('mse'), batch_size=2)
    second = Objective(net, queries, queries, Criterion('mse'), batch_size=6)
    assert first.loss() == first.loss() == pytest.approx(second.loss(), rel=1e-6)
    assert [module.training for module in net] == [True, False, True, True]
    with torch.no_grad():
        expected = (net.eval()(queries) - queries).square().mean()
    assert first.loss() == pytest.approx(float(expected), rel=1e-6)


def test_training_mode_draws_the_same_and_puts_buffers_back():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)).eval()
    queries = torch.rand(4, 3, 4, 4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    objective = Objective(net, queries, queries, Criterion('mse'), batch_size=4, train_mode=True)
    state = torch.get_rng_state()
    values = [objective.loss(), objective.gradient()[0], objective.loss()]
    objective.hessian_products([torch.ones(objective.size)])
    assert values[0] == values[2] == pytest.approx(values[1], rel=1e-6)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    torch.manual_seed(0)
    with torch.no_grad():
        assert values[0] == pytest.approx(float((net.train()(queries) - queries).square().mean()), rel=1e-6)


def test_the_weights_are_back_bit_for_bit_whatever_happens():
    net = network().float()
    queries = torch.rand(2, 3, 4, 4)
    objective = Objective(net, queries, torch.rand(2, 3, 8, 8), Criterion())
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(ZeroDivisionError), objective.returning() as start:
        objective.move_to(start + torch.randn(objective.size))
        assert not torch.equal(next(net.parameters()), before[0])
        raise ZeroDivisionError
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


def test_a_network_without_a_second_derivative_is_named():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 2 * gradient

    class Layer(nn.Conv2d):
        def forward(self, queries):
            return Once.apply(super().forward(queries))

    queries = torch.rand(2, 3, 4, 4)
    objective = Objective(Layer(3, 3, 1), queries, queries, Criterion('mse'))
    objective.gradient()
    with refused('hessian', 'Layer', do='hessian: ~'):
        objective.hessian_products([torch.ones(objective.size)])


def test_nothing_to_measure_is_refused():
    queries = torch.rand(2, 3, 4, 4)
    for net, data in ((nn.ReLU(), queries), (nn.Conv2d(3, 3, 1), queries[:0])):
        with pytest.raises(ValueError, match='objective'):
            Objective(net, data, data, Criterion())
