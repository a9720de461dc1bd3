"""Faults in how a run is driven, named before anything is built."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import ROOT, refused
from tests.mmagic.checks.test_check import check

pytest.importorskip('mmagic')

EPOCHS = {'_delete_': True, 'type': 'EpochBasedTrainLoop', 'max_epochs': 2}
LOOP = "type='IterBasedTrainLoop'"
ITERATIONS = {'_delete_': True, 'type': 'IterBasedTrainLoop'}
SAMPLER = 'train_dataloader.sampler'
HOOK = 'default_hooks.checkpoint'
WINDOW = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_iters': 300}

FAULTS = [
    ({'train_cfg': EPOCHS}, 'train_cfg', '', LOOP),
    ({'train_cfg': {'_delete_': True, 'by_epoch': True, 'max_epochs': 2}}, 'train_cfg', '', LOOP),
    ({'train_cfg': {'_delete_': True, 'max_iters': 300}}, 'train_cfg', '', LOOP),
    ({'train_cfg': ITERATIONS}, 'train_cfg', 'max_iters', ''),
    ({'train_cfg.val_interva': 5}, 'train_cfg', "'val_interva'", "'val_interval'"),
    ({'train_cfg.type': 'IterBasedTrainLop'}, 'train_cfg.type', "'IterBasedTrainLop'", "'IterBasedTrainLoop'"),
    ({'val_cfg': {'_delete_': True, 'type': 'ValLoop'}}, 'val_cfg', 'ValLoop', "type='MultiValLoop'"),
    ({'val_cfg': {'_delete_': True, 'fp16': True}}, 'val_cfg', 'ValLoop', "type='MultiValLoop'"),
    ({'train_cfg.val_interval': 0}, 'train_cfg', 'val_interval 0', '1'),
    ({'train_cfg.val_begin': 'late'}, 'train_cfg', "val_begin 'late'", '0'),
    ({f'{HOOK}.max_keep_ckpts': 'few'}, HOOK, "max_keep_ckpts 'few'", '-1'),
    ({f'{HOOK}.save_begin': 'late'}, HOOK, "save_begin 'late'", '0'),
    ({f'{HOOK}.interva': 5}, HOOK, "'interva'", "'interval'"),
    ({f'{HOOK}.interval': 'often'}, HOOK, "interval 'often'", '-1'),
    ({f'{HOOK}.by_epoch': True}, HOOK, '300 epochs', 'by_epoch=False'),
    ({f'{HOOK}.out_dir': 's3://bucket'}, f'{HOOK}.out_dir', 's3://bucket', ''),
    ({f'{HOOK}.filename_tmpl': 'last.pth'}, f'{HOOK}.filename_tmpl', 'last.pth {}', "'iter_{}.pth'"),
    ({f'{HOOK}.interval': 5, **WINDOW}, f'{HOOK}.interval', '5 2', '2'),
    ({f'{HOOK}.save_begin': 3, **WINDOW}, f'{HOOK}.save_begin', '3 2', '2'),
    ({'channels_last': 1}, '', 'channels_last 1', 'True False'),
    ({'compile': 'yes'}, '', "compile 'yes'", 'True torch.compile'),
    ({'compile': {'mod': 'default'}}, 'compile', "'mod'", "'mode'"),
    ({'compile': {'mode': 'fastest'}}, 'compile', 'fastest', ''),
    ({'compile': {'backend': 'nothing'}}, 'compile', "'nothing'", ''),
]  # fmt: skip


@pytest.mark.parametrize(('overrides', 'where', 'quoted', 'do'), FAULTS)
def test_faults(overrides, where, quoted, do):
    with refused(f'c.py: {where}' if where else 'c.py', *quoted.split(), do=tuple(do.split())):
        check('edsr_x4_baseline', overrides)


@pytest.mark.parametrize(
    'overrides',
    [
        {},
        {'val_cfg': {'_delete_': True, 'type': 'MultiValLoop'}},
        {'train_cfg': {'_delete_': True, 'by_epoch': False, 'max_iters': 300}},
        {SAMPLER: {'_delete_': True, 'type': 'DefaultSampler', 'shuffle': True}},
        {f'{HOOK}.interval': -1, f'{HOOK}.by_epoch': True},
        {f'{HOOK}.interval': 4, **WINDOW},
        {'channels_last': True, 'compile': True},
        {'channels_last': False, 'compile': {'mode': 'default', 'dynamic': False}},
    ],
)
def test_no_faults(overrides):
    check('edsr_x4_baseline', overrides)


def test_a_network_of_a_gan_that_accumulates():
    window = {f'optim_wrapper.{one}.accumulative_counts': 4 for one in ('generators', 'discriminators')}
    with refused(f'c.py: {HOOK}.interval', '6', '4', do='4'):
        check('pix2pix_baseline', {**window, 'train_cfg.max_iters': 8, f'{HOOK}.interval': 6})


class TestDevices:
    @staticmethod
    def run(monkeypatch, count, local, *arguments):
        from mea_plugin.mmagic.run import train

        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        monkeypatch.setenv('LOCAL_RANK', str(local))
        train.main([str(ROOT / 'options' / 'mmagic' / 'small' / 'edsr_x4_baseline.py'), *arguments])

    def test_no_gpu(self, monkeypatch):
        with refused('edsr_x4_baseline.py: device', 'cuda:1', do='cpu'):
            self.run(monkeypatch, 0, 0, '--cfg-options', 'device=cuda:1')

    def test_too_few_gpus(self, monkeypatch):
        with refused('--launcher pytorch', 'GPU', '2', do='CUDA_VISIBLE_DEVICES'):
            self.run(monkeypatch, 2, 2, '--launcher', 'pytorch')
