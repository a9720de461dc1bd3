"""SAM's variants in MMagic's models: each steps as its equations say, and leaves no network away from its weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmagic')

from mea_plugin import optim
from tests.helpers import refused
from tests.mmagic import tiny
from tests.mmagic.gan import CLASSES, LR, RHO, agree, batches_of, config_of, networks_of, normalised, wrap_all

VARIANTS = [
    ('SAM', 'Adam', {'every': 2}),
    ('LookSAM', 'Adam', {'every': 3, 'alpha': 0.5}),
    ('MomentumSAM', 'SGD', {'momentum': 0.9}),
]


@pytest.mark.parametrize(('kind', 'base', 'own'), VARIANTS)
def test_an_edit_model_steps_as_the_optimizer_alone_does(kind, base, own):
    model, net = (tiny.build(config_of('EditModel'), double=True) for _ in range(2))
    tiny.as_double(model)
    batches = batches_of('EditModel', 5)
    tiny.train(model, tiny.wrap(model, kind, base=base, rho=0.1, own=own), batches)
    optimizer = getattr(optim, kind)(net.parameters(), base, rho=0.1, lr=1e-3, **own)
    for batch in batches:
        query = torch.stack(batch['inputs']).double() / 255
        target = torch.stack([sample.gt_img for sample in batch['data_samples']]).double() / 255

        def closure(query=query, target=target):
            optimizer.zero_grad()
            loss = (net.generator(query) - target).abs().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
    agree(model, net, rtol=1e-9, atol=1e-12)


class LookByHand:
    """Around plain descent."""

    def __init__(self, network, every, alpha):
        self.params, self.every, self.alpha, self.steps = list(network.parameters()), every, alpha, 0

    def step(self, loss_of):
        grads = torch.autograd.grad(loss_of(), self.params)
        norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
        if self.steps % self.every == 0:
            start = [param.detach().clone() for param in self.params]
            with torch.no_grad():
                for param, grad in zip(self.params, grads, strict=True):
                    param += RHO * grad / norm
            found = torch.autograd.grad(loss_of(), self.params)
            with torch.no_grad():
                for param, w in zip(self.params, start, strict=True):
                    param.copy_(w)
            along = sum((a * b).sum() for a, b in zip(found, grads, strict=True)) / norm**2
            self.across = [a - along * b for a, b in zip(found, grads, strict=True)]
            grads = found
        else:
            length = torch.sqrt(sum(v.square().sum() for v in self.across))
            grads = [g + self.alpha * norm / length * v for g, v in zip(grads, self.across, strict=True)]
        self.steps += 1
        with torch.no_grad():
            for param, grad in zip(self.params, grads, strict=True):
                param -= LR * grad


class MomentumByHand:
    """Plain descent with a momentum of 0.9; the caller runs the pass between :meth:`go` and :meth:`step`."""

    def __init__(self, network):
        self.params = list(network.parameters())
        self.momentum = [torch.zeros_like(param) for param in self.params]

    def go(self):
        self.start = [param.detach().clone() for param in self.params]
        norm = torch.sqrt(sum(m.square().sum() for m in self.momentum))
        with torch.no_grad():
            for param, m in zip(self.params, self.momentum, strict=True):
                param -= RHO * m / norm if norm else 0

    def step(self, loss):
        grads = torch.autograd.grad(loss, self.params)
        with torch.no_grad():
            for index, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
                self.momentum[index] = 0.9 * self.momentum[index] + grad
                param.copy_(self.start[index] - LR * self.momentum[index])


def pix2pix_by_hand(model, batch, generators, critics):
    """The discriminators see what the generators make ahead of their weights, where these take their gradient."""
    generator, critic = model.generators['response'], model.discriminators['response']
    images = normalised(batch)
    query, response = images['img_query'], images['img_response']
    bce = F.binary_cross_entropy_with_logits
    generators.go()
    output = generator(query)

    def critics_loss():
        made, real = (critic(torch.cat([query, image], 1)) for image in (output.detach(), response))
        return 0.5 * (bce(made, torch.zeros_like(made)) + bce(real, torch.ones_like(real)))

    critics.step(critics_loss)
    made = critic(torch.cat([query, output], 1))
    generators.step(bce(made, torch.ones_like(made)) + 100 * F.l1_loss(output, response))


def test_a_gan_is_the_equations():
    from mmengine.optim import OptimWrapperDict

    ours = tiny.build(config_of('Pix2Pix', generator=tiny.resnet(dropout=False)), double=True)
    other = copy.deepcopy(ours)
    tiny.as_double(ours)
    options = {'rho': RHO, 'lr': LR, 'base': 'SGD'}
    wrapper = OptimWrapperDict(
        generators=tiny.wrap(ours.generators, 'MomentumSAM', own={'momentum': 0.9}, **options),
        discriminators=tiny.wrap(ours.discriminators, 'LookSAM', own={'every': 2, 'alpha': 0.5}, **options),
    )
    batches = batches_of('Pix2Pix', 4)
    tiny.train(ours, wrapper, batches)
    generators, critics = MomentumByHand(other.generators), LookByHand(other.discriminators, 2, 0.5)
    for batch in batches:
        pix2pix_by_hand(other, batch, generators, critics)
    agree(ours, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(('kind', 'base', 'own'), VARIANTS)
@pytest.mark.parametrize('name', ['EditModel', *CLASSES])
def test_two_small_batches_are_one_large(name, kind, base, own):
    options = {} if name in ('EditModel', 'SRGAN') else {'generator': tiny.resnet(dropout=False)}
    options |= {'buffer_size': 0} if name == 'CycleGAN' else {}
    small, large = (tiny.build(config_of(name, **options), double=True) for _ in range(2))
    tiny.as_double(small), tiny.as_double(large)
    batches = batches_of(name, 6, count=1)
    pairs = [tiny.joined(batches[index : index + 2]) for index in range(0, 6, 2)]
    own = {key: value for key, value in own.items() if key != 'momentum'} | {'momentum': 0.9}
    wrappers = [
        wrap_all(model, kind, base='SGD', lr=0.01, own=own, accumulative_counts=count)
        for model, count in ((small, 2), (large, 1))
    ]
    tiny.train(small, wrappers[0], batches)
    tiny.train(large, wrappers[1], pairs)
    agree(small, large, rtol=1e-7, atol=1e-9)


def without_statistics(name, **options):
    """So that a network's state is its weights."""
    generator = {} if name == 'SRGAN' else {'generator': tiny.resnet(dropout=False)}
    return tiny.build({**config_of(name, **generator), **options})


STEPS_LEFT_OUT = {
    'Pix2Pix': {'discriminator_steps': 2},
    'CycleGAN': {'discriminator_steps': 2},
    'SRGAN': {'train_cfg': {'disc_steps': 2}},
}


@pytest.mark.parametrize('name', CLASSES)
def test_generators_that_do_not_move_come_back(name):
    """They run ahead of their weights in every step, and are at exactly these weights after one without their turn."""
    model = without_statistics(name, **STEPS_LEFT_OUT[name])
    wrapper = wrap_all(model, 'MomentumSAM', rho=0.1)
    generator, _ = networks_of(model)
    seen = []
    generator.register_forward_pre_hook(lambda *_: seen.append(tiny.state(generator)))
    for network in generator.values() if hasattr(generator, 'values') else []:
        network.register_forward_pre_hook(lambda *_: seen.append(tiny.state(generator)))
    moved, away = [], []
    for index, batch in enumerate(batches_of(name, 4)):
        from mmengine.logging import MessageHub

        seen.clear()
        before = tiny.state(generator)
        MessageHub.get_current_instance().update_info('iter', index)
        model.train_step(batch, wrapper)
        moved.append(not tiny.same(before, tiny.state(generator)))
        away.append(not tiny.same(before, seen[0]))
    first = 0 if name == 'SRGAN' else 1
    assert moved == [index % 2 == first for index in range(4)]
    assert away == [index > first for index in range(4)]  # before its first step there is no momentum


@pytest.mark.parametrize(('name', 'paper'), [*((name, False) for name in CLASSES), ('CycleGAN', True)])
def test_a_failure_in_the_discriminators_turn_leaves_the_generators_at_their_weights(name, paper):
    model = without_statistics(name, **({'paper_discriminator_step': True} if paper else {}))
    wrapper = wrap_all(model, 'MomentumSAM', rho=0.1)
    batches = batches_of(name, 2)
    tiny.train(model, wrapper, batches[:1])
    generator, critic = networks_of(model)
    before = tiny.state(generator)
    away = []

    def fail(*_):
        if next(critic.parameters()).requires_grad:  # their own turn
            away.append(not tiny.same(before, tiny.state(generator)))
            raise KeyboardInterrupt

    for network in critic.values() if hasattr(critic, 'values') else [critic]:
        network.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        tiny.train(model, wrapper, batches[1:])
    stepped_before = paper or name == 'SRGAN'  # there the generators' turn comes first
    assert away == [True]
    assert tiny.same(before, tiny.state(generator)) != stepped_before
    assert not any(one.optimizer.climbed for one in wrapper.optim_wrappers.values())


def test_the_papers_discriminators_see_the_updated_generators():
    """In their second pass, at the weights and not ahead of them."""
    from mmengine.optim import OptimWrapperDict

    model = tiny.build(config_of('CycleGAN', generator=tiny.resnet(dropout=False), paper_discriminator_step=True))
    wrapper = OptimWrapperDict(
        generators=tiny.wrap(model.generators, 'MomentumSAM', rho=0.1),
        discriminators=tiny.wrap(model.discriminators, 'SAM'),
    )
    states = []
    model.generators['response'].register_forward_pre_hook(lambda *_: states.append(tiny.state(model.generators)))
    batches = batches_of('CycleGAN', 2)
    tiny.train(model, wrapper, batches[:1])
    before = tiny.state(model.generators)
    states.clear()
    tiny.train(model, wrapper, batches[1:])
    after = tiny.state(model.generators)
    assert not tiny.same(states[0], before)
    assert tiny.same(states[-1], after)
    assert not tiny.same(after, before)


@pytest.mark.parametrize('kind', ['SAM', 'LookSAM', 'MomentumSAM'])
def test_wrappers_of_one_pass_refuse_them(kind):
    from mmengine.optim import build_optim_wrapper

    net = torch.nn.Linear(2, 2)
    options = {'type': 'OptimWrapper', 'optimizer': {'type': kind, 'lr': 1e-3}}
    with refused('optim_wrapper.type', 'OptimWrapper', kind, do='SAMOptimWrapper'):
        build_optim_wrapper(net, options)
    wrapper = build_optim_wrapper(net, {**options, 'type': 'SAMOptimWrapper'})
    assert type(wrapper.optimizer) is getattr(optim, kind)
    with refused('optim_wrapper', 'update_params(loss)', kind):
        wrapper.update_params(net(torch.ones(1, 2)).sum())


@pytest.mark.parametrize('kind', ['SAM', 'LookSAM', 'MomentumSAM'])
def test_training_goes_on_where_it_was(kind):
    own = {} if kind == 'MomentumSAM' else {'every': 3}
    straight, first, second = (tiny.build(config_of('EditModel')) for _ in range(3))
    batches = batches_of('EditModel', 5)
    tiny.train(straight, tiny.wrap(straight, kind, own=own), batches)
    wrapper = tiny.wrap(first, kind, own=own)
    tiny.train(first, wrapper, batches[:2])
    other = tiny.wrap(second, kind, own=own)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(wrapper.state_dict())
    tiny.train(second, other, batches[2:])
    assert tiny.same(tiny.state(straight), tiny.state(second))


def test_clipping_comes_after_what_look_sam_adds():
    model = tiny.build(config_of('EditModel'), double=True)
    tiny.as_double(model)
    wrapper = tiny.wrap(model, 'LookSAM', own={'every': 3}, clip_grad={'max_norm': 1e-3})
    for batch in batches_of('EditModel', 3):
        tiny.train(model, wrapper, [batch])
        assert wrapper.optimizer.grad_norm == pytest.approx(1e-3, rel=1e-2)
