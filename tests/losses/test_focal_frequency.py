"""Value and gradient of the focal frequency loss against its equation in numpy, over generated shapes and options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.losses import FocalFrequencyLoss

TOLERANCE = {torch.float16: 1e-5, torch.bfloat16: 1e-5, torch.float32: 1e-5, torch.float64: 1e-12}
SWITCHES = ('ave_spectrum', 'log_matrix', 'batch_matrix')


def images(*shape, dtype=torch.float32, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.random(shape), dtype=dtype) for _ in range(2))


def spectra(batch, parts):
    """Full orthonormal spectra ``(patches, N, C, h, w)`` of the patches, cut one by one."""
    batch = np.asarray(batch, np.float64)
    h, w = (size // parts for size in batch.shape[2:])
    cuts = [batch[:, :, i * h : i * h + h, j * w : j * w + w] for i in range(parts) for j in range(parts)]
    return np.stack([np.fft.fft2(cut, norm='ortho') for cut in cuts])


def weights_of(difference, *, alpha, log_matrix, batch_matrix):
    """The paper's equation 7 for each spectrum, and the code's two variants of it."""
    matrix = np.abs(difference) ** alpha
    if log_matrix:
        matrix = np.log(matrix + 1)
    top = matrix.max() if batch_matrix else matrix.max((-2, -1), keepdims=True)
    return np.divide(matrix, top, out=np.zeros_like(matrix), where=top > 0)


def difference_of(pred, target, patch_factor, ave_spectrum):
    one, other = spectra(pred, patch_factor), spectra(target, patch_factor)
    if ave_spectrum:
        one, other = one.mean(1, keepdims=True), other.mean(1, keepdims=True)
    return one - other


def oracle(pred, target, *, patch_factor=1, ave_spectrum=False, **matrix):
    """The loss of weight 1: equation 8."""
    difference = difference_of(pred, target, patch_factor, ave_spectrum)
    return (weights_of(difference, **matrix) * np.abs(difference) ** 2).mean()


@st.composite
def cases(draw):
    """``(shape, options)``: odd, oblong and tiny images included."""
    parts = draw(st.sampled_from([1, 1, 2, 3]))
    H, W = (parts * draw(st.integers(1, 17)) for _ in range(2))
    options = {'alpha': draw(st.sampled_from([0, 0.5, 1, 2, 3.7])), **{name: draw(st.booleans()) for name in SWITCHES}}
    return (draw(st.integers(1, 3)), draw(st.integers(1, 4)), H, W), {'patch_factor': parts, **options}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(case=cases(), dtype=st.sampled_from(list(TOLERANCE)), seed=st.integers(0, 99))
def test_value_is_that_of_the_equation(case, dtype, seed):
    shape, options = case
    pred, target = images(*shape, dtype=dtype, seed=seed)
    loss = FocalFrequencyLoss(**options)(pred, target)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.shape == ()
    expected = oracle(pred.double(), target.double(), **options)
    assert loss.item() == pytest.approx(expected, abs=TOLERANCE[dtype], rel=TOLERANCE[dtype])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(case=cases(), seed=st.integers(0, 99))
def test_the_gradient_takes_the_weights_for_constants(case, seed):
    """That of a mean of ``w |F|^2`` is twice the inverse transform of ``w F``, over the count."""
    shape, options = case
    pred, target = images(*shape, dtype=torch.float64, seed=seed)
    pred.requires_grad_()
    FocalFrequencyLoss(**options)(pred, target).backward()
    parts, average = options.pop('patch_factor'), options.pop('ave_spectrum')
    difference = difference_of(pred.detach(), target, parts, average)
    back = np.fft.ifft2(weights_of(difference, **options) * difference, norm='ortho')
    back = 2 * back.real / difference.size / (shape[0] if average else 1)
    back = np.broadcast_to(back, (parts**2, *shape[:2], *back.shape[3:])).reshape(
        parts, parts, *shape[:2], *back.shape[3:]
    )
    expected = back.transpose(2, 3, 0, 4, 1, 5).reshape(shape)
    np.testing.assert_allclose(pred.grad, expected, atol=1e-12)


@pytest.mark.parametrize('options', [{}, {'patch_factor': 2}, {'ave_spectrum': True}, {'log_matrix': True}])
def test_autograd_agrees_with_finite_differences(options, monkeypatch):
    """Where the weights stand still: those of the point itself."""
    pred, target = images(2, 2, 6, 10, dtype=torch.float64)
    loss = FocalFrequencyLoss(**options)
    kept = []
    weights = loss.weights
    monkeypatch.setattr(
        loss, 'weights', lambda distance: kept[0] if kept else kept.append(weights(distance)) or kept[0]
    )
    loss(pred, target)
    assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target))
    assert torch.autograd.gradcheck(loss, (pred, target.requires_grad_()), fast_mode=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    alpha=st.sampled_from([0.0, 0.3, 1.0, 8.0, 40.0]),
    scale=st.sampled_from([0.0, 1e-18, 1.0, 255.0, 1e9]),
    switches=st.tuples(st.booleans(), st.booleans()),
)
def test_weights_lie_between_0_and_1(alpha, scale, switches):
    log_matrix, batch_matrix = switches
    loss = FocalFrequencyLoss(alpha=alpha, log_matrix=log_matrix, batch_matrix=batch_matrix)
    distance = (scale * torch.rand(2, 3, 1, 1, 5, 4, generator=torch.Generator().manual_seed(1))) ** 2
    weights = loss.weights(distance)
    assert weights.shape == distance.shape
    assert weights.min() >= 0
    assert weights.max() <= 1
    if scale >= 1:
        assert weights.max() == 1


def test_one_wave_by_hand():
    """cos of 1 period over 8 pixels and amplitude 0.5, in 8 x 8: two coefficients of 0.5 * 8 / 2 = 2."""
    wave = 0.5 * torch.cos(2 * torch.pi * torch.arange(8, dtype=torch.float64) / 8)
    pred = wave.expand(1, 1, 8, 8)
    loss = FocalFrequencyLoss(loss_weight=3)(pred, torch.zeros_like(pred))
    assert loss.item() == pytest.approx(3 * 2 * 2**2 / 64)


def test_alpha_0_is_the_mean_squared_error():
    """Parseval: the transform is orthonormal."""
    pred, target = images(2, 3, 15, 22, dtype=torch.float64)
    assert FocalFrequencyLoss(alpha=0)(pred, target).item() == pytest.approx(float((pred - target).square().mean()))


def test_equal_images_cost_nothing_and_pull_nowhere():
    pred, _ = images(2, 3, 20, 21)
    leaf = pred.clone().requires_grad_()
    loss = FocalFrequencyLoss()(leaf, pred)
    loss.backward()
    assert loss.item() == 0
    assert not leaf.grad.any()


def test_the_weight_acts_inside_and_may_be_changed():
    pred, target = images(1, 3, 20, 21)
    one = FocalFrequencyLoss()(pred, target)
    loss = FocalFrequencyLoss(loss_weight=0.2)
    torch.testing.assert_close(loss(pred, target), 0.2 * one)
    loss.loss_weight = 7.0
    torch.testing.assert_close(loss(pred, target), 7 * one)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    pred, target = images(2, 3, 20, 24, dtype=dtype)
    leaf, wide = pred.clone().requires_grad_(), pred.float().requires_grad_()
    value, exact = FocalFrequencyLoss()(leaf, target), FocalFrequencyLoss()(wide, target.float())
    value.backward(), exact.backward()
    assert value == exact
    assert leaf.grad.dtype == dtype
    torch.testing.assert_close(leaf.grad, wide.grad.to(dtype), rtol=0, atol=0)


def test_under_autocast_a_half_prediction_meets_a_float_target():
    pred, target = images(2, 3, 20, 24)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = FocalFrequencyLoss()(pred.bfloat16(), target)
    assert value.dtype == torch.float32
    assert value == FocalFrequencyLoss()(pred.bfloat16().float(), target)


def test_the_defaults_are_those_of_the_published_code():
    assert repr(FocalFrequencyLoss()) == (
        'FocalFrequencyLoss(loss_weight=1.0, alpha=1.0, patch_factor=1, ave_spectrum=False, log_matrix=False, '
        'batch_matrix=False)'
    )


@pytest.mark.parametrize(
    ('options', 'name', 'value'),
    [
        ({'loss_weight': -1}, 'loss_weight', '-1'),
        ({'alpha': float('nan')}, 'alpha', 'nan'),
        ({'alpha': True}, 'alpha', 'True'),
        ({'patch_factor': 0}, 'patch_factor', '0'),
        ({'patch_factor': 2.0}, 'patch_factor', '2.0'),
        ({'log_matrix': 1}, 'log_matrix', '1'),
    ],
)
def test_arguments_out_of_range_are_refused(options, name, value):
    with pytest.raises(ValueError, match=rf'{name}.* {value}\. '):
        FocalFrequencyLoss(**options)


@pytest.mark.parametrize('shape', [(1, 1, 30, 33), (1, 1, 33, 30)])
def test_patches_that_do_not_divide_the_image_are_refused(shape):
    with pytest.raises(ValueError, match=rf'\b4\b.*{shape[2]} x {shape[3]}'):
        FocalFrequencyLoss(patch_factor=4)(*images(*shape))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('options', [{}, {'patch_factor': 3, 'log_matrix': True}])
def test_a_gpu_agrees_with_the_cpu(options):
    pred, target = images(2, 3, 63, 96)
    loss = FocalFrequencyLoss(**options)
    torch.testing.assert_close(loss(pred.cuda(), target.cuda()).cpu(), loss(pred, target), rtol=1e-5, atol=1e-7)
