"""The loss among what surrounds it in training: half precision, autocast, tracing, copies, threads, memory layouts."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.losses import HighFrequencyLoss
from mea_plugin.losses.wavelet import analysis


def images(*shape, dtype=torch.float32):
    rng = np.random.default_rng(5)
    return tuple(torch.tensor(rng.random(shape), dtype=dtype) for _ in range(2))


def value_and_gradient(loss, pred, target):
    pred = pred.detach().clone().requires_grad_()
    value = loss(pred, target)
    return value.detach(), torch.autograd.grad(value, pred)[0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, 40, 44, dtype=dtype)
    value, gradient = value_and_gradient(loss, pred, target)
    exact_value, exact_gradient = value_and_gradient(loss, pred.float(), target.float())
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert value == exact_value
    torch.testing.assert_close(gradient, exact_gradient.to(dtype), rtol=0, atol=0)


def test_a_gradient_scaler_reaches_the_gradient_before_it_is_rounded_to_half():
    pred, target = images(8, 3, 64, 64, dtype=torch.float16)
    pred.requires_grad_()
    loss = HighFrequencyLoss(loss_weight=1e-3)
    _, exact = value_and_gradient(loss, pred.float(), target.float())
    assert (exact.half() == 0).any()
    (scaled,) = torch.autograd.grad(2.0**16 * loss(pred, target), pred)
    torch.testing.assert_close(scaled.double() / 2**16, exact.double(), rtol=2e-3, atol=1e-12)


def test_autocast_leaves_the_transform_alone():
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, 40, 44)
    value, gradient = value_and_gradient(loss, pred, target)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert (pred[0, 0] @ pred[0, 0].T).dtype == torch.bfloat16
        cast_value, cast_gradient = value_and_gradient(loss, pred, target)
    assert cast_value.dtype == torch.float32
    assert cast_value == value
    assert torch.equal(cast_gradient, gradient)


def test_under_autocast_a_half_prediction_meets_a_float_target():
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, 40, 44)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, pred.bfloat16(), target)
    expected, exact = value_and_gradient(loss, pred.bfloat16().float(), target)
    assert value == expected
    torch.testing.assert_close(gradient, exact.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize('layout', ['channels_last', 'transposed', 'strided', 'expanded'])
def test_memory_layout_does_not_matter(layout):
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, 40, 40)
    if layout == 'channels_last':
        other = pred.to(memory_format=torch.channels_last)
    elif layout == 'transposed':
        other = pred.transpose(2, 3).contiguous().transpose(2, 3)
    elif layout == 'strided':
        other = pred.repeat_interleave(2, dim=3)[..., ::2]
    else:
        other = pred[:1, :1].expand(2, 3, 40, 40)
        pred = other.contiguous()
    leaf = other.requires_grad_()
    value = loss(leaf, target)
    expected, gradient = value_and_gradient(loss, pred, target)
    assert value == expected
    assert torch.equal(torch.autograd.grad(value, leaf)[0], gradient)


def test_inputs_are_left_as_they_were():
    pred, target = images(2, 3, 40, 44)
    before = pred.clone(), target.clone()
    value_and_gradient(HighFrequencyLoss(), pred, target)
    assert torch.equal(pred, before[0])
    assert torch.equal(target, before[1])


def test_backward_twice_and_through_a_network():
    torch.manual_seed(1)
    network = nn.Conv2d(3, 3, 3, padding=1)
    pred, target = images(2, 3, 40, 44)
    total = HighFrequencyLoss()(network(pred), target)
    first = torch.autograd.grad(total, network.weight, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(total, network.weight)[0], first)
    assert first.abs().max() > 0


def test_training_lowers_it():
    pred, target = images(1, 1, 32, 32)
    pred.requires_grad_()
    loss = HighFrequencyLoss(loss_weight=1)
    optimizer = torch.optim.Adam([pred], lr=0.02)
    start = loss(pred, target).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(pred, target).backward()
        optimizer.step()
    assert loss(pred, target).item() < 0.2 * start


def test_validation_under_inference_mode_does_not_spoil_training():
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, 40, 44)
    expected = value_and_gradient(loss, pred, target)
    analysis.cache_clear()
    with torch.inference_mode():
        assert loss(pred, target) == expected[0]
    value, gradient = value_and_gradient(loss, pred, target)
    assert value == expected[0]
    assert torch.equal(gradient, expected[1])


def test_no_gradient_is_computed_where_none_is_asked_for():
    pred, target = images(2, 3, 40, 44)
    pred.requires_grad_()
    with torch.no_grad():
        assert HighFrequencyLoss()(pred, target).requires_grad is False
    assert HighFrequencyLoss()(pred.detach(), target).requires_grad is False


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_copies_compute_the_same_and_carry_no_operators(copied):
    loss = HighFrequencyLoss(0.3, 'sym4', 1, 'reflect')
    pred, target = images(2, 3, 40, 44)
    value = loss(pred, target)
    assert copied(loss)(pred, target) == value
    assert repr(copied(loss)) == repr(loss)
    assert len(pickle.dumps(loss)) < 2000
    assert not loss.state_dict()


def test_threads_agree():
    loss = HighFrequencyLoss()
    pairs = [images(1, 3, size, size + 3) for size in range(24, 40)]
    expected = [value_and_gradient(loss, *pair) for pair in pairs]
    analysis.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: value_and_gradient(loss, *pair), pairs))
    for (value, gradient), (right, exact) in zip(found, expected, strict=True):
        assert value == right
        assert torch.equal(gradient, exact)


@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
def test_torch_compile_traces_it_whole_at_changing_sizes(backend):
    torch._dynamo.reset()
    loss = HighFrequencyLoss()
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    for size in (40, 41, 47):
        pred, target = images(2, 3, size, size + 1)
        value, gradient = value_and_gradient(compiled, pred, target)
        expected, exact = value_and_gradient(loss, pred, target)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient, exact)
        with torch.no_grad():
            torch.testing.assert_close(compiled(pred, target), expected)


def test_a_compiled_loss_still_refuses_small_images():
    torch._dynamo.reset()
    with pytest.raises(ValueError, match=r'\b20 x 20\b.*\b12 x 12\b'):
        torch.compile(HighFrequencyLoss(), backend='eager')(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('size', [64, 301])
def test_a_gpu_agrees_with_the_cpu(size):
    loss = HighFrequencyLoss()
    pred, target = images(2, 3, size, size + 2)
    value, gradient = value_and_gradient(loss, pred, target)
    found, there = value_and_gradient(loss, pred.cuda(), target.cuda())
    torch.testing.assert_close(found.cpu(), value, rtol=0, atol=1e-5)
    torch.testing.assert_close(there.cpu(), gradient, rtol=0, atol=1e-5)
    with torch.autocast('cuda'):
        torch.testing.assert_close(loss(pred.cuda(), target.cuda()).cpu(), value, rtol=0, atol=1e-5)
