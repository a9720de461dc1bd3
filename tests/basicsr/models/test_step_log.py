"""What is logged of a step: read when asked, and a run that has gone wrong is stopped with one line."""

import math

import pytest
import torch

from tests.basicsr.models.test_training_step import GAN, PlainScaler
from tests.basicsr.steps import SAM_OPT, UNET, assert_same, batches, build, train, weights
from tests.helpers import refused

RARELY = {'logger': {'print_freq': 100, 'save_checkpoint_freq': 100, 'use_tb_logger': False}}
SGD = {'type': 'SGD', 'lr': 0.01}
KINDS = ['ExtractionModel', 'ExtractionGANModel']


def make(kind, **options):
    return build(kind, network_d=UNET, **{**(GAN if 'GAN' in kind else {}), **options})


def step(model, iteration, batch):
    model.feed_data(batch)
    model.optimize_parameters(iteration)


def poison(model, term, value):
    """Let one term of the objective be ``value``."""
    losses = model._losses

    def poisoned(*arguments):
        terms = losses(*arguments)
        terms[term] = terms[term] * 0 + value
        return terms

    model._losses = poisoned


@pytest.mark.parametrize('kind', KINDS)
def test_nobody_waits_for_the_device_in_an_iteration_that_is_not_logged(kind, monkeypatch):
    model = make(kind, optim_g=SGD, optim_d=SGD, top=RARELY, ema_decay=0.9)
    waits = []
    for name in ('item', 'tolist', '__float__', '__bool__', 'cpu', 'numpy'):
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, m=method, n=name: waits.append(n) or m(self, *a))
    for iteration, batch in enumerate(batches(2), 1):
        step(model, iteration, batch)
    assert waits == []
    assert all(math.isfinite(value) for value in model.get_current_log().values())
    assert waits == ['tolist']  # everything in one transfer
    model.get_current_log()
    step(model, 100, batch)
    assert waits == ['tolist'] * 2


@pytest.mark.parametrize('optim', [SGD, {**SAM_OPT, 'base_optimizer': 'SGD', 'lr': 0.01}], ids=['plain', 'SAM'])
def test_the_gradient_s_norm_is_that_of_the_step(optim):
    """With SGD the weights move by the learning rate times the gradient."""
    model = build('ExtractionModel', optim_g=optim, top=RARELY)
    before = weights(model)
    log = train(model, 1)[0]
    moved = math.sqrt(
        sum(float((before[key] - value).double().square().sum()) for key, value in weights(model).items())
    )
    assert log['grad_norm'] * 0.01 == pytest.approx(moved, rel=1e-3)
    assert ('sharpness' in log) == (optim is not SGD)


def test_sharpness_stays_that_of_the_last_second_pass():
    logs = train(build('ExtractionModel', optim_g={**SAM_OPT, 'every': 2}), 4)
    values = [log['sharpness'] for log in logs]
    assert values[0] == values[1] != values[2] == values[3]
    logs = train(build('ExtractionModel', optim_g={**SAM_OPT, 'type': 'MomentumSAM'}), 2)
    assert all('sharpness' not in log and 'grad_norm' in log for log in logs)


def test_before_the_first_step_there_is_nothing():
    assert build('ExtractionModel').get_current_log() == {}


@pytest.mark.parametrize(('kind', 'term'), [('ExtractionModel', 'l_pix'), ('ExtractionGANModel', 'l_g_pix')])
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_term_that_is_not_finite_stops_the_run_where_it_is_logged(kind, term, value):
    model = make(kind)
    poison(model, term, value)
    with refused('iteration 1', term, str(value)):
        train(model, 1)


@pytest.mark.parametrize('kind', KINDS)
def test_elsewhere_it_is_found_before_a_checkpoint_is_saved(kind):
    model = make(kind, top=RARELY)
    (batch,) = batches(1)
    step(model, 7, batch)
    model.check_finite()
    term = f'{model.term_prefix}pix'
    poison(model, term, math.nan)
    step(model, 8, batch)
    for call in (model.check_finite, lambda: model.save(0, 8)):  # which has no folder to write to
        with refused('iteration 8', term, 'nan'):
            call()


def test_a_gradient_that_is_not_finite_is_found_there_too():
    """The loss is finite, the weights after the step are not."""
    model = build('ExtractionModel', top=RARELY)
    (batch,) = batches(1)
    model.net_g.body[0].weight.register_hook(lambda grad: grad * math.inf)
    step(model, 3, batch)
    with refused('iteration 3', 'grad_norm'):
        model.check_finite()


def test_but_not_where_a_scaler_takes_care_of_it():
    model = build('ExtractionModel', top=RARELY)
    model.step_g.scaler = PlainScaler()
    before = weights(model)
    (batch,) = batches(1)
    model.net_g.body[0].weight.register_hook(lambda grad: grad * math.inf)
    step(model, 3, batch)
    model.check_finite()
    assert_same(weights(model), before)


@pytest.mark.parametrize('kind', KINDS)
def test_sam_stops_at_once_and_the_weights_stay(kind):
    model = make(kind, optim_g=SAM_OPT, top=RARELY)
    before = weights(model)
    (batch,) = batches(1)
    model.net_g.body[0].weight.register_hook(lambda grad: grad * math.nan)
    with refused('iteration 5', '(at w)'):
        step(model, 5, batch)
    assert_same(weights(model), before)
    poison(model, f'{model.term_prefix}pix', math.inf)
    with refused('iteration 6', f'{model.term_prefix}pix', 'inf'):
        step(model, 6, batch)


@pytest.mark.parametrize('kind', KINDS)
def test_scalers_and_best_results_are_the_training_state(kind, tmp_path):
    model, other = make(kind), make(kind)
    for step in model._steps():
        step.scaler = PlainScaler(8.0)
    model.best_metric_results = {'Set5': {'psnr': {'better': 'higher', 'val': 31.5, 'iter': 40}}}
    torch.save(model.training_state(), tmp_path / 'state')
    state = torch.load(tmp_path / 'state', weights_only=True)
    other.load_training_state(state)  # without a scaler, that of the other run is left out
    assert other.best_metric_results == model.best_metric_results
    assert other.best_metric_results is not state['best_metric_results']
    for step in other._steps():
        step.scaler = PlainScaler(2.0)
    other.load_training_state(state)
    assert [step.scaler.get_scale() for step in other._steps()] == [8.0] * len(other._steps())
    other.load_training_state(make(kind).training_state())
    assert other.best_metric_results == {}
