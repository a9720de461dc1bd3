"""Tiny BasicSR models, and steps of them, for the tests of this folder."""

from __future__ import annotations

import copy

import torch

import mea_plugin.basicsr  # noqa: F401 - registers; the toolbox's work-arounds come first
from tests.helpers import training_options

SAM_OPT = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3}
DROPOUT_NET = {
    'type': 'SwinIR', 'upscale': 4, 'in_chans': 3, 'img_size': 8, 'window_size': 4, 'img_range': 1.0, 'depths': [2],
    'embed_dim': 12, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect', 'drop_rate': 0.2,
}  # fmt: skip
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
MEASURES = ('grad_norm', 'sharpness')


def models():
    """BasicSR's registry of models, with the toolbox's work-arounds applied before it is imported."""
    from basicsr.utils.registry import MODEL_REGISTRY

    return MODEL_REGISTRY


def build(model_type, network=None, *, network_d=None, top=None, **train):
    """A model; ``train`` is laid over the smallest options, ``top`` over the top level."""
    from basicsr.models import build_model

    options = training_options('lq', 'gt', **copy.deepcopy(train))
    options.update(model_type=model_type, is_train=True, dist=False, rank=0, world_size=1)
    options['path'] = {}
    if network:
        options['network_g'] = network
    if network_d:
        options['network_d'] = network_d
    options.update(top or {})
    torch.manual_seed(0)
    return build_model(options)


def batches(count, size=12, images=2):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        gt = torch.rand(images, 3, 4 * size, 4 * size, generator=generator)
        yield {'lq': torch.nn.functional.avg_pool2d(gt, 4), 'gt': gt}


def train(model, count=4, **kwargs):
    """Train on the same batches every time; returns each step's log."""
    torch.manual_seed(3)
    logs = []
    for iteration, batch in enumerate(batches(count, **kwargs), 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
    return logs


def terms(logs):
    """Logs without what BasicSR does not log."""
    return [{k: v for k, v in log.items() if not k.startswith(MEASURES)} for log in logs]


def weights(model, network='net_g'):
    return {key: value.clone() for key, value in getattr(model, network).state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key
