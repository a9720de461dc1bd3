"""Option files of the Extraction models: what cannot be trained is refused before anything is built, in one line."""

import copy
import re

import pytest
import torch

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.basicsr.check import check_options
from mea_plugin.errors import InputError
from tests.basicsr.steps import SAM_OPT, UNET
from tests.helpers import training_options


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
    ('train.channels_last', 'yes', "channels_last is 'yes'. Write true or false"),
    ('train.compile', 'fast', "compile is 'fast'"),
    ('train.compile', {'modes': 'default'}, "unknown option 'modes'. Use 'mode'"),
    ('train.accumulate', 0, 'accumulate is 0'),
    ('train.accumulate', 1.5, 'accumulate is 1.5'),
    ('train.accumulate', 3, 'a batch of 2 images cannot be split into 3 equal parts. Give a divisor'),
    ('train.optim_g', {**SAM_OPT, 'every': 0}, 'every must be'),
    ('train.optim_g', {**SAM_OPT, 'first_pass': 'mine'}, 'first_pass must be'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'hinge'}, "'gan_opt'. Set model_type: ExtractionGANModel"),
]


@pytest.mark.parametrize(('path', 'value', 'message'), SPEED)
def test_speed_options_that_cannot_work(path, value, message):
    refuse(change(options(), path, value), message)


GAN = [
    ('network_d', ..., "the option 'network_d' is missing"),
    ('train.gan_opt', ..., "the option 'gan_opt' is missing"),
    ('train.optim_d', ..., "the option 'optim_d' is missing"),
    ('train.optim_d', {'lr': 1e-3}, "the option 'type' is missing"),
    ('train.optim_d', {**SAM_OPT, 'rho': -1}, 'rho'),
    ('train.gan_opt', {'type': 'GANLoss', 'gan_type': 'vanila'}, 'GAN type vanila is not implemented'),
    ('train.gan_mode', 'relative', "no GAN mode 'relative'. Use 'relativistic'"),
    ('train.ldl_opt', {'type': 'L1Loss'}, 'ldl_opt compares with the averaged weights, and there are none'),
    ('train.net_d_iters', 0, 'net_d_iters is 0'),
    ('train.net_d_init_iters', -1, 'net_d_init_iters is -1'),
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
