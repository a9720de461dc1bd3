"""A surrogate's section: overrides, another length, another seed; in both toolboxes."""

from __future__ import annotations

import sys

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.extract.toolboxes import read_surrogate, stretch
from mea_plugin.extract.training import Pace, _run
from tests.helpers import ROOT, write_yaml

OPTIONS = {
    'scale': 4,
    'manual_seed': 0,
    'train': {
        'total_iter': 1000,
        'warmup_iter': -1,
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [600, 400], 'restart_weights': [1, 1]},
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
    },
    'logger': {'save_checkpoint_freq': 500, 'print_freq': 10},
}


def test_numbers_below_the_keys_are_multiplied():
    found = stretch({'a': {'n': [10, 20], 'm': 5}, 'b': [{'n': -1}, {'n': True}, {'n': 1}]}, frozenset({'n'}), 0.25)
    assert found == {'a': {'n': [2, 5], 'm': 5}, 'b': [{'n': -1}, {'n': True}, {'n': 1}]}


def test_basicsr_length_seed_and_several_overrides(tmp_path):
    pytest.importorskip('mea_plugin.basicsr')
    opt = str(write_yaml(tmp_path / 'a.yml', OPTIONS))
    overrides = [{'train': {'optim_g': {'lr': 2e-3}}}, {'train': {'optim_g': {'type': 'SAM', 'rho': 0.1}}}]
    surrogate = read_surrogate('s', {'opt': opt, 'override': overrides, 'length': 2, 'seed': 7}, where='x')
    train = surrogate.options['train']
    assert surrogate.total == train['total_iter'] == 2000
    assert train['scheduler']['periods'] == [1200, 800]
    assert train['scheduler']['restart_weights'] == [1, 1]
    assert train['warmup_iter'] == -1
    assert train['optim_g'] == {'type': 'SAM', 'rho': 0.1}  # another type replaces the section
    assert surrogate.options['logger'] == {'save_checkpoint_freq': 1000, 'print_freq': 10}
    assert surrogate.options['manual_seed'] == 7
    assert surrogate.seeded(3)['manual_seed'] == 3
    assert surrogate.options['manual_seed'] == 7
    plain = read_surrogate('s', {'opt': opt, 'override': overrides[0]}, where='x')
    assert (plain.total, plain.options['manual_seed']) == (1000, 0)


def test_mmagic_length_seed_and_several_overrides():
    pytest.importorskip('mea_plugin.mmagic')
    opt = str(ROOT / 'options/mmagic/small/pix2pix_baseline.py')
    plain = read_surrogate('s', {'opt': opt}, where='x')
    overrides = [{'model': {'loss_config': {'pixel_loss_weight': 7.0}}}, {'model': {'hf_schedule': 'constant'}}]
    other = read_surrogate('s', {'opt': opt, 'override': overrides, 'length': 0.5, 'seed': 7}, where='x')
    assert other.total == plain.total // 2
    scheduler = other.options['param_scheduler']
    scheduler = scheduler[0] if isinstance(scheduler, list) else scheduler
    assert scheduler['T_max'] == other.total
    assert other.options['default_hooks']['checkpoint']['interval'] == other.total
    assert other.options['model']['loss_config'] == {'pixel_loss_weight': 7.0}
    assert other.options['model']['hf_schedule'] == 'constant'
    assert other.options['randomness']['seed'] == 7
    assert plain.seeded(7)['randomness'] == other.options['randomness']
    assert plain.options['randomness']['seed'] != 7
    assert other.options['train_dataloader'] == plain.options['train_dataloader']  # nothing else is in iterations


@pytest.mark.parametrize(
    ('section', 'where', 'quoted'),
    [
        ({'opt': 3}, '.opt', '3'),
        ({}, '', "'opt'"),
        ({'opt': 'a.yml', 'length': 0}, '.length', '0'),
        ({'opt': 'a.yml', 'seed': -1}, '.seed', '-1'),
        ({'opt': 'a.yml', 'seed': 1.5}, '.seed', '1.5'),
        ({'opt': 'a.yml', 'override': 3}, '.override', '3'),
        ({'opt': 'a.yml', 'override': [3]}, '.override[0]', '3'),
        ({'opt': 'a.yml', 'overrides': {}}, '', "'overrides'"),
        ({'opt': 'a.yml', 'known_defences': [{}]}, '.known_defences[0]', 'empty'),
    ],
)
def test_bad_sections(section, where, quoted):
    with pytest.raises(InputError) as caught:
        read_surrogate('s', section, where='x: surrogates.s')
    assert caught.value.where == f'x: surrogates.s{where}'
    assert quoted in caught.value.what


def test_the_pace_is_that_between_two_logged_iterations(tmp_path):
    child = """
import time
print('    total_iter: 400', flush=True)  # BasicSR's options, no iteration
for iteration in (100, 200):
    print(f'[epoch:  0, iter:     {iteration}, lr:(1e-3,)]', flush=True)
    time.sleep(0.4 if iteration == 100 else 1.5)
"""
    pace = _run([sys.executable, '-c', child], 'x', 400, tmp_path / 'x.log')
    seconds, cpu = pace.seconds(400)
    assert seconds == pytest.approx(4 * 0.4, abs=0.6)
    assert cpu is None or cpu < 1  # it slept
    assert Pace().seconds(400) == (None, None)
