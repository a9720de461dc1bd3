"""Value and gradient of the loss against PyWavelets, over generated shapes, wavelets, levels, modes and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.losses import HighFrequencyLoss, high_frequency
from mea_plugin.losses.wavelet import MODES, smallest_size

WAVES = [wave for wave in pywt.wavelist(kind='discrete') if pywt.Wavelet(wave).dec_len <= 20]
SHORT = [wave for wave in WAVES if pywt.Wavelet(wave).dec_len <= 8]
TOLERANCE = {torch.float16: 1e-5, torch.bfloat16: 1e-5, torch.float32: 1e-5, torch.float64: 1e-12}


def images(*shape, dtype=torch.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.random(shape), dtype=dtype) for _ in range(2))


@st.composite
def cases(draw, waves, highest):
    """``(shape, arguments)`` at or above the smallest size, odd and oblong ones included."""
    wave = draw(st.sampled_from(waves))
    level = draw(st.integers(1, highest))
    least = smallest_size(pywt.Wavelet(wave).dec_len, level)
    H, W = (draw(st.integers(least, least + 17)) for _ in range(2))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), H, W)
    return shape, {'wave': wave, 'level': level, 'mode': draw(st.sampled_from(MODES))}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=cases(WAVES, 3), dtype=st.sampled_from(list(TOLERANCE)), seed=st.integers(0, 99))
def test_value_is_that_of_pywavelets(oracle, case, dtype, seed):
    shape, arguments = case
    pred, target = images(*shape, dtype=dtype, seed=seed)
    loss = HighFrequencyLoss(loss_weight=1, **arguments)(pred, target)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(oracle.value(pred.double(), target.double(), **arguments), abs=TOLERANCE[dtype])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=cases(SHORT, 2), dtype=st.sampled_from([torch.float32, torch.float64]), seed=st.integers(0, 99))
def test_gradient_is_that_of_pywavelets(oracle, case, dtype, seed):
    shape, arguments = case
    pred, target = images(*shape, dtype=dtype, seed=seed)
    pred.requires_grad_()
    HighFrequencyLoss(loss_weight=1, **arguments)(pred, target).backward()
    expected = oracle.gradient(pred.detach(), target, **arguments)
    np.testing.assert_allclose(pred.grad, expected, atol=TOLERANCE[dtype])


@pytest.mark.parametrize('mode', MODES)
def test_autograd_agrees_with_finite_differences(mode):
    pred, target = images(1, 1, 23, 21, dtype=torch.float64)
    loss = HighFrequencyLoss(mode=mode)
    pred.requires_grad_()
    assert torch.autograd.gradcheck(loss, (pred, target))
    target.requires_grad_()
    assert torch.autograd.gradcheck(loss, (pred, target), fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, (pred, target), fast_mode=True)


@pytest.mark.parametrize(('H', 'W'), [(130, 67), (257, 300)])
def test_many_blocks_and_levels(oracle, H, W):
    pred, target = images(1, 2, H, W)
    value = HighFrequencyLoss(loss_weight=1, wave='db2', level=4, mode='reflect')(pred, target)
    assert value.item() == pytest.approx(oracle.value(pred, target, 'db2', 4, 'reflect'), abs=1e-6)


@pytest.mark.parametrize('numbers', [1, 3000, 7000])
def test_how_the_batch_is_parted_does_not_matter(numbers, monkeypatch):
    pred, target = images(3, 4, 30, 33, dtype=torch.float64)
    pred.requires_grad_()
    loss = HighFrequencyLoss()
    whole = loss(pred, target)
    (gradient,) = torch.autograd.grad(whole, pred)
    monkeypatch.setattr(high_frequency, 'CPU_PART', numbers)
    parted = loss(pred, target)
    torch.testing.assert_close(parted, whole)
    torch.testing.assert_close(torch.autograd.grad(parted, pred)[0], gradient)


def test_a_constant_difference_costs_only_at_the_border():
    ones = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    assert HighFrequencyLoss(mode='periodization')(ones, 0 * ones).item() == pytest.approx(0, abs=1e-12)
    assert HighFrequencyLoss(mode='zero')(ones, 0 * ones).item() > 1e-3


def test_haar_by_hand():
    # One 2 x 2 block [[4, 2], [1, 1]]: details (4+2-1-1)/2, (4-2+1-1)/2, (4-2-1+1)/2 are 2, 1, 1.
    pred = torch.tensor([[[[4.0, 2.0], [1.0, 1.0]]]])
    assert HighFrequencyLoss(loss_weight=3, wave='haar', level=1)(pred, 0 * pred).item() == pytest.approx(3 * 4 / 3)


def test_equal_images_cost_nothing_and_pull_nowhere():
    pred, _ = images(2, 3, 40, 41)
    leaf = pred.clone().requires_grad_()
    loss = HighFrequencyLoss()(leaf, pred)
    loss.backward()
    assert loss.item() == 0
    assert not leaf.grad.any()


def test_symmetric_in_its_arguments():
    pred, target = images(2, 3, 40, 41)
    loss = HighFrequencyLoss()
    assert loss(pred, target) == loss(target, pred)


def test_gradient_in_the_target_is_the_opposite():
    pred, target = images(2, 3, 40, 41)
    loss = HighFrequencyLoss()
    alone = pred.clone().requires_grad_()
    loss(alone, target).backward()
    other = target.clone().requires_grad_()
    loss(pred, other).backward()
    both = pred.clone().requires_grad_(), target.clone().requires_grad_()
    loss(*both).backward()
    torch.testing.assert_close(other.grad, -alone.grad)
    torch.testing.assert_close(both[0].grad, alone.grad)
    torch.testing.assert_close(both[1].grad, -alone.grad)


def test_weight_scales_value_and_gradient():
    pred, target = images(1, 3, 40, 41)
    pred.requires_grad_()
    loss = HighFrequencyLoss(loss_weight=1)
    one = loss(pred, target)
    (gradient,) = torch.autograd.grad(one, pred)
    for weight in (0, 0.15, 7):
        scaled = HighFrequencyLoss(loss_weight=weight)(pred, target)
        torch.testing.assert_close(scaled, weight * one)
        torch.testing.assert_close(torch.autograd.grad(scaled, pred)[0], weight * gradient)
    loss.loss_weight = 2.0
    torch.testing.assert_close(loss(pred, target), 2 * one)


def test_the_defaults_are_the_papers():
    loss = HighFrequencyLoss()
    assert (loss.loss_weight, loss.wave, loss.level, loss.mode) == (0.15, 'db3', 2, 'zero')
    assert repr(loss) == "HighFrequencyLoss(loss_weight=0.15, wave='db3', level=2, mode='zero')"
