"""Losses that others register with this package, named in BasicSR's option files."""

from __future__ import annotations

import uuid

import pytest
from torch import nn

from mea_plugin.basicsr.register import LOSS_REGISTRY
from mea_plugin.losses.registry import LOSSES, register_loss
from mea_plugin.toolboxes.basicsr_networks import find
from tests.distributions import install
from tests.helpers import refused


class TheirLoss(nn.Module):
    """The mean of the difference."""

    def forward(self, pred, target):
        return (pred - target).mean()


@pytest.fixture
def name(monkeypatch):
    """A name that nothing has; what is registered under it goes afterwards."""
    monkeypatch.setattr(LOSSES, '_registered', dict(LOSSES._registered))
    name = f'Theirs{uuid.uuid4().hex}'
    yield name
    LOSS_REGISTRY._obj_map.pop(name, None)


def test_a_registered_loss_is_in_basicsrs_registry(name):
    register_loss(name)(TheirLoss)
    assert LOSS_REGISTRY.get(name) is TheirLoss


def test_a_name_that_basicsr_has_is_refused(name):
    held = LOSS_REGISTRY.get('CharbonnierLoss')
    with refused('', "'CharbonnierLoss'"):
        register_loss('CharbonnierLoss', TheirLoss)
    assert 'CharbonnierLoss' not in LOSSES
    assert LOSS_REGISTRY.get('CharbonnierLoss') is held


def test_an_entry_point_is_found_when_an_option_file_names_it(name, tmp_path, monkeypatch):
    source = 'import torch\nclass Thing(torch.nn.Module):\n    pass\n'
    module = f'their_{name.lower()}'
    entries = {'mea_plugin.losses': {name: f'{module}:Thing'}}
    monkeypatch.syspath_prepend(str(install(tmp_path, module, source, entries)))
    vars(LOSSES).pop('_entry_points', None)
    try:
        assert find(LOSS_REGISTRY, name, 'run.yml: train.pixel_opt.type').__module__ == module
        assert LOSS_REGISTRY.get(name).__module__ == module
    finally:
        vars(LOSSES).pop('_entry_points', None)
