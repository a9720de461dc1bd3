"""Option files of the Extraction models: what cannot be trained is refused before anything is built, in one line."""

import copy
import re
import sys

import pytest
import torch

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.core.errors import InputError
from tests.basicsr.steps import SAM_OPT, UNET
from tests.helpers import training_options

LOGGER = {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': True}


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


def refuse(options, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        check_options(options, where='x.yml', data=False)
    assert str(error.value).startswith('x.yml')
    assert '\n' not in str(error.value)


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


SPEED = [
    ('amp', 'bfloat16', "unknown option 'amp'"),
    ('train.amp', 'float', "no precision 'float'"),
    ('train.amp', True, 'no precision True'),
    ('train.amp', 'float16', 'float16 needs a GPU, and this run has none. Use bfloat16'),
    ('train.channels_last', 'yes', "train.channels_last: got 'yes'. Write true or false"),
    ('train.compile', 'fast', "train.compile: got 'fast'"),
    ('train.compile', {'modes': 'default'}, "unknown option 'modes'. Use 'mode'"),
    ('train.accumulate', 0, 'accumulate: got 0'),
    ('train.accumulate', 1.5, 'accumulate: got 1.5'),
    ('train.accumulate', 3, 'a batch of 2 images cannot be split into 3 equal parts. Give a divisor'),
    ('train.optim_g', {**SAM_OPT, 'every': 0}, 'every must be'),
    ('train.optim_g', {**SAM_OPT, 'first_pass': 'mine'}, 'first_pass must be'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'hinge'}, "'gan_opt'. Set model_type: ExtractionGANModel"),
]


@pytest.mark.parametrize(('path', 'value', 'message'), SPEED)
def test_speed_options_that_cannot_work(path, value, message):
    refuse(change(options(), path, value), message)


RANGES = [
    ('name', 5, 'name: got 5. Give the name of a folder'),
    ('name', 'a/b', "name: got 'a/b'"),
    ('logger.wandb', {'project': 'x'}, 'it follows TensorBoard, which is off'),
    ('logger', {**LOGGER, 'wandb': {'project': 'x'}}, 'needs wandb, which is not installed. Type: pip install wandb'),
    ('manual_seed', 'abc', "manual_seed: got 'abc'"),
    ('manual_seed', -1, 'manual_seed: got -1'),
    ('network_g.num_feat', 'abc', 'SRVGGNetCompact cannot be built'),
    ('datasets.train', ..., "the option 'train' is missing"),
    ('datasets.train.batch_size_per_gpu', ..., "the option 'batch_size_per_gpu' is missing"),
    ('datasets.train.batch_size_per_gpu', 0, 'batch_size_per_gpu: got 0. Give a whole number of at least 1'),
    ('datasets.train.num_worker_per_gpu', ..., "the option 'num_worker_per_gpu' is missing"),
    ('datasets.train.dataset_enlarge_ratio', 0, 'dataset_enlarge_ratio: got 0'),
    ('datasets.train.prefetch_mode', 'gpu', "train.prefetch_mode: got 'gpu'."),
    ('datasets.train.prefetch_mode', 'cuda', 'prefetch_mode cuda needs a GPU'),
    ('logger.print_freq', 0, 'print_freq: got 0'),
    ('logger.save_checkpoint_freq', 0, 'save_checkpoint_freq: got 0'),
    ('val', {'val_freq': 0, 'save_img': False}, 'val_freq: got 0'),
    ('train.total_iter', 'abc', "total_iter: got 'abc'"),
    ('train.total_iter', 4.5, 'total_iter: got 4.5'),
    ('train.warmup_iter', 'no', "warmup_iter: got 'no'"),
    ('train.ema_decay', 2, 'ema_decay: got 2. Give a number from 0 to 1'),
    ('train.pixel_opt', {'type': 'L1Loss', 'reduction': 'avg'}, 'Unsupported reduction mode: avg'),
    ('train.scheduler', {'type': 'MultiStepLR', 'milestones': [1], 'restarts': [0, 1]}, 'restarts and their weights'),
    ('train.scheduler', {'type': 'CosineAnnealingRestartLR', 'periods': [2, 2]}, 'same length'),
    ('train.scheduler', {'type': 'CosineAnnealingRestartLR', 'periods': [0]}, 'division by zero'),
    ('train.scheduler', {'type': 'CosineAnnealingRestartLR', 'periods': [2]}, 'the periods end at iteration 2, before'),
]


@pytest.mark.parametrize(('path', 'value', 'message'), RANGES)
def test_values_that_would_end_the_training_with_a_traceback(path, value, message, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    assert training_options('lq', 'gt')['train']['total_iter'] > 3
    refuse(change(options(), path, value), message)


def test_numbers_may_be_written_as_floats_and_periods_may_end_with_the_training():
    written = change(change(options(total_iter=4.0), 'logger.save_checkpoint_freq', 5e3), 'logger.print_freq', 1e2)
    scheduler = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 1], 'restart_weights': [1, 1]}
    check_options(change(written, 'train.scheduler', scheduler), where='x.yml', data=False)


GAN = [
    ('network_d', ..., "the option 'network_d' is missing"),
    ('train.gan_opt', ..., "the option 'gan_opt' is missing"),
    ('train.optim_d', ..., "the option 'optim_d' is missing"),
    ('train.optim_d', {'lr': 1e-3}, "the option 'type' is missing"),
    ('train.optim_d', {**SAM_OPT, 'rho': -1}, 'rho'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'vanila'}, 'GAN type vanila is not implemented'),
    ('train.gan_mode', 'relative', "no GAN mode 'relative'. Use 'relativistic'"),
    ('train.ldl_opt', {'type': 'L1Loss'}, 'ldl_opt compares with the averaged weights, and there are none'),
    ('train.net_d_iters', 0, 'net_d_iters: got 0'),
    ('train.net_d_init_iters', -1, 'net_d_init_iters: got -1'),
    ('network_d.num_feats', 4, "unknown option 'num_feats'. Use 'num_feat'"),
    ('network_d.num_in_ch', 1, 'UNetDiscriminatorSN cannot take crops of gt_size 48'),
    ('network_d', {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4}, 'cannot take crops of gt_size 48'),
    ('datasets.train.gt_size', 52, 'UNetDiscriminatorSN cannot take crops of gt_size 52'),
]


@pytest.mark.parametrize(('path', 'value', 'message'), GAN)
def test_gan_options_that_cannot_work(path, value, message):
    refuse(change(gan_options(), path, value), message)


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
    refuse(change(theirs, 'train.amp', 'bfloat16'), "unknown option 'amp'. Set model_type: ExtractionGANModel")
    refuse(change(theirs, 'train.optim_d', SAM_OPT), 'SRGANModel knows only Adam. Use model_type: ExtractionGANModel')
