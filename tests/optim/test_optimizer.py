"""SAM is a torch optimizer: options, groups, state, schedulers, hooks, copies, memory."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from mea_plugin.optim import SAM, LookSAM, MomentumSAM


def train(each, optimizer, count, scheduler=None):
    losses = []
    for _ in range(count):
        losses.append(optimizer.step(each.closure(optimizer)).item())
        if scheduler is not None:
            scheduler.step()
    return losses


def assert_equal_weights(one, other):
    for left, right in zip(one.weights(), other.weights(), strict=True):
        np.testing.assert_array_equal(left, right)


class NeedsClosure(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class TwoOptimizers(torch.optim.Optimizer):
    """A third party's optimizer with an option called adaptive."""

    def __init__(self, params, lr=0.1, adaptive=True):
        super().__init__(params, {'lr': lr, 'adaptive': adaptive})

    def step(self, closure=None):
        return None


@pytest.mark.parametrize(
    ('base', 'names'),
    [
        ('Adom', ("'Adom'", "'Adam'")),
        ('sgd', ("'sgd'", "'SGD'")),
        ('Zzzzzz', ("'Zzzzzz'", 'ASGD, ')),
        ('Optimizer', ("'Optimizer'", torch.__version__)),
        ('LBFGS', ('base_optimizer', 'LBFGS', 'closure', "'Adam'")),
        ('SparseAdam', ('base_optimizer', 'SparseAdam', 'sparse', "'Adam'")),
        ('Adadelta', ('base_optimizer', 'Adadelta', "'rho'", 'SAM')),
        (TwoOptimizers, ('base_optimizer', 'TwoOptimizers', "'adaptive'", 'SAM')),
        (NeedsClosure, ('base_optimizer', 'NeedsClosure', 'closure')),
        (SAM, ('base_optimizer', 'SAM', 'climb')),
        (torch.optim.Optimizer, ('base_optimizer', repr(torch.optim.Optimizer))),
        (torch.nn.Linear, ('base_optimizer', repr(torch.nn.Linear))),
        (3, ('base_optimizer', ' 3')),
    ],
)
def test_bases_that_are_refused(problem, base, names):
    with pytest.raises(ValueError, match='.') as caught:
        SAM(problem().params, base, lr=0.1)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        ({'weight_decy': 0.1}, ('Adam', "'weight_decy'", "'weight_decay'")),
        ({'momentum': 0.9}, ('Adam', "'momentum'")),
        ({'differentiable': True}, ('differentiable=True',)),
        ({'rho': -0.1}, ('rho', ' -0.1', '0.05')),
        ({'rho': math.nan}, ('rho', ' nan')),
        ({'rho': math.inf}, ('rho', ' inf')),
        ({'rho': '0.05'}, ('rho', "'0.05'")),
        ({'rho': True}, ('rho', ' True')),
        ({'rho': None}, ('rho', ' None')),
        ({'adaptive': 'False'}, ('adaptive', "'False'")),
        ({'lr': -1.0}, ('learning rate', ' -1.0')),  # torch's own error
    ],
)
def test_options_that_are_refused(problem, options, names):
    with pytest.raises(ValueError, match='.') as caught:
        SAM(problem().params, **options)
    assert all(name in str(caught.value) for name in names)


def test_groups_that_are_refused(problem):
    params = problem().params
    with pytest.raises(ValueError, match=r'rho\b.* -1\b'):
        SAM([{'params': params, 'rho': -1}], lr=0.1)
    optimizer = SAM(params[:1], lr=0.1)
    with pytest.raises(ValueError, match=r'rho\b.* nan\b'):
        optimizer.add_param_group({'params': params[1:], 'rho': math.nan})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ValueError, match='empty parameter list'):
        SAM([])


def test_a_class_and_its_name_are_the_same(problem):
    results = []
    for base in ('AdamW', torch.optim.AdamW):
        ours = problem()
        optimizer = SAM(iter(ours.params), base, lr=0.01)
        results.append((ours, train(ours, optimizer, 3)))
    assert results[0][1] == results[1][1]
    assert_equal_weights(results[0][0], results[1][0])


def test_defaults_and_groups_are_the_base_optimizers(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.01)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert type(optimizer.base_optimizer) is torch.optim.Adam
    assert optimizer.defaults == {**optimizer.base_optimizer.defaults, 'rho': 0.05, 'adaptive': False}
    assert optimizer.param_groups is optimizer.base_optimizer.param_groups
    train(ours, optimizer, 1)
    optimizer.param_groups[0]['lr'] = 0.0
    weights = ours.weights()
    train(ours, optimizer, 1)
    for own, weight in zip(ours.weights(), weights, strict=True):
        np.testing.assert_array_equal(own, weight)


def test_rho_may_be_scheduled(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.01)
    start = ours.weights()
    for rho in (0.1, 0.7):
        optimizer.param_groups[0]['rho'] = rho
        ours.closure(optimizer)()
        with optimizer.perturbed():
            moved = sum(np.sum((own - weight) ** 2) for own, weight in zip(ours.weights(), start, strict=True))
        assert math.sqrt(moved) == pytest.approx(rho)


def test_state_and_groups_may_be_replaced(problem):
    """Code that resets an optimizer assigns a new state; the base optimizer must not keep the old one."""
    results = []
    for build in (lambda params: SAM(params, rho=0, lr=0.01), lambda params: torch.optim.Adam(params, lr=0.01)):
        ours = problem()
        optimizer = build(ours.params)
        train(ours, optimizer, 2)
        optimizer.state = type(optimizer.state)(dict)
        optimizer.param_groups = [{**group, 'lr': 0.05} for group in optimizer.param_groups]
        train(ours, optimizer, 2)
        results.append(ours)
    assert_equal_weights(*results)


def test_add_param_group(problem):
    both, later = problem(), problem()
    whole = SAM([{'params': both.params[:2]}, {'params': both.params[2:], 'lr': 0.1, 'rho': 0.5}], lr=0.01)
    grown = SAM(later.params[:2], lr=0.01)
    grown.add_param_group({'params': later.params[2:], 'lr': 0.1, 'rho': 0.5})
    assert grown.param_groups[1]['adaptive'] is False
    assert grown.param_groups[1]['betas'] == (0.9, 0.999)
    assert train(both, whole, 3) == train(later, grown, 3)
    assert_equal_weights(both, later)
    with pytest.raises(TypeError):
        grown.add_param_group([torch.nn.Parameter(torch.zeros(1))])


@pytest.mark.parametrize(
    ('base', 'options'),
    [('Adam', {'amsgrad': True}), ('SGD', {'momentum': 0.9}), ('RMSprop', {}), ('Adagrad', {}), ('NAdam', {})],
)
def test_training_goes_on_bit_for_bit_after_a_round_trip(problem, tmp_path, base, options):
    def build(each):
        optimizer = SAM(each.params, base, rho=0.1, lr=0.02, **options)
        return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 10)

    ours = problem(dtype=torch.float32)
    optimizer, scheduler = build(ours)
    train(ours, optimizer, 4, scheduler)
    file = tmp_path / 'state.pth'
    torch.save([[p.detach() for p in ours.params], optimizer.state_dict(), scheduler.state_dict()], file)
    weights, state, schedule = torch.load(file, weights_only=True)
    assert set(state) == {'state', 'param_groups'}
    resumed = problem(dtype=torch.float32)
    with torch.no_grad():
        for param, weight in zip(resumed.params, weights, strict=True):
            param.copy_(weight)
    other, other_scheduler = build(resumed)
    train(resumed, other, 1)  # its own state and groups must give way
    with torch.no_grad():
        for param, weight in zip(resumed.params, weights, strict=True):
            param.copy_(weight)
    other.load_state_dict(state)
    other_scheduler.load_state_dict(schedule)
    assert train(ours, optimizer, 4, scheduler) == train(resumed, other, 4, other_scheduler)
    assert_equal_weights(ours, resumed)
    assert other.param_groups[0]['lr'] == optimizer.param_groups[0]['lr']


def test_the_state_dict_is_the_base_optimizers_and_holds_no_copy(problem):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.2, lr=0.02)
    train(ours, optimizer, 2)
    state = optimizer.state_dict()
    assert all(set(entry) == {'step', 'exp_avg', 'exp_avg_sq'} for entry in state['state'].values())
    ours.closure(optimizer)()
    with optimizer.perturbed():
        assert json.dumps(optimizer.state_dict()['param_groups']) == json.dumps(state['param_groups'])
        assert set(optimizer.state_dict()['state'][0]) == {'step', 'exp_avg', 'exp_avg_sq'}


def test_state_dicts_are_exchanged_with_the_plain_optimizer(problem):
    plain, ours, back = problem(), problem(), problem()
    adam = torch.optim.Adam(plain.params, lr=0.02)
    train(plain, adam, 3)
    optimizer = SAM([{'params': ours.params, 'rho': 0.3}], lr=0.5, adaptive=True)
    optimizer.load_state_dict(adam.state_dict())
    group = optimizer.param_groups[0]
    assert (group['lr'], group['rho'], group['adaptive']) == (0.02, 0.3, True)
    for name, value in adam.state[plain.params[1]].items():
        assert torch.equal(optimizer.state[ours.params[1]][name], value)
    train(ours, optimizer, 2)
    returned = torch.optim.Adam(back.params, lr=0.5)
    returned.load_state_dict(optimizer.state_dict())
    assert returned.param_groups[0]['lr'] == 0.02
    train(back, returned, 1)


@pytest.mark.parametrize(('saved', 'loaded'), [('SGD', 'Adam'), ('Adadelta', 'SGD'), ('RMSprop', 'Adam')])
def test_another_optimizers_state_dict_is_refused(problem, saved, loaded):
    other, ours = problem(), problem()
    stranger = getattr(torch.optim, saved)(other.params, lr=0.1)
    train(other, stranger, 1)
    optimizer = SAM(ours.params, loaded, rho=0.3, lr=0.02)
    train(ours, optimizer, 1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=rf"\b{loaded}\b.*'\w+'"):
        optimizer.load_state_dict(stranger.state_dict())
    after = optimizer.state_dict()
    assert after['param_groups'] == before['param_groups']
    assert after['state'].keys() == before['state'].keys()
    train(ours, optimizer, 1)
    with pytest.raises(ValueError, match='parameter groups'):
        optimizer.load_state_dict({'state': {}, 'param_groups': before['param_groups'] * 2})


def test_load_hooks_run_once(problem):
    ours = problem()
    optimizer = SAM(ours.params, lr=0.02)
    calls = []
    optimizer.register_load_state_dict_pre_hook(lambda _opt, _state: calls.append('before'))
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append(opt.param_groups[0]['rho']))
    optimizer.load_state_dict(torch.optim.Adam(problem().params).state_dict())
    assert calls == ['before', 0.05]


@pytest.mark.parametrize('scheduled', [False, True])
def test_deepcopy_takes_the_parameters_along(problem, scheduled):
    ours = problem()
    optimizer = SAM(ours.params, rho=0.1, lr=0.02)
    if scheduled:
        lr_scheduler.StepLR(optimizer, 5)
    train(ours, optimizer, 2)
    twin, copied = copy.deepcopy((ours, optimizer))
    assert copied.base_optimizer.param_groups is copied.param_groups
    assert copied.base_optimizer.state is copied.state
    assert train(ours, optimizer, 3) == train(twin, copied, 3)
    assert_equal_weights(ours, twin)


def test_pickle_takes_the_parameters_along(problem):
    ours = problem()
    optimizer = SAM(ours.params, 'SGD', rho=0.1, lr=0.02, momentum=0.9)
    train(ours, optimizer, 2)
    twin = problem()
    restored, twin.params = pickle.loads(pickle.dumps((optimizer, ours.params)))
    assert restored.base_optimizer.state is restored.state
    assert train(ours, optimizer, 3) == train(twin, restored, 3)
    assert_equal_weights(ours, twin)


@pytest.mark.parametrize(
    'build',
    [
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)],
            [3],
        ),
    ],
)
def test_schedulers_work_as_on_the_base_optimizer(problem, build):
    rates, complaints = [], []
    for wrap in (False, True):
        each = problem()
        optimizer = SAM(each.params, lr=0.02) if wrap else torch.optim.Adam(each.params, lr=0.02)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            scheduler = build(optimizer)
            seen = []
            for _ in range(6):
                optimizer.step(each.closure(optimizer))
                scheduler.step()
                group = optimizer.param_groups[0]
                seen.append((group['lr'], group['initial_lr'], group['betas']))
        rates.append(seen)
        complaints.append([str(warning.message) for warning in caught])
    assert rates[0] == rates[1]
    assert complaints[0] == complaints[1]  # torch 2.1 warns about its own SequentialLR
    assert len(set(rates[1])) > 3


def test_a_scheduler_sees_steps_made_of_parts(problem):
    each = problem()
    optimizer = SAM(each.params, lr=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        scheduler = lr_scheduler.StepLR(optimizer, 1)
        closure = each.closure(optimizer)
        closure()
        with optimizer.perturbed():
            closure()
        optimizer.step()
        scheduler.step()


def test_the_parts_are_the_step(problem):
    whole, parts = problem(), problem()
    one, other = SAM(whole.params, rho=0.1, lr=0.02), SAM(parts.params, rho=0.1, lr=0.02)
    for _ in range(3):
        one.step(whole.closure(one))
        closure = parts.closure(other)
        closure()
        assert other.climb() is True
        closure()
        other.restore()
        assert other.step() is None
    assert_equal_weights(whole, parts)


def test_hooks_run_once_per_step(problem):
    each = problem()
    optimizer = SAM(each.params, lr=0.02)
    calls = []
    optimizer.register_step_pre_hook(lambda opt, _args, _kwargs: calls.append(('before', opt)))
    optimizer.register_step_post_hook(lambda opt, _args, _kwargs: calls.append(('after', opt)))
    train(each, optimizer, 2)
    assert calls == [('before', optimizer), ('after', optimizer)] * 2


def test_the_loss_is_what_the_first_call_returned(problem):
    each = problem()
    optimizer = SAM(each.params, lr=0.02)
    returned = iter(['first', 'second'])

    def closure():
        assert torch.is_grad_enabled()
        each.closure(optimizer)()
        return next(returned)

    with torch.no_grad():
        assert optimizer.step(closure) == 'first'
    assert next(returned, None) is None


def test_gradients_of_the_first_pass_are_left_alone(problem):
    each = problem()
    optimizer = SAM(each.params, adaptive=True, lr=0.02)
    each.closure(optimizer)()
    grads = [param.grad.clone() for param in each.params]
    with optimizer.perturbed():
        assert all(torch.equal(param.grad, grad) for param, grad in zip(each.params, grads, strict=True))
    optimizer.zero_grad()
    assert all(param.grad is None for param in each.params)


def test_a_changed_dtype_or_a_new_parameter_finds_memory(problem):
    each = problem(dtype=torch.float32)
    optimizer = SAM(each.params, 'SGD', lr=0.02)
    train(each, optimizer, 1)
    for param in each.params:
        param.data = param.data.double()
        param.grad = None
    train(each, optimizer, 1)
    assert {param.dtype for param in each.params} == {torch.float64}


def allocated(run, tmp_path):
    """The highest sum of bytes that ``run`` holds at once, and what it still holds at its end."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    file = tmp_path / 'trace.json'
    profile.export_chrome_trace(str(file))
    events = [event for event in json.loads(file.read_text())['traceEvents'] if event.get('name') == '[memory]']
    held = np.cumsum([event['args']['Bytes'] for event in sorted(events, key=lambda event: event['ts'])])
    return max(held, default=0), held[-1] if len(held) else 0


@pytest.mark.parametrize('adaptive', [False, True])
def test_memory_is_one_copy_of_the_parameters(tmp_path, adaptive):
    params = [torch.nn.Parameter(torch.randn(64, 64, 3, 3)) for _ in range(4)]
    optimizer = SAM(params, 'SGD', adaptive=adaptive, lr=0.1)
    for param in params:
        param.grad = torch.randn_like(param)
    size = sum(param.numel() * param.element_size() for param in params)

    def climb_and_back():
        optimizer.climb()
        optimizer.restore()

    peak, held = allocated(climb_and_back, tmp_path)
    assert size <= held <= 1.01 * size
    assert peak <= 1.01 * size
    assert allocated(climb_and_back, tmp_path)[0] <= 0.01 * size


@pytest.mark.parametrize(('variant', 'copies'), [('LookSAM', 2), ('MomentumSAM', 1)])
def test_memory_of_the_variants(tmp_path, variant, copies):
    params = [torch.nn.Parameter(torch.randn(64, 64, 3, 3)) for _ in range(4)]
    build = {'LookSAM': LookSAM, 'MomentumSAM': MomentumSAM}[variant]
    optimizer = build(params, 'SGD', lr=0.1, momentum=0.9)
    for param in params:
        param.grad = torch.randn_like(param)
    size = sum(param.numel() * param.element_size() for param in params)
    optimizer.base_optimizer.step()  # whose momentum is not counted

    def step():
        with optimizer.ahead():
            pass
        with optimizer.perturbed():
            pass
        optimizer.step()

    peak, held = allocated(step, tmp_path)
    assert copies * size <= held <= (copies + 0.02) * size
    assert peak <= (copies + 0.02) * size
    assert allocated(step, tmp_path)[0] <= 0.02 * size
