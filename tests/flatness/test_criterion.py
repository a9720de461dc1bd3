"""The measured loss: equal to the trained one, and differentiable twice."""

from __future__ import annotations

import pytest
import torch

from mea_plugin.flatness import Criterion
from mea_plugin.losses import HighFrequencyLoss
from tests.helpers import refused


def pair(shape=(2, 3, 20, 26), dtype=torch.float64):
    return torch.rand(shape, dtype=dtype), torch.rand(shape, dtype=dtype)


@pytest.mark.parametrize(
    ('kind', 'formula'),
    [
        ('l1', lambda r: r.abs().mean()),
        ('mse', lambda r: (r**2).mean()),
        ('charbonnier', lambda r: torch.sqrt(r**2 + 0.01**2).mean()),
    ],
)
def test_pixel_losses(kind, formula):
    pred, target = pair()
    criterion = Criterion(kind, epsilon=0.01)
    assert float(criterion(pred, target)) == pytest.approx(float(formula(pred - target)), rel=1e-12)


@pytest.mark.parametrize('mode', ['zero', 'reflect', 'symmetric', 'periodization'])
@pytest.mark.parametrize('kind', ['l1', 'mse'])
def test_the_penalty_and_its_gradient_are_those_of_training(kind, mode):
    options = {'loss_weight': 0.3, 'wave': 'db3', 'level': 2, 'mode': mode}
    pred, target = pair()
    pred.requires_grad_(True)
    found = Criterion(kind, high_frequency=options)(pred, target) - Criterion(kind)(pred, target)
    expected = HighFrequencyLoss(**options)(pred, target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(one, pred)[0] for one in (found, expected)), rtol=1e-9, atol=1e-12)


def test_charbonnier_comes_near_the_trained_penalty_and_is_twice_differentiable():
    pred, target = pair((1, 1, 10, 12))
    options = {'wave': 'db2', 'level': 1}
    sharp, smooth = (Criterion(kind, epsilon=1e-6, high_frequency=options) for kind in ('l1', 'charbonnier'))
    assert float(smooth(pred, target)) == pytest.approx(float(sharp(pred, target)), abs=2e-6)
    pred.requires_grad_(True)
    rounded = Criterion('charbonnier', epsilon=0.05, high_frequency=options)
    assert torch.autograd.gradcheck(lambda x: rounded(x, target), (pred,))
    assert torch.autograd.gradgradcheck(lambda x: rounded(x, target), (pred,))


def test_sums_are_in_float64():
    pred, target = pair(dtype=torch.float32)
    for kind in ('l1', 'mse', 'charbonnier'):
        assert Criterion(kind, high_frequency={})(pred, target).dtype == torch.float64


def test_the_description_says_what_the_numbers_depend_on():
    text = Criterion('charbonnier', epsilon=0.02, high_frequency={'loss_weight': 0.5, 'wave': 'haar'}).describe()
    for part in ('sqrt', '0.02', '0.5', 'haar', 'level=2', 'mode'):
        assert part in text


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'type': 'l2'}, 'o.type', "'l2'", 'l1'),
        ({'typ': 'l1'}, 'o', "'typ'", "'type'"),
        ({'epsilon': 0.1}, 'o', 'epsilon', 'charbonnier'),
        ({'type': 'charbonnier', 'epsilon': 0}, 'o.epsilon', '0', '1'),
        ({'type': 'charbonnier', 'epsilon': -1}, 'o.epsilon', '-1', '0'),
        ({'high_frequency': {'wavelet': 'db3'}}, 'o.high_frequency', "'wavelet'", "'wave'"),
        ({'high_frequency': {'wave': 'db333'}}, 'o.high_frequency', "'db333'", ''),
        ({'high_frequency': {'level': 0}}, 'o.high_frequency', 'level', ''),
        ({'high_frequency': 'db3'}, 'o.high_frequency', "'db3'", ''),
    ],
)
def test_options_that_cannot_be_used(options, where, quoted, do):
    with refused(where, quoted, do=do):
        Criterion.from_options(options, 'o')


def test_options_are_read():
    found = Criterion.from_options({'type': 'charbonnier', 'high_frequency': {'wave': 'db3', 'level': 2}}, 'o')
    assert (found.kind, found.epsilon, found.smallest) == ('charbonnier', 1e-3, 20)
    assert Criterion.from_options({}, 'o').smallest == 1
