"""SRGAN's step with two passes, against the equations written out with torch alone."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmagic')

from tests.mmagic import tiny
from tests.mmagic.gan import LR, RHO, Recorder, agree, batches_of, climbed_step, config_of, frozen, networks_of, penalty

COMBINATIONS = [(False, False), (True, False), (False, True), (True, True)]
GAN_WEIGHT = 5e-3  # as tiny.srgan_config


def srgan_config(**train_cfg) -> dict:
    """With batch norm in both networks, dropout in the generator, and the penalty."""
    config = config_of('SRGAN', norm='BN', generator=tiny.dropout_upsampler(), hf_loss=tiny.HF)
    return {**config, 'train_cfg': train_cfg}


def plain_step(network, loss_of, _, optimizer) -> None:
    params = list(network.parameters())
    for param, grad in zip(params, torch.autograd.grad(loss_of(), params), strict=True):
        param.grad = grad
    optimizer.step()


def srgan_by_hand(model, batch, optimizers, sam, *, disc_repeat: int = 1) -> None:
    """One step: dropout by the same seed in both passes, buffers moved by the first only."""
    generator, critic = model.generator, model.discriminator
    query = torch.stack(batch['inputs']).double() / 255
    response = torch.stack([sample.gt_img for sample in batch['data_samples']]).double() / 255
    bce, hf = F.binary_cross_entropy_with_logits, penalty()
    steps = [climbed_step if flag else plain_step for flag in sam]
    random = torch.get_rng_state()
    output = generator(query)
    fake = output.detach()

    def generators_loss(output):
        judged = critic(output)
        pixel = (output - response).abs().mean()
        return pixel + hf(output, response) + GAN_WEIGHT * bce(judged, torch.ones_like(judged))

    def generators_again():
        put_back = [frozen(generator), frozen(critic)]
        after = torch.get_rng_state()
        torch.set_rng_state(random)
        loss = generators_loss(generator(query))
        torch.set_rng_state(after)
        [one() for one in put_back]
        return loss

    def critics_loss():
        real, made = critic(response), critic(fake)
        return bce(real, torch.ones_like(real)) + bce(made, torch.zeros_like(made))

    def critics_again():
        put_back = frozen(critic)
        loss = critics_loss()
        put_back()
        return loss

    steps[0](generator, lambda: generators_loss(output), generators_again, optimizers[0])
    for _ in range(disc_repeat):
        steps[1](critic, critics_loss, critics_again, optimizers[1])


@pytest.mark.parametrize('disc_repeat', [1, 2])
@pytest.mark.parametrize('sam', COMBINATIONS)
def test_srgan_is_the_equation(sam, disc_repeat):
    ours = tiny.build(srgan_config(disc_repeat=disc_repeat), double=True)
    by_hand, start = copy.deepcopy(ours), tiny.state(ours)
    tiny.as_double(ours)
    batches = batches_of('SRGAN', 3)
    tiny.train(ours, tiny.wrap_gan(ours, *sam, rho=RHO, lr=LR, base='SGD'), batches)
    optimizers = [torch.optim.SGD(network.parameters(), lr=LR) for network in networks_of(by_hand)]
    torch.manual_seed(1)
    for batch in batches:
        srgan_by_hand(by_hand, batch, optimizers, sam, disc_repeat=disc_repeat)
    agree(ours, by_hand)
    moved = {name.partition('.')[0] for name, value in tiny.state(ours).items() if not torch.equal(value, start[name])}
    assert moved == {'generator', 'discriminator'}


def test_the_logged_terms_are_those_at_w():
    model = tiny.build(srgan_config(), double=True)
    by_hand = copy.deepcopy(model)
    tiny.as_double(model)
    batch = batches_of('SRGAN', 1)[0]
    terms = tiny.train(model, tiny.wrap_gan(model, True, True, lr=0.0), [batch])[0]
    torch.manual_seed(1)
    response = torch.stack([sample.gt_img for sample in batch['data_samples']]).double() / 255
    with torch.no_grad():
        fake = by_hand.generator(torch.stack(batch['inputs']).double() / 255)
        made, real = by_hand.discriminator(fake), by_hand.discriminator(response)
    assert terms == pytest.approx(
        {
            'loss_pix': (fake - response).abs().mean().item(),
            'loss_hf': penalty()(fake, response).item(),
            'loss_gan': GAN_WEIGHT * F.softplus(-made).mean().item(),
            'loss_d_real': F.softplus(-real).mean().item(),
            'loss_d_fake': F.softplus(made).mean().item(),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize('sam', COMBINATIONS)
def test_how_often_each_network_runs(sam):
    """The generator once per pass of its own; the discriminator once for it, and on real and fake in its own."""
    model = tiny.build(srgan_config())
    generator, critic = (Recorder(network) for network in networks_of(model))
    tiny.train(model, tiny.wrap_gan(model, *sam), batches_of('SRGAN', 1))
    passes = [2 if flag else 1 for flag in sam]
    assert len(generator.inputs) == passes[0]
    assert len(critic.inputs) == passes[0] + 2 * passes[1]


@pytest.mark.parametrize('disc_repeat', [1, 2])
@pytest.mark.parametrize('generator_sam', [False, True])
def test_what_the_discriminator_sees(generator_sam, disc_repeat):
    """In every pass of its own the same response, and what the generator made before it moved, without a graph."""
    model = tiny.build(srgan_config(disc_repeat=disc_repeat))
    batch = batches_of('SRGAN', 1)[0]
    made, judged = (Recorder(network) for network in networks_of(model))
    with_graph: list[bool] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: with_graph.append(inputs[0].requires_grad))
    tiny.train(model, tiny.wrap_gan(model, generator_sam, True), [batch])
    turn = 2 if generator_sam else 1
    assert with_graph == [True] * turn + [False] * 4 * disc_repeat
    own = judged.inputs[turn:]
    response = torch.stack([sample.gt_img for sample in batch['data_samples']]) / 255
    assert all(torch.equal(real, response) for real in own[0::2])
    assert all(torch.equal(fake, made.outputs[0]) for fake in own[1::2])


def test_the_generators_turn_leaves_the_discriminator_alone():
    """It gets no gradient from it, and no step of its own while there is nothing to learn from."""
    model = tiny.build(srgan_config(disc_repeat=0))
    before = tiny.state(model.discriminator)
    tiny.train(model, tiny.wrap_gan(model, True, True), batches_of('SRGAN', 2))
    weights = dict(model.discriminator.named_parameters())
    assert all(torch.equal(param, before[name]) for name, param in weights.items())
    assert all(param.grad is None and param.requires_grad for param in weights.values())
