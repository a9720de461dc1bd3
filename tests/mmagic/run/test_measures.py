"""Gradient norms and sharpness in the log: what they are, what they are called, and when they are there."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip('mmagic')

from tests.mmagic import tiny
from tests.mmagic.gan import CLASSES, batches_of, config_of, networks_of, wrap_all
from tests.mmagic.scaler import FakeScaler


@pytest.fixture(autouse=True)
def hub(_mmagic_scope):
    """A message hub of each test's own."""
    from mmengine.logging import MessageHub

    current = MessageHub.get_current_instance()
    kept, current._log_scalars = current._log_scalars, type(current.log_scalars)()
    yield current
    current._log_scalars = kept


def logged(hub):
    """Everything that was logged, by name."""
    return {name: list(buffer.data[0]) for name, buffer in hub.log_scalars.items()}


def build(name):
    return tiny.build(config_of(name))


def test_one_network(hub):
    model = build('EditModel')
    wrapper = tiny.wrap(model, 'SAM', rho=0.1, own={'every': 2})
    batches = batches_of('EditModel', 3)
    norms, sharp = [], []
    for batch in batches:
        terms = tiny.train(model, wrapper, [batch])
        assert set(terms[0]) == {'loss', 'loss_pix'}
        norms.append(wrapper.optimizer.grad_norm)
        sharp.append(float(wrapper.optimizer.sharpness))
    assert logged(hub) == {
        'train/grad_norm': norms,
        'train/sharpness': pytest.approx([sharp[0], sharp[2]], rel=1e-6),  # of steps with a second pass
    }
    assert sharp[0] == sharp[1]


def test_sharpness_is_the_loss_higher_up(hub):
    model, other = build('EditModel'), build('EditModel')
    batch = batches_of('EditModel', 1)[0]
    tiny.train(model, tiny.wrap(model, True, rho=0.5), [batch])
    query = torch.stack(batch['inputs']).float() / 255
    target = torch.stack([sample.gt_img for sample in batch['data_samples']]) / 255
    params = list(other.generator.parameters())

    def loss():
        return (other.generator(query) - target).abs().mean()

    low = loss()
    grads = torch.autograd.grad(low, params)
    norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
    with torch.no_grad():
        for param, grad in zip(params, grads, strict=True):
            param += 0.5 * grad / norm
        expected = float(loss() - low)
    assert expected > 0
    assert logged(hub)['train/sharpness'] == pytest.approx([expected], rel=1e-3)


@pytest.mark.parametrize('window', [1, 2])
@pytest.mark.parametrize('name', CLASSES)
def test_a_gans_networks_have_their_names(hub, name, window):
    model = build(name)
    wrapper = wrap_all(model, True, accumulative_counts=window)
    tiny.train(model, wrapper, batches_of(name, 2 * window))
    networks = [key.removesuffix('.optimizer') for key in wrapper.optim_wrappers]
    expected = {f'train/{what}_{network}' for what in ('grad_norm', 'sharpness') for network in networks}
    assert set(logged(hub)) == expected
    assert all(len(values) == 2 and all(map(math.isfinite, values)) for values in logged(hub).values())


@pytest.mark.parametrize('name', ['EditModel', 'Pix2Pix'])
def test_a_plain_optimizer_logs_nothing_unless_it_is_asked(hub, name):
    model = build(name)
    tiny.train(model, wrap_all(model, False), batches_of(name, 1))
    assert logged(hub) == {}
    tiny.train(model, wrap_all(model, False, clip_grad={'max_norm': math.inf}), batches_of(name, 1))
    parts = [''] if name == 'EditModel' else ['_generators', '_discriminators']
    assert set(logged(hub)) == {f'train/grad_norm{part}' for part in parts}


def test_where_mmengine_clips_its_norm_is_shown(hub):
    """The one before clipping, once."""
    model = build('EditModel')
    wrapper = tiny.wrap(model, True, clip_grad={'max_norm': 1e-3})
    tiny.train(model, wrapper, batches_of('EditModel', 1))
    (norm,) = logged(hub)['train/grad_norm']
    assert norm > 1e-3
    assert wrapper.optimizer.grad_norm == pytest.approx(1e-3, rel=1e-2)


def test_momentum_sam_has_no_sharpness(hub):
    model = build('EditModel')
    tiny.train(model, tiny.wrap(model, 'MomentumSAM'), batches_of('EditModel', 2))
    assert {name: len(values) for name, values in logged(hub).items()} == {'train/grad_norm': 2}


@pytest.mark.skipif(torch.cuda.is_available(), reason='MMEngine would cast for the GPU')
def test_a_step_that_a_scaler_skips_is_not_logged(hub):
    model = build('EditModel')
    wrapper = tiny.wrap(model, True, dtype='bfloat16')
    wrapper.loss_scaler = FakeScaler()
    handle = next(model.parameters()).register_hook(lambda grad: grad * math.inf)
    tiny.train(model, wrapper, batches_of('EditModel', 1))
    assert logged(hub) == {}
    handle.remove()
    tiny.train(model, wrapper, batches_of('EditModel', 1))
    assert set(logged(hub)) == {'train/grad_norm', 'train/sharpness'}


def test_nothing_is_read_from_the_device_for_it(monkeypatch):
    """One transfer a step reads the terms and the sharpness; the optimizer's norms are numbers already."""
    model = build('Pix2Pix')
    wrapper = wrap_all(model, True, base='SGD')  # Adam reads its count of steps
    batches = batches_of('Pix2Pix', 2)
    tiny.train(model, wrapper, batches[:1])
    reads = []
    for name in ('item', '__float__'):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, original=original: (reads.append(self), original(self))[1])
    model.train_step(batches[1], wrapper)
    # For each network two norms (the way up, the step), and the share of a micro-batch: what SAM reads anyway.
    per_network = 3
    assert len(reads) == per_network * len(networks_of(model))


@pytest.mark.slow
def test_the_log_shows_them(hub, tmp_path):
    """Through MMEngine's runner and its own hooks."""
    import json

    from mmengine.runner import Runner

    from tests.helpers import ROOT, photograph, save

    for index in range(3):
        save(tmp_path / 'query' / f'{index}.png', photograph((140, 136), index))
        save(tmp_path / 'response' / f'{index}.png', photograph((140, 136), index))
    from mea_plugin.toolboxes.mmagic_config import load_config

    overrides = {
        'train_dataloader.dataset.data_root': str(tmp_path),
        'train_dataloader.batch_size': 1,
        'model.generator.num_down': 5,
        'model.generator.base_channels': 4,
        'train_cfg.max_iters': 2,
        'default_hooks.logger.interval': 1,
        'work_dir': str(tmp_path / 'work'),
    }
    config = load_config(ROOT / 'options' / 'mmagic' / 'small' / 'pix2pix_proposed.py', overrides)
    Runner.from_cfg(config).train()
    (scalars,) = (tmp_path / 'work').rglob('vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    sam = {key for key, value in config.optim_wrapper.items() if isinstance(value, dict) and 'SAM' in value['type']}
    assert sam
    for line in lines:
        for key in sam:
            assert line[f'grad_norm_{key}'] > 0
            assert math.isfinite(line[f'sharpness_{key}'])
