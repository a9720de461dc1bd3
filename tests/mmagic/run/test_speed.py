"""The config keys ``channels_last`` and ``compile``, and what a run logs of its speed."""

from __future__ import annotations

import json

import pytest
import torch

from tests.helpers import refused
from tests.mmagic import runs

pytest.importorskip('mmagic')


def networks_of(runner) -> list:
    model = runner.model
    if hasattr(model, 'generators'):
        return [*model.generators.values(), *model.discriminators.values()]
    return [model.generator, *([model.discriminator] if hasattr(model, 'discriminator') else [])]


@pytest.mark.parametrize('name', ['EditModel', 'SRGAN', 'CycleGAN'])
def test_channels_last(name, tmp_path):
    """The same training up to rounding, in another layout, all the way through a resume."""
    states = {}
    for layout in (False, True):
        folder = tmp_path / str(layout)
        options = {'channels_last': layout, 'train_cfg.max_iters': 2, 'optimizer': {'type': 'SGD', 'lr': 0.01}}
        runner = runs.make_runner(runs.config(name, folder, **options))
        runner.train()
        weights = [one for network in networks_of(runner) for one in network.parameters() if one.dim() == 4]
        layouts = {one.is_contiguous(memory_format=torch.channels_last) for one in weights if min(one.shape[1:]) > 1}
        assert layouts == ({True} if layout else {False})
        states[layout] = runs.final_state(folder, 2)['state_dict']
    torch.testing.assert_close(states[True], states[False], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['EditModel', 'SRGAN', 'CycleGAN'])
def test_compile(name, tmp_path, monkeypatch):
    """Each network's forward pass, with the options given, and nothing around it."""
    compiled = []

    def compile_(function, **options):
        compiled.append((function, options))
        return function

    monkeypatch.setattr(torch, 'compile', compile_)
    cfg = runs.config(name, tmp_path, compile={'mode': 'default'}, **{'train_cfg.max_iters': 2})
    runner = runs.make_runner(cfg)
    runner.train()
    assert [function.__self__ for function, _ in compiled] == networks_of(runner)
    assert all(function.__name__ == 'forward' and options == {'mode': 'default'} for function, options in compiled)
    assert not any('_orig_mod' in key for key in runs.final_state(tmp_path, 2)['state_dict'])


def test_compile_with_an_average_that_is_a_copy(tmp_path):
    """The copy runs with its own weights."""
    hook = {'type': 'ExponentialMovingAverageHook', 'module_keys': ('generator_ema',), 'interval': 1}
    options = {'compile': {'backend': 'eager'}, 'custom_hooks': [hook], 'train_cfg.max_iters': 2}
    runner = runs.make_runner(runs.config('EditModel', tmp_path, **options))
    runner.train()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        runner.model.generator_ema.train()
        before = runner.model.generator_ema(image)
        for one in runner.model.generator.parameters():
            one.zero_()
        assert torch.equal(runner.model.generator_ema(image), before)


def test_a_model_without_such_networks():
    from mea_plugin.mmagic.run.speed import lay_out_networks

    with refused('channels_last', 'Linear', do='channels_last'):
        lay_out_networks({'channels_last': True}, torch.nn.Linear(1, 1))


def test_speed_and_memory_are_logged(tmp_path):
    pytest.importorskip('tensorboard')
    visualizer = {
        'type': 'ConcatImageVisualizer',
        'vis_backends': [{'type': 'LocalVisBackend'}, {'type': 'TensorboardVisBackend'}],
        'fn_key': 'gt_path',
        'img_keys': ['gt_img'],
    }
    cfg = runs.config('EditModel', tmp_path, visualizer=visualizer, **runs.validation('EditModel', sets=2))
    runner = runs.make_runner(cfg)
    runner.train()
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/*.json')).read_text().splitlines()]
    training = [line for line in lines if 'loss_pix' in line]
    assert len(training) == 6
    assert all(line['images_per_second'] > 0 and line['peak_memory'] > 10 for line in training)
    assert all({'loss_hf', 'lr', 'time'} <= line.keys() for line in training)
    assert [line['step'] for line in lines if 'set0/MAE' in line and 'set1/MAE' in line] == [2, 4, 6]
    assert list(tmp_path.glob('*/vis_data/events.out.tfevents.*'))


def test_wandb_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    import sys

    from mea_plugin.mmagic.run.train import _run

    monkeypatch.setitem(sys.modules, 'wandb', None)
    visualizer = {'type': 'Visualizer', 'vis_backends': [{'type': 'WandbVisBackend'}]}
    with refused('c.py', 'wandb'):
        _run(runs.config('EditModel', tmp_path, visualizer=visualizer), 'c.py')


def test_images_per_second_leave_validation_out(tmp_path, monkeypatch):
    from mea_plugin.mmagic.run import measures_hook

    seen = []

    class Counter:
        def __init__(self, images):
            assert images == 2

        def restart(self, done):
            self.start = done

        def read(self, done):
            seen.append((self.start, done))
            return 1.0

    monkeypatch.setattr(measures_hook, 'Throughput', Counter)
    runs.make_runner(runs.config('EditModel', tmp_path, **runs.validation('EditModel'))).train()
    assert seen[1:3] == [(0, 2), (2, 3)]
