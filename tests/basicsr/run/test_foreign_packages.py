"""A package that registers into BasicSR and into this package, used by tools/train_basicsr.py with --import."""

from __future__ import annotations

import pytest
import torch
import yaml

from tests.helpers import pair_folders, run_tool, training_options, write_yaml

pytestmark = pytest.mark.slow

PACKAGE = """
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from torch import nn

from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.losses import register_loss
from mea_plugin.optim import register_optimizer


@ARCH_REGISTRY.register()
class TheirNetwork(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 48, 1), nn.PixelShuffle(4))

    def forward(self, x):
        return self.layers(x)


@DATASET_REGISTRY.register()
class TheirDataset(PairedImageDataset):
    def __init__(self, opt):
        assert opt['their_option'] == 3
        super().__init__(opt)


@MODEL_REGISTRY.register()
class TheirModel(ExtractionModel):
    def init_training_settings(self):
        print('their option of the model:', self.opt['train']['their_option'])
        super().init_training_settings()


@register_loss('TheirLoss')
class TheirLoss(nn.Module):
    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred, target):
        return self.loss_weight * (pred - target).square().mean()


@register_optimizer('TheirSGD')
class TheirSGD(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr, momentum=0.9)
"""


@pytest.fixture
def package(tmp_path):
    file = tmp_path / 'their_package.py'
    file.write_text(PACKAGE)
    return file


@pytest.fixture
def options(tmp_path):
    """With everything of theirs but the model."""
    content = training_options(
        *pair_folders(tmp_path),
        pixel_opt={'type': 'TheirLoss', 'loss_weight': 2.0},
        hf_opt={'type': 'TheirLoss'},
        optim_g={'type': 'SAM', 'base_optimizer': 'TheirSGD', 'lr': 1e-3},
    )
    content['network_g'] = {'type': 'TheirNetwork', 'width': 4}
    content['datasets']['train'].update(type='TheirDataset', their_option=3)
    return content


def test_network_dataset_loss_and_optimizer_of_a_foreign_package(tmp_path, options, package):
    file = write_yaml(tmp_path / 'run.yml', options)
    ended = run_tool('train_basicsr', '-opt', file, '--root', tmp_path, '--import', package)
    assert ended.returncode == 0, ended.stderr
    weights = torch.load(tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth', weights_only=True)
    assert 'layers.0.weight' in weights['params']


def test_a_model_of_a_foreign_package_has_options_of_its_own(tmp_path, options, package):
    options.update(model_type='TheirModel', name='their_model')
    options['train'].update(optim_g={'type': 'TheirSGD', 'lr': 1e-3}, their_option='read')
    file = write_yaml(tmp_path / 'run.yml', options)
    ended = run_tool('train_basicsr', '-opt', file, '--root', tmp_path, '--import', package)
    assert ended.returncode == 0, ended.stderr
    assert 'their option of the model: read' in ended.stdout


def test_without_import_the_names_are_unknown(tmp_path, options):
    ended = run_tool('train_basicsr', '-opt', write_yaml(tmp_path / 'run.yml', options), '--root', tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count('\n') == 1
    assert "'TheirNetwork'" in ended.stderr


def test_an_extraction_trains_with_the_imported_package(tmp_path, options, package):
    """The training is a process of its own, which gets the package by the environment."""
    for key in ('dataroot_lq', 'dataroot_gt'):
        options['datasets']['train'].pop(key)
    job = {
        'name': 'job',
        'output': str(tmp_path / 'out'),
        'victim': {'type': 'bicubic', 'scale': 4},
        'queries': {'images': str(tmp_path / 'lq'), 'budget': 3},
        'surrogates': {'theirs': {'opt': str(write_yaml(tmp_path / 'surrogate.yml', options))}},
        'evaluation': {'test_sets': [{'name': 'mine', 'lq': str(tmp_path / 'lq')}], 'metrics': ['psnr_y']},
    }
    file = write_yaml(tmp_path / 'job.yml', job)
    ended = run_tool('extract', '--import', 'mea_plugin.basicsr', '--import', package, '-opt', file)
    assert ended.returncode == 0, ended.stderr
    assert 'theirs' in ended.stdout
    assert yaml.safe_load((tmp_path / 'out' / 'surrogates' / 'theirs.yml').read_text())['network_g']['width'] == 4
