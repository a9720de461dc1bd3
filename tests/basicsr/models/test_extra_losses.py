"""Further loss terms in BasicSR's option files: what they add to the objective, and what is refused before training."""

import copy

import pytest
import torch

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.losses import FocalFrequencyLoss
from tests.basicsr.steps import UNET, assert_same, batches, build, train, weights
from tests.helpers import refused, training_options

HF = {'type': 'HighFrequencyLoss', 'level': 1}
FOCAL = {'type': 'FocalFrequencyLoss', 'loss_weight': 0.7, 'alpha': 0.5}
GAN = {'optim_d': {'type': 'Adam', 'lr': 1e-3}, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}}
KINDS = [('ExtractionModel', {}, 'l_'), ('ExtractionGANModel', GAN, 'l_g_')]


@pytest.mark.parametrize(('kind', 'options', 'prefix'), KINDS)
def test_a_further_loss_stands_beside_the_penalty(kind, options, prefix):
    extra = [{**FOCAL, 'schedule': 'lr'}, {'type': 'MSELoss', 'name': 'far'}]
    model = build(kind, network_d=UNET, hf_opt=HF, extra_losses=extra, **copy.deepcopy(options))
    focal = FocalFrequencyLoss(loss_weight=0.7, alpha=0.5)
    for iteration, batch in enumerate(batches(3), 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        with torch.no_grad():
            output = model.net_g(batch['lq'])
            factor = 1 - model.get_current_learning_rate()[0] / 1e-3
        model.optimize_parameters(iteration)
        log = model.get_current_log()
        names = [name for name in log if name.startswith(prefix)]
        assert names[:4] == [f'{prefix}{name}' for name in ('pix', 'hf', 'focal_frequency', 'far')]
        assert log[f'{prefix}focal_frequency'] == pytest.approx(factor * focal(output, batch['gt']).item(), rel=1e-5)
        assert log[f'{prefix}far'] == pytest.approx((output - batch['gt']).square().mean().item(), rel=1e-5)


def test_the_gradient_is_that_of_the_sum():
    alone = build('ExtractionModel', extra_losses=[{'type': 'L1Loss', 'name': 'again', 'loss_weight': 2.0}])
    both = build('ExtractionModel', pixel_opt={'type': 'L1Loss', 'loss_weight': 3.0, 'reduction': 'mean'})
    logs = train(alone, 1), train(both, 1)
    assert logs[0][0]['grad_norm'] == pytest.approx(logs[1][0]['grad_norm'], rel=1e-5)


def test_an_empty_list_changes_nothing():
    without, empty = build('ExtractionModel', hf_opt=HF), build('ExtractionModel', hf_opt=HF, extra_losses=[])
    assert train(without, 2) == train(empty, 2)
    assert_same(weights(without), weights(empty))


MISTAKES = [
    ({'type': 'FocalFrequencyLos'}, 'extra_losses[1].type', "'FocalFrequencyLos'", "'FocalFrequencyLoss'"),
    ({**FOCAL, 'name': 'b', 'alfa': 1}, 'extra_losses[1]', "'alfa'", "'alpha'"),
    ({**FOCAL, 'name': 'b', 'patch_factor': 5}, 'extra_losses[1]', '5', '48 x 48'),
    ({**FOCAL, 'name': 'b', 'alpha': -1}, 'extra_losses[1]', 'alpha', '48 x 48'),
    (FOCAL, 'extra_losses[1].name', "'focal_frequency'", ''),
    ({'type': 'GANLoss', 'name': 'b', 'gan_type': 'vanilla'}, 'extra_losses[1]', '', '48 x 48'),
]


@pytest.mark.parametrize(('entry', 'where', 'quoted', 'do'), MISTAKES)
def test_mistakes_are_named_before_the_training(entry, where, quoted, do):
    with refused(f'x.yml: train.{where}', quoted, do=do):
        check_options(training_options('lq', 'gt', extra_losses=[FOCAL, entry]), where='x.yml', data=False)


@pytest.mark.parametrize('value', [FOCAL, 'FocalFrequencyLoss', 3])
def test_what_is_no_list_is_refused(value):
    with refused('x.yml: train.extra_losses'):
        check_options(training_options('lq', 'gt', extra_losses=value), where='x.yml', data=False)


def test_a_schedule_needs_a_falling_learning_rate():
    options = training_options('lq', 'gt', hf_opt=HF, extra_losses=[FOCAL, {'type': 'MSELoss', 'schedule': 'lr'}])
    check_options(options, where='x.yml', data=False)
    options['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5}
    with refused('x.yml: train.extra_losses[1].schedule'):
        check_options(options, where='x.yml', data=False)


def test_models_without_the_option_refuse_it():
    options = {**training_options('lq', 'gt', extra_losses=[FOCAL]), 'model_type': 'SRModel'}
    with refused('x.yml: train', "'extra_losses'", do='ExtractionModel'):
        check_options(options, where='x.yml', data=False)
