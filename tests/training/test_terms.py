"""Loss terms by option: what is read, what is refused where, and what follows the learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mea_plugin.training.terms import LossTerms, read_terms, try_term
from tests.helpers import refused

HF = {'type': 'HighFrequencyLoss', 'level': 1}
FOCAL = {'type': 'FocalFrequencyLoss', 'loss_weight': 0.5}


def read(extra, hf=None, schedule='constant'):
    return read_terms(hf, schedule, extra, hf_option='hf_opt', where='x.yml: train')


def test_the_penalty_comes_first_and_names_are_made_of_types():
    terms = read([FOCAL, {'type': 'MSELoss', 'schedule': 'lr'}, {'type': 'L1Loss', 'name': 'far_l1'}], HF, 'lr')
    assert [one.name for one in terms] == ['hf', 'focal_frequency', 'mse', 'far_l1']
    assert [one.schedule for one in terms] == ['lr', 'constant', 'lr', 'constant']
    assert [one.loss for one in terms] == [HF, FOCAL, {'type': 'MSELoss'}, {'type': 'L1Loss'}]
    assert [one.where for one in terms[:2]] == ['x.yml: train.hf_opt', 'x.yml: train.extra_losses[0]']
    assert [one.schedule_at for one in terms[:2]] == [
        'x.yml: train.hf_schedule',
        'x.yml: train.extra_losses[0].schedule',
    ]
    assert read(None) == read([]) == []


@pytest.mark.parametrize(
    ('extra', 'where', 'quoted'),
    [
        (FOCAL, 'train.extra_losses', 'FocalFrequencyLoss'),
        ('FocalFrequencyLoss', 'train.extra_losses', 'FocalFrequencyLoss'),
        ([FOCAL, 'L1Loss'], 'train.extra_losses[1]', "'L1Loss'"),
        ([{'loss_weight': 1}], 'train.extra_losses[0]', 'type'),
        ([FOCAL, {**FOCAL, 'schedule': 'const'}], 'train.extra_losses[1].schedule', "'const'"),
        ([FOCAL, FOCAL], 'train.extra_losses[1].name', "'focal_frequency'"),
        ([{**FOCAL, 'name': 'hf'}], 'train.extra_losses[0].name', "'hf'"),
        ([{**FOCAL, 'name': 'gan_g'}], 'train.extra_losses[0].name', "'gan_g'"),
        ([{**FOCAL, 'name': 'a.b'}], 'train.extra_losses[0].name', "'a.b'"),
        ([{**FOCAL, 'name': 3}], 'train.extra_losses[0].name', '3'),
    ],
)
def test_mistakes_are_named_where_they_stand(extra, where, quoted):
    with refused(f'x.yml: {where}', quoted) as error:
        read(extra, HF)
    assert error.value.do


def test_a_schedule_of_the_penalty_needs_one():
    with refused('x.yml: train.hf_schedule'):
        read([FOCAL], schedule='lr')


class Pair(nn.Module):
    """As the toolboxes' perceptual losses: two values, of which one may be None."""

    def forward(self, pred, target):
        return (pred - target).sum(), None


def test_each_term_follows_the_schedule_of_its_own():
    terms = LossTerms(read([{'type': 'a', 'schedule': 'lr'}, {'type': 'b'}]), lambda one: Pair())
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.25)
    terms.follow(optimizer)
    values = terms(torch.ones(2), torch.zeros(2))
    assert {name: value.item() for name, value in values.items()} == {'a': 0.75 * 2, 'b': 2.0}


def test_a_schedule_without_a_scheduler_is_refused():
    terms = LossTerms(read([{'type': 'a'}, {'type': 'b', 'schedule': 'lr'}]), lambda one: Pair())
    with refused('extra_losses[1].schedule'):
        terms.follow(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4))


@pytest.mark.parametrize('crop', [None, 8])
def test_a_loss_that_cannot_be_built_is_refused(crop):
    def build():
        raise TypeError('no such weight.')

    (one,) = read([FOCAL])
    with refused('x.yml: train.extra_losses[0]', 'no such weight'):
        try_term(one, build, crop)


def test_a_loss_that_gives_an_image_is_refused():
    (one,) = read([FOCAL])
    try_term(one, lambda: Pair(), 8)
    with refused('x.yml: train.extra_losses[0]', '192'):
        try_term(one, lambda: nn.L1Loss(reduction='none'), 8)
