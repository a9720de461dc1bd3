"""Two processes: they are one with the joint batch, m-SAM is its own rule, and nobody speaks when nobody needs to."""

from __future__ import annotations

import copy
import math
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing, nn

from mea_plugin.core.errors import InputError
from mea_plugin.core.launch import leave_process_group
from tests.basicsr.models.test_gan_model import TinyGenerator
from tests.basicsr.models.test_training_step import PlainScaler
from tests.basicsr.run.test_validation import PSNR, SSIM, loader
from tests.basicsr.steps import UNET, batches, build, weights

from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY  # isort: skip - after the toolbox's work-arounds

WORLD, STEPS, RHO, LR = 2, 3, 0.3, 0.05
SGD = {'type': 'SGD', 'lr': LR}
SAM = {'type': 'SAM', 'base_optimizer': 'SGD', 'lr': LR, 'rho': RHO}
LOCAL = {**SAM, 'first_pass': 'local'}
GAN = {'gan_opt': {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 0.1}}
RARELY = {'print_freq': 100, 'save_checkpoint_freq': 100, 'use_tb_logger': False}
JOINT = [
    (kind, name, parts)
    for kind in ('ExtractionModel', 'ExtractionGANModel')
    for name in ('SGD', 'SAM')
    for parts in (1, 2)
]
OPTIMIZERS = {'SGD': SGD, 'SAM': SAM, 'LOCAL': LOCAL, 'EVERY': {**LOCAL, 'every': 2}}


class TinyCritic(nn.Sequential):
    """A discriminator without buffers."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, 2), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3, 2))


def calculate_order(img, **kwargs):
    """A metric whose sum depends on the order of the images, which differ in height."""
    return (1e16, 1.0, -1e16, 1.0, 0.0, 0.0)[(img.shape[0] - 32) // 8]


NETWORKS = {'TinyCritic': TinyCritic, 'TinyGenerator': TinyGenerator}


def make(kind, optim, *, rank=None, logger=None, network=None, **options):
    """A model of one rank, or of the one process when there is none."""
    top = {} if rank is None else {'dist': True, 'rank': rank, 'world_size': WORLD}
    if logger:
        top['logger'] = logger
    top['val'] = {'metrics': {'psnr': PSNR, 'ssim': SSIM, 'order': {'type': 'calculate_order'}}}
    both = {'optim_g': optim, 'optim_d': optim, **GAN} if 'GAN' in kind else {'optim_g': optim}
    critic = {'type': 'TinyCritic'} if optim is LOCAL else UNET
    return build(kind, network, network_d=critic, top=top, **both, **options)


def shares(rank, count=STEPS):
    """What one rank sees of the joint batches, or all of them."""
    for batch in batches(count, images=4):
        yield {
            key: value.double()[slice(None) if rank is None else slice(rank, None, WORLD)]
            for key, value in batch.items()
        }


def train(model, rank):
    logs = []
    for iteration, batch in enumerate(shares(rank), 1):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
    return logs


def networks(model):
    names = [name for name in ('net_g', 'net_d') if hasattr(model, name)]
    return {name: {key.removeprefix('module.'): value for key, value in weights(model, name).items()} for name in names}


# What each rank does


def work(rank, folder):
    meeting = f'file://{folder}/meet'
    distributed.init_process_group(
        'gloo', init_method=meeting, rank=rank, world_size=WORLD, timeout=timedelta(seconds=120)
    )
    ARCH_REGISTRY._obj_map |= NETWORKS
    METRIC_REGISTRY._obj_map['calculate_order'] = calculate_order
    torch.set_default_dtype(torch.float64)
    try:
        torch.save(everything(rank), f'{folder}/{rank}.pth')
    finally:
        torch.set_default_dtype(torch.float32)
        leave_process_group()


def everything(rank):
    found = {}
    for kind, name, parts in JOINT:
        model = make(kind, OPTIMIZERS[name], rank=rank, accumulate=parts)
        found[kind, name, parts] = {'logs': train(model, rank), **networks(model)}
    for kind in ('ExtractionModel', 'ExtractionGANModel'):
        model = make(kind, LOCAL, rank=rank)
        found[kind, 'LOCAL'] = {'logs': train(model, rank), **networks(model)}
    found['buffers'] = {mode: networks(with_buffers(rank, mode)) for mode in ('standard', 'relativistic')}
    found['events'] = {name: events(rank, name) for name in OPTIMIZERS}
    found['silence'] = collectives(rank)
    found['overflow'] = overflow(rank)
    found['stopped'] = {which: stopped(rank, which) for which in ('term', 'gradient')}
    found['validation'] = validation(rank)
    return found


def with_buffers(rank, mode):
    """Batch norm and spectral norm, SAM on both networks, each rank climbing alone."""
    options = {'gan_mode': mode, 'ema_decay': 0.9, 'accumulate': 2}
    model = make('ExtractionGANModel', {**LOCAL}, rank=rank, network={'type': 'TinyGenerator'}, **options)
    train(model, rank)
    return model


def events(rank, name):
    """In which order forward passes and sums over the ranks happen: two steps of two micro-batches each."""
    model, order = make('ExtractionModel', OPTIMIZERS[name], rank=rank, accumulate=2, logger=RARELY), []

    def averaged(state, bucket):
        order.append('average')
        sums = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return sums.then(lambda future: future.value()[0] / WORLD)

    model.net_g.register_comm_hook(None, averaged)
    model.net_g.module.register_forward_hook(lambda *_: order.append('forward'))
    for iteration, batch in enumerate(shares(rank, 2), 1):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    return order


def collectives(rank):
    """Collectives that Python calls in a step that is not logged, and in one that is."""
    called, originals = [], {}
    model = make('ExtractionGANModel', SAM, rank=rank, logger=RARELY)
    for name in ('all_reduce', 'reduce', 'broadcast', 'all_gather', 'all_gather_object', 'barrier'):
        originals[name] = getattr(distributed, name)

        def spy(*args, original=originals[name], name=name, **kwargs):
            called.append(name)
            return original(*args, **kwargs)

        setattr(distributed, name, spy)
    try:
        for iteration, batch in ((99, next(shares(rank))), (100, next(shares(rank)))):
            model.feed_data(batch)
            model.optimize_parameters(iteration)
            called.append(iteration)
        model.get_current_log(), model.check_finite()
    finally:
        for name, original in originals.items():
            setattr(distributed, name, original)
    return called


def poison(model, rank):
    """On the second rank, the objective is infinite."""
    objective = model._objective

    def poisoned(*arguments):
        loss, terms = objective(*arguments)
        return loss * (math.inf if rank == 1 else 1.0), terms

    model._objective = poisoned
    return objective


def overflow(rank):
    """m-SAM under a scaler: a step that overflows on one rank, then one that does not."""
    model = make('ExtractionModel', LOCAL, rank=rank, logger=RARELY)
    scaler = model.step_g.scaler = PlainScaler(1024.0)
    before, seen = networks(model)['net_g'], []
    objective = poison(model, rank)
    for iteration, batch in enumerate(shares(rank, 2), 1):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        seen.append(
            (
                scaler.get_scale(),
                all(torch.equal(before[key], value) for key, value in networks(model)['net_g'].items()),
            )
        )
        model._objective = objective
    return seen


def stopped(rank, which):
    """A loss, or under m-SAM a gradient, that is not finite on one rank only."""
    model = make(
        'ExtractionModel', LOCAL if which == 'gradient' else SGD, rank=rank, logger={**RARELY, 'print_freq': 1}
    )
    if which == 'gradient':
        poison(model, rank)
    elif rank == 1:
        criterion = model.cri_pix
        model.cri_pix = lambda *arguments: criterion(*arguments) * math.nan
    try:
        train(model, rank)
    except InputError as error:
        return error.where, error.what
    return 'went on'


def validation(rank):
    model = make('ExtractionModel', SGD, rank=rank)
    before = torch.get_rng_state()
    answers = []
    for data, iteration in ((loader(), 1), (loader('Set4', 4), 1), (loader(count=1), 2)):
        answers.append(model.validation(data, iteration, None))
    best = copy.deepcopy(model.best_metric_results)
    asked = []
    model.stop_requested = lambda: rank == 1 and asked.append(0) is None and len(asked) == 2
    answers.append(model.validation(loader(count=6), 3, None))
    training = model.net_g.training and model.net_g.module.training
    return {
        'answers': answers, 'best': best, 'last': model.best_metric_results, 'training': training,
        'random': torch.equal(before, torch.get_rng_state()),
    }  # fmt: skip


# What one process finds


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('ranks'))
    other = multiprocessing.get_context('spawn').Process(target=work, args=(1, folder))
    other.start()
    try:
        work(0, folder)  # here, because starting a process costs more than the rest of the test
        other.join(60)
    finally:
        if other.is_alive():
            other.kill()
    assert other.exitcode == 0
    yield [torch.load(f'{folder}/{rank}.pth', weights_only=False) for rank in range(WORLD)]
    for name in NETWORKS:
        ARCH_REGISTRY._obj_map.pop(name)
    METRIC_REGISTRY._obj_map.pop('calculate_order')


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_equal_ranks(first, second):
    assert first['logs'] == second['logs']
    for name in ('net_g', 'net_d'):
        for key, value in first.get(name, {}).items():
            assert torch.equal(value, second[name][key]), key


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'name', 'parts'), JOINT)
def test_two_processes_are_one(ranks, kind, name, parts, float64):
    first, second = (rank[kind, name, parts] for rank in ranks)
    assert_equal_ranks(first, second)
    model = make(kind, OPTIMIZERS[name], accumulate=parts)
    for log, expected in zip(first['logs'], train(model, None), strict=True):
        assert log == pytest.approx(expected, rel=1e-7, abs=1e-9)
    for network, state in networks(model).items():
        for key, value in state.items():
            torch.testing.assert_close(first[network][key], value, rtol=1e-9, atol=1e-11, msg=f'{network}.{key}')


def m_sam(params, gradients):
    """A step of m-SAM: each rank's gradient at w + rho g / |g| with its own g, averaged, applied at w."""
    start, second = [p.detach().clone() for p in params], []
    for rank in range(WORLD):
        first = gradients(rank, first=True)
        norm = torch.sqrt(sum(g.square().sum() for g in first))
        with torch.no_grad():
            for p, w, g in zip(params, start, first, strict=True):
                p.copy_(w + RHO * g / norm)
        second.append(gradients(rank, first=False))
        with torch.no_grad():
            for p, w in zip(params, start, strict=True):
                p.copy_(w)
    with torch.no_grad():
        for p, *grads in zip(params, *second, strict=True):
            p -= LR * sum(grads) / WORLD


@pytest.mark.slow
def test_m_sam_is_its_rule(ranks, float64):
    assert_equal_ranks(*(rank['ExtractionModel', 'LOCAL'] for rank in ranks))
    net = copy.deepcopy(make('ExtractionModel', LOCAL).net_g)
    for batch in zip(*(shares(rank) for rank in range(WORLD)), strict=True):

        def gradients(rank, first, batch=batch):
            loss = (net(batch[rank]['lq']) - batch[rank]['gt']).abs().mean()
            return torch.autograd.grad(loss, list(net.parameters()))

        m_sam(list(net.parameters()), gradients)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(ranks[0]['ExtractionModel', 'LOCAL']['net_g'][key], value, rtol=1e-9, atol=1e-11)
    averaged = ranks[0]['ExtractionModel', 'SAM', 1]['net_g']
    assert any(not torch.allclose(value, averaged[key], rtol=1e-6) for key, value in net.state_dict().items())


@pytest.mark.slow
def test_m_sam_of_a_gan_is_its_rule_for_both_networks(ranks, float64):
    assert_equal_ranks(*(rank['ExtractionGANModel', 'LOCAL'] for rank in ranks))
    model = make('ExtractionGANModel', LOCAL)
    net_g, net_d, criterion = model.net_g, model.net_d, nn.functional.mse_loss
    for batch in zip(*(shares(rank) for rank in range(WORLD)), strict=True):
        fakes = {}

        def generators(rank, first, batch=batch, fakes=fakes):
            output = net_g(batch[rank]['lq'])
            fakes.setdefault(rank, output.detach())
            score = net_d(output)
            loss = (output - batch[rank]['gt']).abs().mean() + 0.1 * criterion(score, torch.ones_like(score))
            return torch.autograd.grad(loss, list(net_g.parameters()))

        def discriminators(rank, first, batch=batch, fakes=fakes):
            real, fake = net_d(batch[rank]['gt']), net_d(fakes[rank])
            loss = criterion(real, torch.ones_like(real)) + criterion(fake, torch.zeros_like(fake))
            return torch.autograd.grad(loss, list(net_d.parameters()))

        m_sam(list(net_g.parameters()), generators)
        m_sam(list(net_d.parameters()), discriminators)
    found = ranks[0]['ExtractionGANModel', 'LOCAL']
    for name, network in (('net_g', net_g), ('net_d', net_d)):
        for key, value in network.state_dict().items():
            torch.testing.assert_close(found[name][key], value, rtol=1e-8, atol=1e-10, msg=f'{name}.{key}')


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['standard', 'relativistic'])
def test_networks_with_buffers_end_with_equal_weights(ranks, mode):
    first, second = (rank['buffers'][mode] for rank in ranks)
    for name, state in first.items():
        for key, value in state.items():
            if 'running' not in key:  # each rank's own, until the first one's are taken over before the next step
                assert torch.equal(value, second[name][key]), key
    assert any('running_mean' in key for key in first['net_g'])
    assert any('weight_u' in key for key in first['net_d'])


@pytest.mark.slow
def test_gradients_are_averaged_with_the_last_micro_batch_and_never_in_a_local_first_pass(ranks):
    both = ['forward', 'forward', 'average']
    silent = ['forward', 'forward']
    expected = {
        'SGD': both * 2,
        'SAM': both * 4,
        'LOCAL': [*silent, *both] * 2,
        'EVERY': [*silent, *both, *both],  # the step between is the base optimizer's
    }
    for rank in ranks:
        assert rank['events'] == expected


@pytest.mark.slow
def test_ranks_speak_of_their_losses_in_logged_iterations_only(ranks):
    for rank in ranks:
        assert rank['silence'] == [99, 'all_reduce', 100]


@pytest.mark.slow
def test_an_overflow_on_one_rank_skips_the_step_on_all(ranks):
    for rank in ranks:
        assert rank['overflow'] == [(512.0, True), (512.0, False)]


@pytest.mark.slow
def test_what_is_not_finite_on_one_rank_stops_all(ranks):
    for rank in ranks:
        for which, names in (('term', ('l_pix', 'nan')), ('gradient', ('step()',))):
            where, what = rank['stopped'][which]
            assert where == 'iteration 1'
            assert all(name in what for name in names)


@pytest.mark.slow
def test_validation_is_shared_and_bit_for_bit_that_of_one_process(ranks, float64):
    model = make('ExtractionModel', SGD)
    for data, iteration in ((loader(), 1), (loader('Set4', 4), 1), (loader(count=1), 2)):
        assert model.validation(data, iteration, None)
    for rank in ranks:
        found = rank['validation']
        assert found['answers'] == [True, True, True, False]
        assert found['best'] == model.best_metric_results
        assert found['best']['Set4']['order']['val'] == 0.25  # 1 / 4; in another order it would be 2 / 4
        assert found['last'] == found['best']
        assert found['training']
        assert found['random']
