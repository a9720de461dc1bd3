"""Faults in how a run is driven, named before anything is built."""

from __future__ import annotations

import pytest
import torch

from mea_plugin.core.errors import InputError
from tests.helpers import ROOT
from tests.mmagic.checks.test_check import check

pytest.importorskip('mmagic')

EPOCHS = {'_delete_': True, 'type': 'EpochBasedTrainLoop', 'max_epochs': 2}
ITERATIONS = {'_delete_': True, 'type': 'IterBasedTrainLoop'}
SAMPLER = 'train_dataloader.sampler'
HOOK = 'default_hooks.checkpoint'
WINDOW = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_iters': 300}

FAULTS = [
    ({'train_cfg': EPOCHS}, "train_cfg: training by epochs.*type='IterBasedTrainLoop'"),
    ({'train_cfg': {'_delete_': True, 'by_epoch': True, 'max_epochs': 2}}, 'training by epochs'),
    ({'train_cfg': {'_delete_': True, 'max_iters': 300}}, 'training by epochs'),
    ({'train_cfg': ITERATIONS}, 'max_iters is missing'),
    ({'train_cfg.val_interva': 5}, "unknown option 'val_interva'.*val_interval"),
    ({'train_cfg.type': 'IterBasedTrainLop'}, "no loop 'IterBasedTrainLop'.*IterBasedTrainLoop"),
    ({'val_cfg': {'_delete_': True, 'type': 'ValLoop'}}, "val_cfg: ValLoop .*type='MultiValLoop'"),
    ({'val_cfg': {'_delete_': True, 'fp16': True}}, "val_cfg: ValLoop .*type='MultiValLoop'"),
    ({'train_cfg.val_interval': 0}, 'train_cfg: val_interval is 0.*at least 1'),
    ({'train_cfg.val_begin': 'late'}, "train_cfg: val_begin is 'late'"),
    ({f'{HOOK}.max_keep_ckpts': 'few'}, "max_keep_ckpts is 'few'"),
    ({f'{HOOK}.save_begin': 'late'}, "save_begin is 'late'"),
    ({f'{HOOK}.interva': 5}, "unknown option 'interva'.*interval"),
    ({f'{HOOK}.interval': 'often'}, "interval is 'often'"),
    ({f'{HOOK}.by_epoch': True}, 'interval of 300 epochs.*by_epoch=False'),
    ({f'{HOOK}.out_dir': 's3://bucket'}, 's3://bucket is no folder'),
    ({f'{HOOK}.filename_tmpl': 'last.pth'}, r'last\.pth has not one'),
    ({f'{HOOK}.interval': 5, **WINDOW}, r'checkpoint\.interval: 5 iterations end within a window of 2.*multiple of 2'),
    ({f'{HOOK}.save_begin': 3, **WINDOW}, r'checkpoint\.save_begin: 3 iterations end within a window of 2'),
    ({'channels_last': 1}, 'channels_last is 1'),
    ({'compile': 'yes'}, "compile is 'yes'"),
    ({'compile': {'mod': 'default'}}, "compile: unknown option 'mod'.*mode"),
    ({'compile': {'mode': 'fastest'}}, 'compile: .*fastest'),
    ({'compile': {'backend': 'nothing'}}, 'compile: .*nothing'),
]  # fmt: skip


@pytest.mark.parametrize(('overrides', 'message'), FAULTS)
def test_faults(overrides, message):
    with pytest.raises(InputError, match=message) as error:
        check('edsr_x4_baseline', overrides)
    assert '\n' not in str(error.value)
    assert str(error.value).startswith('c.py')


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
    with pytest.raises(InputError, match='6 iterations end within a window of 4'):
        check('pix2pix_baseline', {**window, 'train_cfg.max_iters': 8, f'{HOOK}.interval': 6})


class TestDevices:
    @staticmethod
    def run(monkeypatch, count, local, *arguments):
        from mea_plugin.mmagic.run import train

        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        monkeypatch.setenv('LOCAL_RANK', str(local))
        train.main([str(ROOT / 'options' / 'mmagic' / 'small' / 'edsr_x4_baseline.py'), *arguments])

    def test_no_gpu(self, monkeypatch):
        with pytest.raises(InputError, match='there is no GPU for cuda:1'):
            self.run(monkeypatch, 0, 0, '--cfg-options', 'device=cuda:1')

    def test_too_few_gpus(self, monkeypatch):
        with pytest.raises(InputError, match='no GPU for process 2 of this machine, which has 2'):
            self.run(monkeypatch, 2, 2, '--launcher', 'pytorch')
