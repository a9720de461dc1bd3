"""A run that was stopped and taken up ends as one that never stopped, to the bit."""

from __future__ import annotations

import copy
import shutil
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch

from mea_plugin.core.errors import Stopped
from tests.mmagic import runs

pytest.importorskip('mmagic')

EMA = {'custom_hooks': [{'type': 'EMAHook', 'momentum': 0.1}]}
AVERAGE = {
    'custom_hooks': [
        {'type': 'ExponentialMovingAverageHook', 'module_keys': ('generator_ema',), 'interp_cfg': {'momentum': 0.1},
         'interval': 1},
    ]
}  # fmt: skip
LOOK = {**runs.SAM, 'type': 'LookSAM', 'every': 4}
MOMENTUM = {**runs.SAM, 'type': 'MomentumSAM'}
BFLOAT16 = {'optim_wrapper.type': 'SAMAmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
WINDOWS = {'accumulative_counts': 2, 'train_cfg.max_iters': 12, 'default_hooks.checkpoint.interval': 4}
CASES = {
    'edit': ('EditModel', {}),
    'edit, EMA, 2 workers': ('EditModel', {**EMA, 'train_dataloader.num_workers': 2}),
    'edit, SAM, windows': ('EditModel', {'sam': True, **WINDOWS}),
    'edit, LookSAM': ('EditModel', {'sam': True, 'optimizer': LOOK}),
    'edit, Momentum-SAM': ('EditModel', {'sam': True, 'optimizer': MOMENTUM}),
    'edit, SAM, bfloat16': ('EditModel', {'sam': True, **BFLOAT16}),
    'edit, validation, EMA': ('EditModel', {**EMA, **runs.validation('EditModel')}),
    'srgan, other average': ('SRGAN', {'model.train_cfg': {'disc_steps': 2, 'disc_init_steps': 1}, **AVERAGE}),
    'srgan, SAM, windows': ('SRGAN', {'sam': True, **WINDOWS}),
    'pix2pix, SAM': ('Pix2Pix', {'sam': True, 'model.discriminator_steps': 2}),
    'cyclegan': ('CycleGAN', {}),
    'cyclegan, LookSAM, windows': ('CycleGAN', {'sam': True, 'optimizer': LOOK, **WINDOWS}),
}


@pytest.mark.parametrize('case', CASES)
def test_stopped_anywhere(case, tmp_path):
    name, options = CASES[case]
    last, window = options.get('train_cfg.max_iters', 6), options.get('accumulative_counts', 1)
    asked = last // 2 - (window > 1)
    runs.make_runner(runs.config(name, tmp_path / 'whole', **options)).train()
    with pytest.raises(Stopped, match=rf'\b{last // 2}\D+{last}\b.*--resume') as stopped:
        runs.make_runner(runs.config(name, tmp_path / 'parts', **options), runs.signal_at(asked)).train()
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    # A window of accumulated gradients is completed first.
    assert (tmp_path / 'parts' / f'iter_{last // 2}.pth').is_file()
    runs.make_runner(runs.config(name, tmp_path / 'parts', **options, resume=True)).train()
    whole, parts = (runs.final_state(tmp_path / one, last) for one in ('whole', 'parts'))
    assert not runs.differences(whole, parts)
    assert sorted(whole['logged'])[0].startswith('train/')


def test_the_number_of_workers_does_not_matter(tmp_path):
    for workers in (0, 2):
        options = {'train_dataloader.num_workers': workers}
        runs.make_runner(runs.config('EditModel', tmp_path / str(workers), **options)).train()
    first, second = (runs.final_state(tmp_path / one) for one in ('0', '2'))
    assert not runs.differences(first['state_dict'], second['state_dict'])


def test_going_on_from_any_checkpoint(tmp_path):
    """As after ``kill -9``, which leaves the last checkpoint; and another cut with 2 workers at hand."""
    options = {'sam': True}
    runs.make_runner(runs.config('CycleGAN', tmp_path / 'whole', **options)).train()
    (tmp_path / 'parts').mkdir()
    for start in (2, 4):
        shutil.copy(tmp_path / 'whole' / f'iter_{start}.pth', tmp_path / 'parts')
        runs.make_runner(runs.config('CycleGAN', tmp_path / 'parts', **options, resume=True)).train()
        assert not runs.differences(runs.final_state(tmp_path / 'whole'), runs.final_state(tmp_path / 'parts'))
        (tmp_path / 'parts' / 'iter_6.pth').unlink()


def test_going_on_loads_nothing_twice(tmp_path):
    """MMEngine's loop would load all batches again."""
    cfg = runs.config('EditModel', tmp_path, **{'train_cfg.max_iters': 40, 'default_hooks.checkpoint.interval': 38})
    runs.make_runner(cfg).train()
    (tmp_path / 'iter_40.pth').unlink()
    runs.LOADED.clear()
    runs.make_runner(runs.config('EditModel', tmp_path, resume=True, **{'train_cfg.max_iters': 40})).train()
    assert len(runs.LOADED) == 4


def test_with_another_batch_size_it_goes_on_at_the_same_place(tmp_path):
    runs.LOADED.clear()
    runs.make_runner(runs.config('EditModel', tmp_path / 'whole')).train()
    order = list(runs.LOADED)
    with pytest.raises(Stopped):
        runs.make_runner(runs.config('EditModel', tmp_path / 'parts'), runs.signal_at(3)).train()
    runs.LOADED.clear()
    options = {'train_dataloader.batch_size': 3, 'train_cfg.max_iters': 5}
    runs.make_runner(runs.config('EditModel', tmp_path / 'parts', resume=True, **options)).train()
    assert order[6:12] == runs.LOADED
    assert torch.load(tmp_path / 'parts' / 'iter_5.pth', weights_only=True)['mea']['samples'] == 12


class OwnOrder:
    """A sampler that is not MMEngine's, and draws from global generators as it goes."""

    def __init__(self, dataset, seed=None) -> None:
        self.count, self.epoch = len(dataset), -1

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        for _ in range(self.count):
            yield (self.epoch + int(torch.randint(0, 99, ())) + np.random.randint(0, 99)) % self.count  # noqa: NPY002

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.mark.parametrize('workers', [0, 2])
def test_an_order_of_the_samplers_own(workers, tmp_path, monkeypatch):
    from mmengine.registry import DATA_SAMPLERS

    monkeypatch.setitem(DATA_SAMPLERS.module_dict, 'OwnOrder', OwnOrder)
    sampler = {'sampler': {'_delete_': True, 'type': 'OwnOrder'}, 'num_workers': workers}
    options = {'train_dataloader': sampler, 'train_cfg.max_iters': 12, 'default_hooks.checkpoint.interval': 8}
    runs.LOADED.clear()
    runs.make_runner(runs.config('EditModel', tmp_path / 'whole', **copy.deepcopy(options))).train()
    order = list(runs.LOADED)
    (tmp_path / 'parts').mkdir()
    shutil.copy(tmp_path / 'whole' / 'iter_8.pth', tmp_path / 'parts')
    runs.LOADED.clear()
    runs.make_runner(runs.config('EditModel', tmp_path / 'parts', resume=True, **copy.deepcopy(options))).train()
    assert order[14:] == runs.LOADED  # two of three passes over 7 images
    assert len(order) == (0 if workers else 21)
    assert not runs.differences(*(runs.final_state(tmp_path / one, 12) for one in ('whole', 'parts')))


def test_a_complete_run_is_left_as_it_is(tmp_path):
    model = runs.make_runner(runs.config('EditModel', tmp_path)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.pth')}
    runs.LOADED.clear()
    again = runs.make_runner(runs.config('EditModel', tmp_path, resume=True)).train()
    assert not runs.LOADED
    assert not runs.differences(before, dict(again.state_dict()))
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.pth')}


class TestValidation:
    """With EMA, whose hook exchanges the weights for its time."""

    OPTIONS: ClassVar = {**EMA, **runs.validation('EditModel', sets=2)}

    def test_it_leaves_training_alone(self, tmp_path):
        runs.make_runner(runs.config('EditModel', tmp_path / 'with', **self.OPTIONS)).train()
        runs.make_runner(runs.config('EditModel', tmp_path / 'without', **EMA)).train()
        with_it, without = (runs.final_state(tmp_path / one) for one in ('with', 'without'))
        for key in ('state_dict', 'ema_state_dict', 'optimizer'):
            assert not runs.differences(with_it[key], without[key])
        assert not runs.differences(with_it['mea']['random'], without['mea']['random'])
        assert {'val/set0/MAE', 'val/set1/MAE'} <= with_it['logged'].keys()

    @pytest.mark.parametrize(('event', 'batch'), [('before_val_iter', 0), ('after_val_iter', 4), ('before_val', 0)])
    def test_it_is_broken_off_and_done_again(self, event, batch, tmp_path):
        runs.make_runner(runs.config('EditModel', tmp_path / 'whole', **self.OPTIONS)).train()
        asks = runs.signal_at(4, signal.SIGINT, event, batch)
        with pytest.raises(Stopped, match=r'\b4\b.*iter_4\.pth') as stopped:
            runs.make_runner(runs.config('EditModel', tmp_path / 'parts', **self.OPTIONS), asks).train()
        assert stopped.value.exit_code == 130
        state = torch.load(tmp_path / 'parts' / 'iter_4.pth', weights_only=True)
        assert state['mea']['validate'] is True
        assert len(state['mea']['history']['val/set0/MAE']['values']) == 1
        runs.make_runner(runs.config('EditModel', tmp_path / 'parts', **self.OPTIONS, resume=True)).train()
        assert not runs.differences(*(runs.final_state(tmp_path / one) for one in ('whole', 'parts')))
        names = [sorted(path.name for path in (tmp_path / one).glob('*.pth')) for one in ('whole', 'parts')]
        assert names[0] == names[1]

    def test_the_best_are_known_after_going_on(self, tmp_path):
        runs.make_runner(runs.config('EditModel', tmp_path / 'whole', **self.OPTIONS)).train()
        (tmp_path / 'parts').mkdir()
        shutil.copy(tmp_path / 'whole' / 'iter_4.pth', tmp_path / 'parts')
        runner = runs.make_runner(runs.config('EditModel', tmp_path / 'parts', **self.OPTIONS, resume=True))
        runner.train()
        state = torch.load(tmp_path / 'whole' / 'iter_6.pth', weights_only=True)
        scores = state['mea']['history']['val/set0/MAE']['values']
        assert len(scores) == 3
        assert runner.message_hub.get_info('best_score') == min(scores.tolist())
        assert len(list((tmp_path / 'whole').glob('best_*.pth'))) == 1
