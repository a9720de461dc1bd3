"""Option files of the Extraction models: what cannot be trained is refused before anything is built, in one line."""

import copy
import sys

import pytest
import torch

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.basicsr.checks.check import check_options
from tests.basicsr.steps import SAM_OPT, UNET
from tests.helpers import refused, training_options

LOGGER = {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': True}
MILESTONES = {'type': 'MultiStepLR', 'milestones': [1]}
COSINE = {'type': 'CosineAnnealingRestartLR'}
VGG = {'type': 'VGGStyleDiscriminator'}


def options(**train):
    return training_options('lq', 'gt', **train)


def gan_options(**train):
    base = {'optim_d': {'type': 'Adam', 'lr': 1e-3}, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}, **train}
    return {**options(**base), 'model_type': 'ExtractionGANModel', 'network_d': dict(UNET)}


def change(options, path, value):
    options = copy.deepcopy(options)
    *sections, key = path.split('.')
    target = options
    for section in sections:
        target = target[section]
    target.pop(key, None)
    if value is not ...:
        target[key] = value
    return options


def refuse(options, where, quoted, do):
    with refused(f'x.yml: {where}' if where else 'x.yml', *quoted.split(), do=tuple(do.split())):
        check_options(options, where='x.yml', data=False)


@pytest.mark.parametrize(
    'train',
    [
        {'amp': 'bfloat16', 'channels_last': True, 'compile': True, 'accumulate': 2},
        {'amp': None, 'channels_last': False, 'compile': {'mode': 'reduce-overhead', 'fullgraph': True}},
        {'optim_g': {**SAM_OPT, 'every': 5, 'first_pass': 'local'}},
    ],
)
def test_what_can_be_trained_passes(train):
    for build in (options, gan_options):
        check_options(build(**train), where='x.yml', data=False)


# Each row: what is changed, where the error is found, and the names in what it says and in what to do about it.
SPEED = [
    ('amp', 'bfloat16', '', "'amp'", 'train.amp'),
    ('train.amp', 'float', 'train.amp', "'float'", "'float16'"),
    ('train.amp', True, 'train.amp', 'True', 'bfloat16 float16'),
    ('train.amp', 'float16', 'train.amp', 'float16 GPU', 'bfloat16'),
    ('train.channels_last', 'yes', 'train.channels_last', "'yes'", 'true false'),
    ('train.compile', 'fast', 'train.compile', "'fast'", 'true false'),
    ('train.compile', {'modes': 'default'}, 'train.compile', "'modes'", "'mode'"),
    ('train.accumulate', 0, 'train.accumulate', '0', '1'),
    ('train.accumulate', 1.5, 'train.accumulate', '1.5', '1'),
    ('train.accumulate', 3, 'train.accumulate', '2 3', 'batch_size_per_gpu'),
    ('train.optim_g', {**SAM_OPT, 'every': 0}, 'train.optim_g', 'every 0', 'SAM'),
    ('train.optim_g', {**SAM_OPT, 'first_pass': 'mine'}, 'train.optim_g', "first_pass 'mine'", 'SAM'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'hinge'}, 'train', "'gan_opt'", 'ExtractionGANModel'),
]


@pytest.mark.parametrize(('path', 'value', 'where', 'quoted', 'do'), SPEED)
def test_speed_options_that_cannot_work(path, value, where, quoted, do):
    refuse(change(options(), path, value), where, quoted, do)


RANGES = [
    ('name', 5, 'name', '5', ''),
    ('name', 'a/b', 'name', "'a/b'", ''),
    ('logger.wandb', {'project': 'x'}, 'logger.wandb', 'TensorBoard', 'logger.use_tb_logger'),
    ('logger', {**LOGGER, 'wandb': {'project': 'x'}}, 'logger.wandb', 'wandb', 'pip wandb'),
    ('manual_seed', 'abc', 'manual_seed', "'abc'", '0'),
    ('manual_seed', -1, 'manual_seed', '-1', '0'),
    ('network_g.num_feat', 'abc', 'network_g', 'SRVGGNetCompact', ''),
    ('datasets.train', ..., 'datasets', "'train'", 'train'),
    ('datasets.train.batch_size_per_gpu', ..., 'datasets.train', "'batch_size_per_gpu'", 'batch_size_per_gpu'),
    ('datasets.train.batch_size_per_gpu', 0, 'datasets.train.batch_size_per_gpu', '0', '1'),
    ('datasets.train.num_worker_per_gpu', ..., 'datasets.train', "'num_worker_per_gpu'", 'num_worker_per_gpu'),
    ('datasets.train.dataset_enlarge_ratio', 0, 'datasets.train.dataset_enlarge_ratio', '0', ''),
    ('datasets.train.prefetch_mode', 'gpu', 'datasets.train.prefetch_mode', "'gpu'", "'cpu'"),
    ('datasets.train.prefetch_mode', 'cuda', 'datasets.train', 'prefetch_mode cuda GPU', 'prefetch_mode'),
    ('logger.print_freq', 0, 'logger.print_freq', '0', '1'),
    ('logger.save_checkpoint_freq', 0, 'logger.save_checkpoint_freq', '0', '1'),
    ('val', {'val_freq': 0, 'save_img': False}, 'val.val_freq', '0', '1'),
    ('train.total_iter', 'abc', 'train.total_iter', "'abc'", '1'),
    ('train.total_iter', 4.5, 'train.total_iter', '4.5', '1'),
    ('train.warmup_iter', 'no', 'train.warmup_iter', "'no'", '-1'),
    ('train.ema_decay', 2, 'train.ema_decay', '2', '0 1'),
    ('train.pixel_opt', {'type': 'L1Loss', 'reduction': 'avg'}, 'train.pixel_opt', 'avg', 'L1Loss'),
    ('train.scheduler', {**MILESTONES, 'restarts': [0, 1]}, 'train.scheduler', 'restarts', 'MultiStepLR'),
    ('train.scheduler', {**COSINE, 'periods': [2, 2]}, 'train.scheduler', 'periods restart_weights', COSINE['type']),
    ('train.scheduler', {**COSINE, 'periods': [0]}, 'train.scheduler', 'zero', COSINE['type']),
    ('train.scheduler', {**COSINE, 'periods': [2]}, 'train.scheduler', '2 total_iter', 'total_iter'),
]


@pytest.mark.parametrize(('path', 'value', 'where', 'quoted', 'do'), RANGES)
def test_values_that_would_end_the_training_with_a_traceback(path, value, where, quoted, do, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    assert training_options('lq', 'gt')['train']['total_iter'] > 3
    refuse(change(options(), path, value), where, quoted, do)


def test_numbers_may_be_written_as_floats_and_periods_may_end_with_the_training():
    written = change(change(options(total_iter=4.0), 'logger.save_checkpoint_freq', 5e3), 'logger.print_freq', 1e2)
    scheduler = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 1], 'restart_weights': [1, 1]}
    check_options(change(written, 'train.scheduler', scheduler), where='x.yml', data=False)


GAN = [
    ('network_d', ..., '', "'network_d'", 'network_d'),
    ('train.gan_opt', ..., 'train', "'gan_opt'", 'gan_opt'),
    ('train.optim_d', ..., 'train', "'optim_d'", 'optim_d'),
    ('train.optim_d', {'lr': 1e-3}, 'train.optim_d', "'type'", 'type'),
    ('train.optim_d', {**SAM_OPT, 'rho': -1}, 'train.optim_d', 'rho -1', 'SAM'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'vanila'}, 'train.gan_opt', 'vanila', 'GANLoss'),
    ('train.gan_mode', 'relative', 'train.gan_mode', "'relative'", "'relativistic'"),
    ('train.ldl_opt', {'type': 'L1Loss'}, 'train', 'ldl_opt', 'train.ema_decay'),
    ('train.net_d_iters', 0, 'train.net_d_iters', '0', '1'),
    ('train.net_d_init_iters', -1, 'train.net_d_init_iters', '-1', '0'),
    ('network_d.num_feats', 4, 'network_d', "'num_feats'", "'num_feat'"),
    ('network_d.num_in_ch', 1, 'network_d', 'UNetDiscriminatorSN gt_size 48', 'gt_size'),
    ('network_d', {**VGG, 'num_in_ch': 3, 'num_feat': 4}, 'network_d', 'VGGStyleDiscriminator gt_size 48', 'gt_size'),
    ('datasets.train.gt_size', 52, 'network_d', 'UNetDiscriminatorSN gt_size 52', 'gt_size'),
]


@pytest.mark.parametrize(('path', 'value', 'where', 'quoted', 'do'), GAN)
def test_gan_options_that_cannot_work(path, value, where, quoted, do):
    refuse(change(gan_options(), path, value), where, quoted, do)


def test_a_gan_needs_no_pixel_loss_and_ldl_takes_averaged_weights():
    check_options(change(gan_options(), 'train.pixel_opt', ...), where='x.yml', data=False)
    check_options(gan_options(ldl_opt={'type': 'L1Loss'}, ema_decay=0.9), where='x.yml', data=False)


def test_a_discriminator_that_needs_values_is_left_to_the_training():
    """StyleGAN2's compiles its operations on a GPU; that is no fault of the option file."""
    gan = change(gan_options(), 'network_d', {'type': 'StyleGAN2Discriminator', 'out_size': 64})
    check_options(gan, where='x.yml', data=False)


def test_the_check_builds_nothing_that_stays():
    before = torch.get_rng_state()
    check_options(gan_options(), where='x.yml', data=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_basicsr_s_own_gan_is_told_which_model_knows_more():
    theirs = {**gan_options(), 'model_type': 'SRGANModel'}
    check_options(theirs, where='x.yml', data=False)
    refuse(change(theirs, 'train.amp', 'bfloat16'), 'train', "'amp'", 'ExtractionGANModel')
    refuse(change(theirs, 'train.optim_d', SAM_OPT), 'train.optim_d.type', 'SRGANModel Adam', 'ExtractionGANModel')
