"""How a step is taken: in parts, in reduced precision, in another layout, compiled, under a gradient scaler."""

import math

import pytest
import torch
from torch import nn

from tests.basicsr.steps import SAM_OPT, UNET, assert_same, batches, build, terms, train, weights
from tests.helpers import refused

GAN = {
    'optim_d': {'type': 'Adam', 'lr': 1e-3},
    'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
}
SMOOTH = {'optim_g': {'type': 'SGD', 'lr': 0.1}}  # an error of rounding stays one: Adam's first step is a sign
SAM_SGD = {'type': 'SAM', 'base_optimizer': 'SGD', 'lr': 0.1, 'rho': 0.1}


def gan(**options):
    return build('ExtractionGANModel', network_d=UNET, **{**GAN, **options})


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_near(first, second, rtol, atol):
    assert first.keys() == second.keys()
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=rtol, atol=atol, msg=key)


@pytest.mark.parametrize('optim', [SMOOTH['optim_g'], SAM_SGD], ids=['plain', 'SAM'])
def test_micro_batches_take_the_step_of_the_whole_batch(optim, float64):
    whole, parts = (build('ExtractionModel', optim_g=optim, accumulate=count) for count in (1, 4))
    for one, other in zip(train(whole, images=4), train(parts, images=4), strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    assert_near(weights(whole), weights(parts), 1e-9, 1e-12)


@pytest.mark.parametrize('optim', [SMOOTH['optim_g'], SAM_SGD], ids=['plain', 'SAM'])
def test_micro_batches_of_a_gan_take_the_step_of_the_whole_batch(optim, float64, monkeypatch):
    """But for the spectral norm's vectors, which move with every forward pass: the discriminator here has none."""
    from basicsr.archs import discriminator_arch

    monkeypatch.setattr(discriminator_arch, 'spectral_norm', lambda layer: layer)
    whole, parts = (gan(optim_g=optim, optim_d=optim, accumulate=count) for count in (1, 2))
    for one, other in zip(train(whole, 2, images=4), train(parts, 2, images=4), strict=True):
        assert one == pytest.approx(other, rel=1e-7)
    for network in ('net_g', 'net_d'):
        assert_near(weights(whole, network), weights(parts, network), 1e-8, 1e-11)


def test_a_batch_that_cannot_be_divided():
    with refused('train.accumulate', '2', '3', do='batch_size_per_gpu'):
        train(build('ExtractionModel', accumulate=3), 1)


@pytest.mark.parametrize('optim', [SMOOTH['optim_g'], SAM_SGD], ids=['plain', 'SAM'])
def test_bfloat16_is_for_training_only(optim):
    """Forward passes are computed in bfloat16, weights and validation stay float32."""
    model, full = build('ExtractionModel', optim_g=optim, amp='bfloat16'), build('ExtractionModel', optim_g=optim)
    seen = []
    model.net_g.body[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    train(model, 2), train(full, 2)
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in weights(model).values()} == {torch.float32}
    assert_near(weights(model), weights(full), 0, 2e-3)
    assert any(not torch.equal(a, b) for a, b in zip(weights(model).values(), weights(full).values(), strict=True))
    model.test()
    assert seen[-1] == model.output.dtype == torch.float32


@pytest.mark.parametrize('mode', ['standard', 'relativistic'])
def test_bfloat16_in_a_gan_is_not_that_of_its_losses(mode):
    hinge = {'type': 'GANLoss', 'gan_type': 'hinge', 'loss_weight': 0.1}
    options = {'ldl_opt': {'type': 'L1Loss'}, 'ema_decay': 0.9, 'hf_opt': {'type': 'HighFrequencyLoss'}}
    model = gan(amp='bfloat16', optim_d=SAM_OPT, gan_opt=hinge, gan_mode=mode, **options)
    before = weights(model, 'net_d')
    model.feed_data(next(batches(1)))
    model.optimize_parameters(1)
    assert {value.dtype for value in model.step_log.terms.values()} == {torch.float32}
    assert all(math.isfinite(value) for log in train(model, 2) for value in log.values())
    assert any(not torch.equal(value, before[key]) for key, value in weights(model, 'net_d').items())


def test_float16_needs_a_gpu():
    with refused('train.amp', 'float16', 'GPU', do='bfloat16'):
        build('ExtractionModel', amp='float16')


class PlainScaler:
    """What a gradient scaler does, in a few lines: torch 2.1 has none that works without CUDA."""

    def __init__(self, scale=2.0**16):
        self.factor, self.bad = scale, None

    def scale(self, loss):
        return loss * self.factor

    def unscale_(self, optimizer):
        grads = [param.grad for group in optimizer.param_groups for param in group['params']]
        assert self.bad is None, 'unscaled twice'
        self.bad = not all(torch.isfinite(grad).all() for grad in grads)
        for grad in grads:
            grad.div_(self.factor)

    def step(self, optimizer):
        if self.bad is None:
            self.unscale_(optimizer)
        return None if self.bad else optimizer.step()

    def update(self):
        self.factor *= 0.5 if self.bad else 1.0
        self.bad = None

    def get_scale(self):
        return self.factor

    def state_dict(self):
        return {'scale': self.factor}

    def load_state_dict(self, state):
        self.factor = state['scale']


def torch_scaler():
    return torch.amp.GradScaler('cpu', init_scale=2.0**16)


SCALERS = [
    PlainScaler,
    pytest.param(
        torch_scaler,
        marks=pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch has a CUDA scaler only'),
    ),
]
OPTIMIZERS = [
    {'type': 'Adam', 'lr': 1e-3},
    SAM_OPT,
    {**SAM_OPT, 'every': 2},
    {**SAM_OPT, 'adaptive': True, 'rho': 0.5},
    {**SAM_OPT, 'type': 'LookSAM', 'every': 2},
    {**SAM_OPT, 'type': 'MomentumSAM'},
]


@pytest.mark.parametrize('optim', OPTIMIZERS, ids=['Adam', 'SAM', 'every 2', 'adaptive', 'LookSAM', 'MomentumSAM'])
@pytest.mark.parametrize('scaler', SCALERS)
def test_the_scale_changes_nothing(scaler, optim):
    plain, scaled = build('ExtractionModel', optim_g=optim), build('ExtractionModel', optim_g=optim)
    scaled.step_g.scaler = scaler()
    for one, other in zip(train(plain), train(scaled), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-7)
    assert_near(weights(plain), weights(scaled), 1e-4, 1e-6)


def test_both_networks_of_a_gan_have_a_scaler():
    plain, scaled = gan(optim_d=SAM_SGD, optim_g=SAM_SGD), gan(optim_d=SAM_SGD, optim_g=SAM_SGD)
    scaled.step_g.scaler, scaled.step_d.scaler = PlainScaler(), PlainScaler()
    train(plain, 3), train(scaled, 3)
    for network in ('net_g', 'net_d'):
        assert_near(weights(plain, network), weights(scaled, network), 1e-4, 1e-6)


@pytest.mark.parametrize(('poisoned', 'passes'), [((1,), 1), ((2,), 2)])
@pytest.mark.parametrize('scaler', SCALERS)
def test_an_overflow_skips_the_step_and_lowers_the_scale(scaler, poisoned, passes):
    model = build('ExtractionModel', optim_g=SAM_OPT)
    scaler = model.step_g.scaler = scaler()
    before, calls, objective = weights(model), 0, model._objective

    def overflowing(*arguments):
        nonlocal calls
        calls += 1
        loss, parts = objective(*arguments)
        return loss * (math.inf if calls in poisoned else 1), parts

    model._objective = overflowing
    train(model, 1)
    assert calls == passes
    assert_same(weights(model), before)
    assert scaler.get_scale() == 2.0**15
    train(model, 1)
    assert calls == passes + 2
    assert any(not torch.equal(value, before[key]) for key, value in weights(model).items())


@pytest.mark.parametrize('kind', ['ExtractionModel', 'ExtractionGANModel'])
def test_channels_last_changes_the_layout_only(kind):
    options = {'ema_decay': 0.9, **SMOOTH, **(GAN if 'GAN' in kind else {})}
    plain, laid_out = (build(kind, network_d=UNET, channels_last=flag, **options) for flag in (False, True))
    for network in (laid_out.net_g, laid_out.net_g_ema):
        assert network.body[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert not network.body[0].weight.is_contiguous()
    train(plain), train(laid_out)
    assert laid_out.lq.is_contiguous(memory_format=torch.channels_last)
    assert_near(weights(laid_out), weights(plain), 1e-3, 1e-5)
    assert laid_out.net_g.body[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_network_trains_under_its_own_names():
    """Without the compiler behind it: what is compiled, and that steps stay the same, is what is tested here."""
    options = {'ema_decay': 0.9, 'optim_g': SAM_SGD}
    plain = build('ExtractionModel', **options)
    compiled = build('ExtractionModel', compile={'backend': 'eager'}, **options)
    assert 'forward' in vars(compiled.net_g)
    assert 'forward' not in vars(compiled.net_g_ema)
    train(plain, 2), train(compiled, 2)
    assert_near(weights(compiled), weights(plain), 1e-5, 1e-7)
    compiled.feed_data({'lq': torch.rand(1, 3, 9, 11)})
    compiled.test()


def test_one_process_on_several_gpus_cannot_compile(monkeypatch):
    model = build('ExtractionModel')
    model.opt['num_gpu'] = 2
    for key, value in (('compile', True), ('amp', 'bfloat16')):
        model.opt['train'] = {key: value}
        with refused('num_gpu', key, do=('torchrun', '--launcher pytorch', 'num_gpu: 1')):
            model.model_to_device(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize('kind', ['ExtractionModel', 'ExtractionGANModel'])
def test_data_parallel_changes_nothing(kind, monkeypatch):
    """BasicSR wraps so where one process trains on several GPUs; without any, the wrapper runs the network as it is."""
    from basicsr.models.base_model import BaseModel

    options = {'optim_g': SAM_OPT, 'ema_decay': 0.9, **(GAN if 'GAN' in kind else {})}
    plain = build(kind, network_d=UNET, **options)
    monkeypatch.setattr(BaseModel, 'model_to_device', lambda self, net: nn.DataParallel(net))
    wrapped = build(kind, network_d=UNET, **options)
    assert isinstance(wrapped.net_g, nn.DataParallel)
    assert train(plain, 2) == train(wrapped, 2)
    assert_same(weights(plain), {key.removeprefix('module.'): value for key, value in weights(wrapped).items()})
    wrapped.test()
    assert wrapped.net_g.training
    assert wrapped.net_g.module.training


def test_lbfgs_gets_its_closure():
    model = build('ExtractionModel', optim_g={'type': 'LBFGS', 'lr': 0.1, 'max_iter': 3})
    losses = [log['l_pix'] for log in train(model, 4)]
    assert losses[-1] < losses[0]


def test_one_call_of_the_closure_is_one_pass():
    model, calls = build('ExtractionModel'), []
    model.net_g.register_forward_hook(lambda *_: calls.append(None))
    train(model, 2)
    assert len(calls) == 2
    assert terms(train(build('ExtractionModel'), 1)) == train(build('SRModel'), 1)
    assert next(batches(1))['lq'].shape == (2, 3, 12, 12)
