"""One network, one seed, two toolboxes: the same images in the same order, and the same losses."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from tests.helpers import photograph, save, write_yaml

pytest.importorskip('mmagic')
if importlib.util.find_spec('basicsr') is None:  # importing it needs our work-arounds first
    pytest.skip('no BasicSR', allow_module_level=True)

STEPS, BATCH, IMAGES, LR, SEED = 50, 2, 8, 1e-3, 3
NETWORK = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 4}
PENALTY = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}


@pytest.fixture
def images(tmp_path):
    """Pairs that are as large as the crops, so that the order of the images is the sequence of the crops."""
    for index in range(IMAGES):
        gt = photograph((48, 48), index)
        save(tmp_path / 'gt' / f'{index}.png', gt)
        save(tmp_path / 'lq' / f'{index}.png', gt[::4, ::4].copy())
    return tmp_path


@pytest.fixture
def network(monkeypatch):
    """BasicSR's MSRResNet, with weights of its own, known to both toolboxes for as long as the test runs."""
    from mmagic.registry import MODELS

    from mea_plugin.toolboxes.basicsr_networks import build_network

    torch.manual_seed(5)
    net = build_network({'type': 'MSRResNet', **NETWORK})
    monkeypatch.setitem(MODELS.module_dict, 'BasicSRMSRResNet', type(net))
    return net.state_dict()


def train_basicsr(folder, weights, sam: bool) -> list[dict]:
    """From a YAML file, through BasicSR's own loop; the losses that reach its logger."""
    from mea_plugin.basicsr.run import train
    from basicsr.utils import logger  # isort: skip - after our work-arounds

    torch.save({'params': weights}, folder / 'start.pth')
    optimizer = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05} if sam else {'type': 'Adam'}
    scheduler = {'type': 'CosineAnnealingRestartLR', 'periods': [STEPS], 'restart_weights': [1], 'eta_min': 0}
    dataset = {
        **{
            'name': 'x',
            'type': 'PairedImageDataset',
            'dataroot_lq': str(folder / 'lq'),
            'dataroot_gt': str(folder / 'gt'),
        },
        **{'io_backend': {'type': 'disk'}, 'gt_size': 48, 'use_hflip': False, 'use_rot': False},
        **{'num_worker_per_gpu': 0, 'batch_size_per_gpu': BATCH},
    }
    options = {
        **{'name': 'parity', 'model_type': 'ExtractionModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': SEED},
        'datasets': {'train': dataset},
        'network_g': {'type': 'MSRResNet', **NETWORK},
        'path': {'pretrain_network_g': str(folder / 'start.pth')},
        'train': {
            **{'optim_g': {**optimizer, 'lr': LR}, 'scheduler': scheduler, 'total_iter': STEPS},
            **{'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}},
            **{'hf_opt': PENALTY, 'hf_schedule': 'lr'},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1000, 'use_tb_logger': False},
    }
    seen: list[dict] = []
    original = logger.MessageLogger.__call__
    try:
        logger.MessageLogger.__call__ = lambda self, values: seen.append(dict(values))
        train.main(['-opt', str(write_yaml(folder / 'parity.yml', options)), '--root', str(folder)])
    finally:
        logger.MessageLogger.__call__ = original
    return [{'pix': one['l_pix'], 'hf': one['l_hf']} for one in seen]


def train_mmagic(folder, weights, sam: bool) -> list[dict]:
    """From a config file, through MMEngine's own loop; the losses of its JSON log."""
    from mea_plugin.mmagic.run import train

    torch.save({'state_dict': {f'generator.{key}': value for key, value in weights.items()}}, folder / 'start_mm.pth')
    sam_options = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05}
    steps = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')]
    config = {
        'default_scope': 'mmagic',
        'custom_imports': {'imports': ['mea_plugin.mmagic'], 'allow_failed_imports': False},
        'model': {
            'type': 'ExtractionEditModel',
            'generator': {'type': 'BasicSRMSRResNet', **NETWORK},
            'pixel_loss': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            **{'hf_loss': PENALTY, 'hf_schedule': 'lr'},
            'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
        },
        'train_dataloader': {
            **{'batch_size': BATCH, 'num_workers': 0, 'sampler': {'type': 'InfiniteSampler', 'shuffle': True}},
            'dataset': {
                **{'type': 'BasicImageDataset', 'data_root': str(folder), 'data_prefix': {'img': 'lq', 'gt': 'gt'}},
                'pipeline': [*steps, {'type': 'PackInputs'}],
            },
        },
        'optim_wrapper': {
            'type': 'SAMOptimWrapper' if sam else 'OptimWrapper',
            'optimizer': {**(sam_options if sam else {'type': 'Adam'}), 'lr': LR},
        },
        'param_scheduler': {'type': 'CosineAnnealingLR', 'by_epoch': False, 'T_max': STEPS},
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': STEPS},
        'randomness': {'seed': SEED},
        'load_from': str(folder / 'start_mm.pth'),
        'default_hooks': {'logger': {'type': 'LoggerHook', 'interval': 1}},
        'log_processor': {'type': 'LogProcessor', 'window_size': 1, 'by_epoch': False},
    }
    file = folder / 'parity.py'
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    from mea_plugin.mmagic.models.edit_model import ExtractionEditModel

    seen: list[dict] = []
    original = ExtractionEditModel.train_step

    def noted(self, *args, **kwargs):
        terms = original(self, *args, **kwargs)
        seen.append({'pix': float(terms['loss_pix']), 'hf': float(terms['loss_hf'])})
        return terms

    try:
        ExtractionEditModel.train_step = noted
        train.main([str(file), '--work-dir', str(folder / 'work')])
    finally:
        ExtractionEditModel.train_step = original
    return seen


@pytest.mark.parametrize('sam', [False, True])
def test_fifty_losses(images, network, sam):
    first, second = train_basicsr(images, network, sam), train_mmagic(images, network, sam)
    assert len(first) == len(second) == STEPS
    for key in ('pix', 'hf'):
        np.testing.assert_allclose([one[key] for one in first], [one[key] for one in second], rtol=0, atol=1e-5)
    # Three epochs each, the same images: the network has moved, and the penalty has come in.
    assert abs(sum(one['pix'] for one in first[-12:]) - sum(one['pix'] for one in first[:12])) > 1e-3
    assert first[0]['hf'] < first[-1]['hf']  # the schedule has raised its weight
