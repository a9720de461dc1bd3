"""SAM in other people's BasicSR models: the weights of an explicit loop of two passes, and what cannot be repeated."""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mea_plugin.basicsr.models.sam_mixin import SAMModelMixin
from mea_plugin.optim import repeatable
from tests.basicsr.models.test_training_step import PlainScaler
from tests.basicsr.steps import DROPOUT_NET, SAM_OPT, UNET, assert_same, batches, build, models, train, weights
from tests.helpers import refused

SRModel, SRGANModel, ESRGANModel = (models().get(name) for name in ('SRModel', 'SRGANModel', 'ESRGANModel'))

SAM_SGD = {'type': 'SAM', 'base_optimizer': 'SGD', 'lr': 0.1, 'rho': 0.1}
GAN = {
    'optim_d': {'type': 'Adam', 'lr': 1e-3},
    'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
}


def register(cls):
    models().register(cls)
    return cls


@register
class MixedSRModel(SAMModelMixin, SRModel):
    pass


@register
class MixedSRGANModel(SAMModelMixin, SRGANModel):
    pass


@register
class MixedESRGANModel(SAMModelMixin, ESRGANModel):
    pass


class Sharpened(SRGANModel):
    """Feeds and steps as Real-ESRGAN's model does, with other targets and random choices; counts its calls."""

    calls = fed = averaged = 0

    def feed_data(self, data):
        super().feed_data(data)
        self.fed += 1
        self.gt_usm = self.gt + 0.1 * torch.randn_like(self.gt)

    def model_ema(self, decay=0.999):
        super().model_ema(decay)
        self.averaged += 1

    def optimize_parameters(self, current_iter):
        self.calls += 1
        flip = random.random() < 0.5
        weight = np.random.uniform(0.5, 1.5)  # noqa: NPY002
        if flip:
            self.lq, self.gt, self.gt_usm = (one.flip(-1) for one in (self.lq, self.gt, self.gt_usm))
        for p in self.net_d.parameters():
            p.requires_grad = False
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)
        logged = OrderedDict()
        if current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters:
            logged['l_g_pix'] = weight * self.cri_pix(self.output, self.gt_usm)
            logged['l_g_gan'] = self.cri_gan(self.net_d(self.output), True, is_disc=False)
            sum(logged.values()).backward()
            self.optimizer_g.step()
        for p in self.net_d.parameters():
            p.requires_grad = True
        self.optimizer_d.zero_grad()
        noise = 0.05 * torch.randn_like(self.gt)
        logged['l_d_real'] = self.cri_gan(self.net_d(self.gt_usm + noise), True, is_disc=True)
        logged['l_d_real'].backward()
        logged['l_d_fake'] = self.cri_gan(self.net_d(self.output.detach().clone()), False, is_disc=True)
        logged['l_d_fake'].backward()
        self.optimizer_d.step()
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.log_dict = self.reduce_loss_dict(logged)


@register
class MixedSharpened(SAMModelMixin, Sharpened):
    pass


@register
class ByHandSharpened(MixedSharpened):
    """The same step written out, each network's part as a closure."""

    def optimize_parameters(self, current_iter):
        flip, weight = random.random() < 0.5, np.random.uniform(0.5, 1.5)  # noqa: NPY002
        if flip:
            self.lq, self.gt, self.gt_usm = (one.flip(-1) for one in (self.lq, self.gt, self.gt_usm))
        outputs, logs = [], []

        def generator():
            self.optimizer_g.zero_grad()
            outputs.append(self.net_g(self.lq))
            pix = weight * self.cri_pix(outputs[-1], self.gt_usm)
            gan = self.cri_gan(self.net_d(outputs[-1]), True, is_disc=False)
            (pix + gan).backward()
            logs.append({'l_g_pix': pix, 'l_g_gan': gan})
            return pix + gan

        self.net_d.requires_grad_(False)
        if current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters:
            self.optimizer_g.step(repeatable(generator, self.net_g, self.net_d))
        else:
            outputs.append(self.net_g(self.lq))
        self.net_d.requires_grad_(True)

        def discriminator():
            self.optimizer_d.zero_grad()
            noise = 0.05 * torch.randn_like(self.gt)
            real = self.cri_gan(self.net_d(self.gt_usm + noise), True, is_disc=True)
            real.backward()
            fake = self.cri_gan(self.net_d(outputs[0].detach()), False, is_disc=True)
            fake.backward()
            logs.append({'l_d_real': real, 'l_d_fake': fake})
            return real + fake

        before = len(logs)
        self.optimizer_d.step(repeatable(discriminator, self.net_d))
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        first = (logs[0] if before else {}) | logs[before]
        self.log_dict = {key: value.item() for key, value in first.items()}


def run(model, count=4):
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    logs = train(model, count)
    return logs, torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002


OPTIMIZERS = {
    'SAM': SAM_OPT,
    'every 2': {**SAM_OPT, 'every': 2},
    'adaptive': {**SAM_SGD, 'adaptive': True, 'rho': 0.5},
    'LookSAM': {**SAM_OPT, 'type': 'LookSAM', 'every': 2},
    'MomentumSAM': {**SAM_OPT, 'type': 'MomentumSAM'},
    'Adam': {'type': 'Adam', 'lr': 1e-3},
}


@pytest.mark.parametrize('optim', OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize('network', [None, DROPOUT_NET], ids=['MSRResNet', 'SwinIR with dropout'])
def test_one_network_takes_the_steps_of_the_extraction_model(optim, network):
    options = {'optim_g': optim, 'ema_decay': 0.9}
    mixed, own = (build(kind, network, **options) for kind in ('MixedSRModel', 'ExtractionModel'))
    (ours, *random_states), (theirs, *expected) = run(mixed), run(own)
    assert_same(weights(mixed), weights(own))
    assert_same(weights(mixed, 'net_g_ema'), weights(own, 'net_g_ema'))
    assert [log['l_pix'] for log in ours] == [log['l_pix'] for log in theirs]
    assert torch.equal(random_states[0], expected[0])
    assert random_states[1:] == expected[1:]


@pytest.mark.parametrize(('g', 'd'), [('SAM', 'SAM'), ('SAM', 'Adam'), ('Adam', 'SAM'), ('every 2', 'LookSAM')])
@pytest.mark.parametrize(('kind', 'mode'), [('MixedSRGANModel', 'standard'), ('MixedESRGANModel', 'relativistic')])
def test_a_gan_takes_the_steps_of_the_extraction_gan_model(kind, mode, g, d):
    """BasicSR's own step: the discriminator has spectral norm, whose vectors move with every pass."""
    options = {**GAN, 'optim_g': OPTIMIZERS[g], 'optim_d': OPTIMIZERS[d], 'net_d_init_iters': 1}
    mixed = build(kind, network_d=UNET, **options)
    own = build('ExtractionGANModel', network_d=UNET, gan_mode=mode, **options)
    run(mixed), run(own)
    for network in ('net_g', 'net_d'):
        assert_same(weights(mixed, network), weights(own, network))


@pytest.mark.parametrize(('g', 'd'), [('SAM', 'SAM'), ('SAM', 'every 2'), ('LookSAM', 'adaptive')])
@pytest.mark.parametrize('network', [None, DROPOUT_NET], ids=['MSRResNet', 'SwinIR with dropout'])
def test_a_step_like_that_of_real_esrgan(network, g, d):
    options = {**GAN, 'optim_g': OPTIMIZERS[g], 'optim_d': OPTIMIZERS[d], 'ema_decay': 0.9, 'net_d_init_iters': 1}
    mixed, by_hand = (build(kind, network, network_d=UNET, **options) for kind in ('MixedSharpened', 'ByHandSharpened'))
    (ours, *random_states), (theirs, *expected) = run(mixed), run(by_hand)
    for name in ('net_g', 'net_d', 'net_g_ema'):
        assert_same(weights(mixed, name), weights(by_hand, name))
    assert ours == theirs
    assert torch.equal(random_states[0], expected[0])
    assert random_states[1:] == expected[1:]
    assert (mixed.calls, mixed.fed) == (4, 4)  # second runs are not counted by the model
    assert mixed.averaged == by_hand.averaged


def stepping(optimize):
    return type('Odd', (SAMModelMixin, type('Base', (SRModel,), {'optimize_parameters': optimize})), {})


def odd_model(optimize):
    model = build('MixedSRModel', optim_g=SAM_SGD)
    model.__class__ = stepping(optimize)
    model.log_dict = {}
    return model


def loss_of(model):
    model.output = model.net_g(model.lq)
    return model.cri_pix(model.output, model.gt)


def accumulating(self, current_iter):
    loss_of(self).backward()
    if current_iter % 2 == 0:
        self.optimizer_g.step()
        self.optimizer_g.zero_grad()


def twice(self, current_iter):
    for _ in range(2):
        self.optimizer_g.zero_grad()
        loss_of(self).backward()
        self.optimizer_g.step()


def with_closure(self, current_iter):
    self.optimizer_g.step(lambda: loss_of(self))


def differing(self, current_iter):
    self.count = getattr(differing, 'count', 0)
    differing.count = self.count + 1
    self.optimizer_g.zero_grad()
    loss_of(self).backward()
    if self.count == 0:
        self.optimizer_g.step()


@pytest.mark.parametrize(
    ('optimize', 'word', 'iteration'),
    [(accumulating, 'accumulates', 2), (twice, 'two steps', 1), (with_closure, 'closure', 1), (differing, 'same', 1)],
)
def test_a_step_that_cannot_be_repeated_is_refused(optimize, word, iteration):
    model = odd_model(optimize)
    before, step = weights(model), vars(model.optimizer_g).get('step')
    with refused(f'iteration {iteration}', word):
        train(model, 2)
    if optimize is not twice:
        assert_same(weights(model), before)
    assert vars(model.optimizer_g).get('step') is step


def zeroing_at_the_end(self, current_iter):
    loss_of(self).backward()
    self.optimizer_g.step()
    self.optimizer_g.zero_grad()


def test_gradients_may_be_zeroed_after_the_step():
    model, usual = odd_model(zeroing_at_the_end), build('MixedSRModel', optim_g=SAM_SGD)
    train(model), train(usual)
    assert_same(weights(model), weights(usual))


def test_a_gradient_scaler_is_refused():
    model = build('MixedSRModel', optim_g=SAM_SGD)
    model.scaler = PlainScaler()
    model.scaler.is_enabled = lambda: True
    with refused('iteration 1', 'MixedSRModel', 'scaler'):
        train(model, 1)


def test_a_gradient_that_is_not_finite_names_the_iteration():
    model = build('MixedSRModel', optim_g=SAM_SGD)
    before = weights(model)
    model.net_g.body[0].weight.register_hook(lambda grad: grad * float('nan'))
    with refused('iteration 1', '(at w)'):
        train(model, 1)
    assert_same(weights(model), before)


def test_what_is_refused_before_training():
    with refused('train.optim_d', 'MomentumSAM'):
        build('MixedSRGANModel', network_d=UNET, **{**GAN, 'optim_d': {**SAM_OPT, 'type': 'MomentumSAM'}})
    with refused('NoModel'):
        type('NoModel', (SAMModelMixin,), {})


def test_both_networks_may_share_a_section():
    shared = {**SAM_OPT}
    model = build('MixedSRGANModel', network_d=UNET, **{**GAN, 'optim_g': shared, 'optim_d': shared})
    assert [type(one).__name__ for one in model.optimizers] == ['SAM', 'SAM']
    assert next(batches(1))['lq'].shape == (2, 3, 12, 12)
