"""Further loss terms in MMagic's configs: in every extraction model, logged by name, refused before training."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip('mmagic')

from mea_plugin.losses import FocalFrequencyLoss
from tests.helpers import ROOT, refused
from tests.mmagic import tiny
from tests.mmagic.gan import batches_of, config_of, wrap_all

FOCAL = {'type': 'FocalFrequencyLoss', 'loss_weight': 0.7, 'alpha': 0.5}
MODELS = ['EditModel', 'SRGAN', 'Pix2Pix', 'CycleGAN']


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('sam', [False, True])
def test_a_further_loss_stands_beside_the_penalty(name, sam, monkeypatch):
    model = tiny.build(config_of(name, hf_loss=tiny.HF, extra_losses=[FOCAL, {'type': 'MSELoss', 'name': 'far'}]))
    (focal, far), seen = model.extra_losses.values(), []
    forward = focal.forward
    monkeypatch.setattr(focal, 'forward', lambda pred, target: seen.append((pred, target)) or forward(pred, target))
    assert isinstance(focal, FocalFrequencyLoss)
    assert far.loss_weight == 1.0
    log = tiny.train(model, wrap_all(model, sam), batches_of(name, 1))[0]
    domains = ['_response', '_query'] if name == 'CycleGAN' else ['']
    assert [key for key in log if 'loss_hf' in key] == [f'loss_hf{domain}' for domain in domains]
    assert len(seen) == len(domains) * (2 if sam else 1)
    for domain, (pred, target) in zip(domains, seen, strict=False):
        expected = FocalFrequencyLoss(0.7, 0.5)(pred.detach(), target)
        assert log[f'loss_focal_frequency{domain}'] == pytest.approx(expected.item())
        assert log[f'loss_far{domain}'] == pytest.approx((pred - target).square().mean().item(), rel=1e-5)
        assert pred.requires_grad


@pytest.mark.parametrize('name', MODELS)
def test_it_pulls_on_the_generator(name):
    plain, extra = (tiny.build(config_of(name, **options)) for options in ({}, {'extra_losses': [FOCAL]}))
    assert tiny.same(tiny.state(plain), tiny.state(extra))
    for model in (plain, extra):
        tiny.train(model, wrap_all(model, False), batches_of(name, 1))
    assert not tiny.same(tiny.state(plain), tiny.state(extra))


def test_a_loss_with_weights_follows_the_model_and_its_schedule_the_learning_rate():
    from mmengine.optim import CosineAnnealingLR

    model = tiny.build(tiny.edit_config(extra_losses=[{**FOCAL, 'schedule': 'lr'}]))
    model.extra_losses['focal_frequency'].register_buffer('some', torch.zeros(1))
    assert model.double().extra_losses['focal_frequency'].some.dtype == torch.float64
    model = model.float()
    wrapper = tiny.wrap(model, False, lr=1e-12)
    with refused('model.extra_losses[0].schedule', "'lr'"):
        tiny.train(model, wrapper, [tiny.edit_batch()])
    scheduler = CosineAnnealingLR(wrapper, T_max=2, by_epoch=False)
    values = []
    for _ in range(3):
        values.append(tiny.train(model, wrapper, [tiny.edit_batch()])[0]['loss_focal_frequency'])
        scheduler.step()
    assert values == pytest.approx([0, values[2] / 2, values[2]], rel=1e-4)
    assert values[2] > 0


def check(name, overrides):
    from mea_plugin.mmagic.checks.check import check_config
    from mea_plugin.toolboxes.mmagic_config import load_config

    file = ROOT / 'options' / 'mmagic' / 'small' / f'{name}.py'
    check_config(load_config(file, overrides), where='c.py', data=False)


MISTAKES = [
    ([FOCAL, {'type': 'FocalFrequencyLos'}], 'extra_losses[1].type', 'FocalFrequencyLoss'),
    ([{**FOCAL, 'alfa': 1}], 'extra_losses[0]', 'alpha'),
    ([{**FOCAL, 'alpha': -1}], 'extra_losses[0]', ''),
    ([{**FOCAL, 'patch_factor': 5}], 'extra_losses[0]', '128 x 128'),
    ([FOCAL, FOCAL], 'extra_losses[1].name', ''),
    (FOCAL, 'extra_losses', ''),
    ([{**FOCAL, 'schedule': 'lr'}], 'extra_losses[0].schedule', ''),
]


@pytest.mark.parametrize(('extra', 'where', 'do'), MISTAKES)
def test_mistakes_are_named_before_the_training(extra, where, do):
    overrides = {'model.extra_losses': extra, 'param_scheduler': None}
    with refused(f'c.py: model.{where}', do=do):
        check('pix2pix_baseline', overrides)


def test_a_right_list_passes_and_needs_the_counterparts_in_a_cyclegan():
    check('pix2pix_proposed', {'model.extra_losses': [{**FOCAL, 'schedule': 'lr'}]})
    check('cyclegan_proposed', {'model.extra_losses': [FOCAL]})
    model = tiny.build(config_of('CycleGAN', extra_losses=[FOCAL]))
    (batch,) = batches_of('CycleGAN', 1)
    batch['inputs'] = {key: value for key, value in batch['inputs'].items() if key.startswith('img_')}
    with refused('model', 'paired_response'):
        tiny.train(model, wrap_all(model, False), [batch])
