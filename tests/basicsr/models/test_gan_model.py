"""ExtractionGANModel against BasicSR's SRGANModel and ESRGANModel, and against SAM's equations."""

import copy
from urllib.error import URLError

import pytest
import torch
from torch import nn

from mea_plugin.losses import HighFrequencyLoss
from tests.basicsr.steps import DROPOUT_NET, SAM_OPT, UNET, assert_same, batches, build, terms, train, weights
from tests.helpers import refused

VGG = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 2}
ADAM = {'type': 'Adam', 'lr': 1e-3}
GAN_TYPES = ('vanilla', 'lsgan', 'hinge', 'wgan', 'wgan_softplus')
THEIRS = {'standard': 'SRGANModel', 'relativistic': 'ESRGANModel'}


class TinyGenerator(nn.Module):
    """With buffers that move, and random numbers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 48, 3, padding=1), nn.Dropout(0.2))
        self.up = nn.PixelShuffle(4)

    def forward(self, x):
        return self.up(self.body(x))


class Distance(nn.Module):
    """In the place of BasicSR's perceptual loss, whose weights are not at hand."""

    def forward(self, x, gt):
        return (x.mean((2, 3)) - gt.mean((2, 3))).abs().mean(), (x.std() - gt.std()).square()


@pytest.fixture(scope='module', autouse=True)
def _registered():
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    ARCH_REGISTRY.register(TinyGenerator), LOSS_REGISTRY.register(Distance)
    yield
    ARCH_REGISTRY._obj_map.pop('TinyGenerator'), LOSS_REGISTRY._obj_map.pop('Distance')


def gan(model_type='ExtractionGANModel', network=None, *, network_d=UNET, gan_type='vanilla', **train_options):
    options = {'optim_d': ADAM, 'gan_opt': {'type': 'GANLoss', 'gan_type': gan_type, 'loss_weight': 0.1}}
    return build(model_type, network, network_d=network_d, **{**options, **train_options})


def assert_equal_runs(ours, theirs, count=4, **kwargs):
    assert terms(train(ours, count, **kwargs)) == train(theirs, count, **kwargs)
    for network in ('net_g', 'net_d'):
        assert_same(weights(ours, network), weights(theirs, network))
    if hasattr(theirs, 'net_g_ema'):
        assert_same(dict(ours.net_g_ema.named_parameters()), dict(theirs.net_g_ema.named_parameters()))


@pytest.mark.parametrize('mode', THEIRS)
@pytest.mark.parametrize('gan_type', GAN_TYPES)
def test_without_penalty_and_sam_it_is_basicsr_s_model(gan_type, mode):
    options = {'gan_type': gan_type, 'net_d_iters': 2, 'net_d_init_iters': 1, 'ema_decay': 0.9}
    assert_equal_runs(gan(gan_mode=mode, **options), gan(THEIRS[mode], **options))


@pytest.mark.parametrize('mode', THEIRS)
def test_batch_norm_dropout_and_the_perceptual_loss_are_basicsr_s(mode):
    options = {'network_d': VGG, 'perceptual_opt': {'type': 'Distance'}, 'ema_decay': 0.9, 'net_d_iters': 2}
    generator = {'type': 'TinyGenerator'}
    ours, theirs = gan(network=generator, gan_mode=mode, **options), gan(THEIRS[mode], generator, **options)
    assert_equal_runs(ours, theirs, size=32)
    assert int(ours.net_g.body[0].num_batches_tracked) == 4
    assert torch.equal(ours.net_g_ema.body[0].running_mean, ours.net_g.body[0].running_mean)


def test_every_iteration_of_a_network_with_dropout_is_basicsr_s():
    assert_equal_runs(gan(network=DROPOUT_NET), gan('SRGANModel', DROPOUT_NET), count=3)


@pytest.mark.parametrize('mode', THEIRS)
def test_rho_0_on_both_networks_is_the_base_optimizer(mode):
    sam = {'optim_g': {**SAM_OPT, 'rho': 0.0}, 'optim_d': {**SAM_OPT, 'rho': 0.0}}
    assert_equal_runs(gan(gan_mode=mode, **sam), gan(THEIRS[mode]), count=3)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def by_hand(network, gradients, rho, lr=0.1):
    """A step of SAM on SGD: gradient at w + rho g / |g|, applied at w; buffers stay where the first pass left them."""
    first = gradients()
    buffers = [buffer.clone() for buffer in network['buffers']()]
    norm = torch.sqrt(sum(g.square().sum() for g in first))
    start = [p.detach().clone() for p in network['params']]
    with torch.no_grad():
        for p, g in zip(network['params'], first, strict=True):
            p += rho * g / norm
    second = gradients() if rho else first
    with torch.no_grad():
        for p, w, g in zip(network['params'], start, second, strict=True):
            p.copy_(w - lr * g)
        for buffer, value in zip(network['buffers'](), buffers, strict=True):
            buffer.copy_(value)


@pytest.mark.parametrize('mode', THEIRS)
@pytest.mark.parametrize('rhos', [(0.3, 0.0), (0.0, 0.3), (0.3, 0.4)], ids=['generator', 'discriminator', 'both'])
def test_sam_steps_as_its_equations_say(mode, rhos, float64):
    """Both passes on the same batch, dropout and fakes; the fakes are those that the generator made before it moved."""
    sgd = {'type': 'SAM', 'base_optimizer': 'SGD', 'lr': 0.1}
    sam = {'optim_g': {**sgd, 'rho': rhos[0]}, 'optim_d': {**sgd, 'rho': rhos[1]}}
    hf = {'type': 'HighFrequencyLoss'}
    model = gan(network={'type': 'TinyGenerator'}, gan_mode=mode, hf_opt=hf, **sam)
    net_g, net_d = copy.deepcopy(model.net_g), copy.deepcopy(model.net_d)
    penalty, criterion = HighFrequencyLoss(), nn.functional.binary_cross_entropy_with_logits
    log = train(model, 1)[0]
    batch = {key: value.double() for key, value in next(batches(1)).items()}
    outputs, losses = [], []

    def adversarial(score, real):
        return criterion(score, torch.full_like(score, float(real)))

    def generators():
        torch.manual_seed(3)
        output = net_g(batch['lq'])
        outputs.append(output.detach())
        loss = (output - batch['gt']).abs().mean() + penalty(output, batch['gt'])
        if mode == 'standard':
            loss = loss + 0.1 * adversarial(net_d(output), True)
        else:
            real, fake = net_d(batch['gt']).detach(), net_d(output)
            loss = loss + 0.05 * (adversarial(real - fake.mean(), False) + adversarial(fake - real.mean(), True))
        losses.append(loss.detach())
        return torch.autograd.grad(loss, list(net_g.parameters()))

    def discriminators():
        if mode == 'standard':
            loss = adversarial(net_d(batch['gt']), True) + adversarial(net_d(outputs[0]), False)
        else:
            rivals = net_d(outputs[0]).detach()
            real, fake = net_d(batch['gt']), net_d(outputs[0])
            loss = adversarial(real - rivals.mean(), True) + adversarial(fake - real.mean().detach(), False)
            loss = loss / 2
        return torch.autograd.grad(loss, list(net_d.parameters()))

    both = {'params': list(net_g.parameters()), 'buffers': lambda: [*net_g.buffers(), *net_d.buffers()]}
    by_hand(both, generators, rhos[0])
    by_hand({'params': list(net_d.parameters()), 'buffers': lambda: list(net_d.buffers())}, discriminators, rhos[1])
    for network, oracle in (('net_g', net_g), ('net_d', net_d)):
        expected = oracle.state_dict()
        for key, value in weights(model, network).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-11, msg=f'{network}.{key}')
    assert ('sharpness_g' in log, 'sharpness_d' in log) == (rhos[0] > 0, rhos[1] > 0)
    if rhos[0]:
        assert log['sharpness_g'] == pytest.approx(float(losses[1] - losses[0]))


def test_the_artifacts_term_is_real_esrgan_s():
    from basicsr.losses.loss_util import get_refined_artifact_map

    model = gan(ldl_opt={'type': 'L1Loss', 'loss_weight': 2.0}, ema_decay=0.5)
    for iteration, batch in enumerate(batches(2), 1):
        with torch.no_grad():
            output, averaged = model.net_g(batch['lq']), model.net_g_ema(batch['lq'])
            artifacts = get_refined_artifact_map(batch['gt'], output, averaged, 7)
            expected = 2 * (artifacts * output - artifacts * batch['gt']).abs().mean()
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        assert model.get_current_log()['l_g_ldl'] == pytest.approx(float(expected), rel=1e-4)
    assert expected > 0  # from the second step on, when the averaged weights are others


def test_the_generator_waits_for_its_iterations():
    model = gan(net_d_iters=2, net_d_init_iters=2, optim_g=SAM_OPT)
    before, moved = weights(model), []
    for log in train(model, 4):
        moved.append('l_g_gan' in log)
        assert moved[-1] == ('grad_norm_g' in log)
        assert {'l_d_real', 'out_d_real', 'l_d_fake', 'out_d_fake', 'grad_norm_d'} <= log.keys()
    assert moved == [False, False, False, True]
    assert any(not torch.equal(value, before[key]) for key, value in weights(model).items())


def test_a_perceptual_loss_whose_weights_cannot_be_fetched(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def offline(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', offline)
    monkeypatch.setattr('torch.hub.urlopen', offline)
    with refused('train.perceptual_opt', 'vgg19', 'no network', do='vgg19-dcbb9e9d.pth'):
        gan(perceptual_opt={'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}})


def test_a_mode_that_there_is_not():
    with refused('train.gan_mode', "'relativist'", do="'relativistic'"):
        gan(gan_mode='relativist')
