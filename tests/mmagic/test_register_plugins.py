"""Losses and optimizers that others register with this package, named in MMagic's configs."""

from __future__ import annotations

import uuid

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import OPTIMIZERS
from torch import nn

from mea_plugin.losses.registry import LOSSES, register_loss
from mea_plugin.mmagic.checks.config_types import check_type
from mea_plugin.optim.registry import OPTIMIZERS as OWN_OPTIMIZERS
from mea_plugin.optim.registry import register_optimizer
from tests.distributions import install
from tests.helpers import refused


class TheirLoss(nn.Module):
    """The mean of the difference."""

    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred, target):
        return self.loss_weight * (pred - target).mean()


class TheirSGD(torch.optim.SGD):
    """With a default."""

    def __init__(self, params, lr=0.5):
        super().__init__(params, lr=lr)


@pytest.fixture
def name(monkeypatch):
    """A name that nothing has; what is registered under it goes afterwards."""
    for registry in (LOSSES, OWN_OPTIMIZERS):
        monkeypatch.setattr(registry, '_registered', dict(registry._registered))
    name = f'Theirs{uuid.uuid4().hex}'
    yield name
    for registry in (MODELS, OPTIMIZERS):
        registry._module_dict.pop(name, None)


def test_a_registered_loss_is_built_by_mmagic(name):
    register_loss(name)(TheirLoss)
    loss = MODELS.build({'type': name, 'loss_weight': 3.0})
    assert loss(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)) == 3


def test_a_registered_optimizer_is_built_by_mmengine(name):
    register_optimizer(name, TheirSGD)
    optimizer = OPTIMIZERS.build({'type': name, 'params': [nn.Parameter(torch.zeros(1))]})
    assert optimizer.defaults['lr'] == 0.5


def test_a_name_that_mmagic_has_is_refused(name):
    held = MODELS.get('L1Loss')
    with refused('', "'L1Loss'"):
        register_loss('L1Loss', TheirLoss)
    assert 'L1Loss' not in LOSSES
    assert MODELS.get('L1Loss') is held


@pytest.mark.parametrize(
    ('kind', 'own', 'registry'), [('losses', LOSSES, MODELS), ('optimizers', OWN_OPTIMIZERS, OPTIMIZERS)]
)
def test_an_entry_point_is_found_when_a_config_names_it(name, tmp_path, monkeypatch, kind, own, registry):
    base = {'losses': 'torch.nn.Module', 'optimizers': 'torch.optim.SGD'}[kind]
    source = f'import torch\nclass Thing({base}):\n    pass\n'
    module = f'their_{name.lower()}'
    entries = {f'mea_plugin.{kind}': {name: f'{module}:Thing'}}
    monkeypatch.syspath_prepend(str(install(tmp_path, module, source, entries)))
    vars(own).pop('_entry_points', None)
    try:
        assert check_type(registry, {'type': name}, 'config').__module__ == module
    finally:
        vars(own).pop('_entry_points', None)
