"""Real models under SAM in mixed precision: bfloat16 on a CPU, float16 with a scaler on a GPU or with a fake one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip('mmagic')

from tests.mmagic import tiny
from tests.mmagic.gan import batches_of, config_of, parts_of, wrap_all
from tests.mmagic.scaler import FakeScaler

MODELS = ['EditModel', 'SRGAN', 'Pix2Pix', 'CycleGAN']
STEPS = 4
PARTS = [(name, part) for name in MODELS for part in ('generator', 'critic')[: 1 if name == 'EditModel' else 2]]
# MMEngine's autocast asks the machine for its device, not the model.
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='MMEngine would cast for the GPU')
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 needs a GPU')
PRECISIONS = [
    pytest.param('cpu', 'bfloat16', marks=on_cpu, id='bfloat16'),
    pytest.param('cuda', 'float16', marks=[pytest.mark.gpu, no_gpu], id='float16'),
]


def build(name: str, device: str = 'cpu'):
    return tiny.build(config_of(name, hf_loss=tiny.HF)).to(device)


def wrappers_of(wrapper) -> list:
    """In the order of the parts."""
    return list(getattr(wrapper, 'optim_wrappers', {'': wrapper}).values())


def convolutions(network: nn.Module) -> list[torch.dtype]:
    """The type that each call of a convolution gives, from now on."""
    seen: list[torch.dtype] = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    return seen


@pytest.mark.parametrize(('device', 'dtype'), PRECISIONS)
@pytest.mark.parametrize('name', MODELS)
def test_a_model_takes_steps(name, device, dtype):
    """Both passes of each network in the named type, close to what float32 does; the weights stay float32."""
    full, mixed = build(name, device), build(name, device)
    for module in [*full.modules(), *mixed.modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # a GPU's masks may depend on the type
    before = tiny.state(mixed)
    batches = batches_of(name, 1) * STEPS
    calls = [{part: convolutions(network) for part, network in parts_of(model).items()} for model in (full, mixed)]
    expected = tiny.train(full, wrap_all(full, True), batches)
    # A scale that stays: the dynamic one finds itself by skipping the first steps. bfloat16 has none.
    wrapper = wrap_all(mixed, True, dtype=dtype, loss_scale=128.0)
    terms = tiny.train(mixed, wrapper, batches)
    assert terms[0] == pytest.approx(expected[0], rel=0.05)
    assert terms[1] == pytest.approx(expected[1], rel=0.1)  # later, Adam blows differences in tiny gradients up
    for part, network in parts_of(mixed).items():
        assert set(calls[1][part]) == {getattr(torch, dtype)}
        assert len(calls[1][part]) == len(calls[0][part]) > 0
        names = {id(param): key for key, param in mixed.named_parameters()}
        for param in network.parameters():
            assert param.dtype == torch.float32
            assert param.isfinite().all()
        assert any(not param.equal(before[names[id(param)]]) for param in network.parameters())
    assert not any(one.optimizer.climbed for one in wrappers_of(wrapper))


def with_scalers(model):
    """A wrapper for mixed precision whose scalers scale, though there is no GPU."""
    wrapper = wrap_all(model, True, dtype='bfloat16')
    scalers = [FakeScaler() for _ in wrappers_of(wrapper)]
    for one, scaler in zip(wrappers_of(wrapper), scalers, strict=True):
        one.loss_scaler = scaler
    return wrapper, scalers


@on_cpu
@pytest.mark.parametrize('name', MODELS)
def test_with_a_scaler_as_without(name):
    plain, scaled = build(name), build(name)
    batches = batches_of(name, STEPS)
    expected = tiny.train(plain, wrap_all(plain, True, dtype='bfloat16'), batches)
    wrapper, scalers = with_scalers(scaled)
    terms = tiny.train(scaled, wrapper, batches)
    for one, other in zip(terms, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for scaler in scalers:
        assert scaler.calls == ['scale', 'scale', 'unscale', 'step', 'update'] * STEPS
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(scaled.state_dict()[key], value, rtol=1e-5, atol=1e-7)


@on_cpu
@pytest.mark.parametrize('index', [1, 2])
@pytest.mark.parametrize(('name', 'part'), PARTS)
def test_an_overflow_in_either_pass_skips_that_networks_step(name, part, index):
    """No error: the weights stay where they are, the scale falls, the other network and the next step go on."""
    model = build(name)
    wrapper, scalers = with_scalers(model)
    networks = parts_of(model)
    position = list(networks).index(part)
    passes = []

    def overflow(grad):
        passes.append(1)
        return torch.full_like(grad, float('inf')) if len(passes) == index else grad

    next(networks[part].parameters()).register_hook(overflow)
    before = {key: tiny.state(network) for key, network in networks.items()}
    batches = batches_of(name, 2)
    tiny.train(model, wrapper, batches[:1])
    for number, (key, network) in enumerate(networks.items()):
        held = [param.equal(before[key][name]) for name, param in network.named_parameters()]
        assert all(held) if key == part else not all(held)
        assert scalers[number].calls[-2:] == ['skip' if key == part else 'step', 'update']
        assert scalers[number].value == (2.0**15 if key == part else 2.0**16)
    assert len(passes) == index
    assert not wrappers_of(wrapper)[position].optimizer.climbed
    tiny.train(model, wrapper, batches[1:])
    assert scalers[position].calls[-2:] == ['step', 'update']
    assert not all(param.equal(before[part][name]) for name, param in networks[part].named_parameters())
