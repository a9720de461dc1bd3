"""A GAN's step with two passes, against the equations written out with torch alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmagic')

from tests.mmagic import tiny
from tests.mmagic.gan import (
    CLASSES,
    LR,
    RHO,
    Recorder,
    agree,
    batches_of,
    climbed_step,
    config_of,
    frozen,
    networks_of,
    normalised,
    penalty,
)


@pytest.mark.parametrize('name', CLASSES)
@pytest.mark.parametrize('norm', ['BN', 'IN'])
def test_with_everything_off_it_is_mmagics_model(name, norm):
    theirs = tiny.build(config_of(name, ours=False, norm=norm))
    ours = tiny.build(config_of(name, norm=norm))
    batches = batches_of(name)
    assert tiny.train(theirs, tiny.wrap_gan(theirs), batches) == tiny.train(ours, tiny.wrap_gan(ours), batches)
    assert tiny.same(tiny.state(theirs), tiny.state(ours))


@pytest.mark.parametrize(
    ('options', 'name'), [({'discriminator_steps': 2}, 'Pix2Pix'), ({'disc_init_steps': 2}, 'CycleGAN')]
)
def test_the_generators_turn_comes_when_mmagics_does(options, name):
    theirs, ours = (tiny.build(config_of(name, ours=flag, **options)) for flag in (False, True))
    batches = batches_of(name)
    assert tiny.train(theirs, tiny.wrap_gan(theirs), batches) == tiny.train(ours, tiny.wrap_gan(ours), batches)


def test_srgans_own_counters_mean_what_they_meant():
    options = {'train_cfg': {'disc_steps': 2, 'disc_repeat': 2, 'disc_init_steps': 1}}
    theirs, ours = (tiny.build({**config_of('SRGAN', ours=flag), **options}) for flag in (False, True))
    batches = batches_of('SRGAN')
    assert tiny.train(theirs, tiny.wrap_gan(theirs), batches) == tiny.train(ours, tiny.wrap_gan(ours), batches)
    assert tiny.same(tiny.state(theirs), tiny.state(ours))


@pytest.mark.parametrize('name', CLASSES)
def test_a_radius_of_zero_is_the_base_optimizer(name):
    plain, sam = tiny.build(config_of(name)), tiny.build(config_of(name))
    batches = batches_of(name)
    logs = tiny.train(plain, tiny.wrap_gan(plain), batches)
    assert logs == tiny.train(sam, tiny.wrap_gan(sam, True, True, rho=0.0), batches)
    assert tiny.same(tiny.state(plain), tiny.state(sam))


def pix2pix_by_hand(model, batch: dict, optimizers, hf) -> None:
    """One step, both networks by SAM; dropout by the same seed in both passes, buffers moved by the first only."""
    generator, critic = model.generators['response'], model.discriminators['response']
    images = normalised(batch)
    query, response = images['img_query'], images['img_response']
    bce = F.binary_cross_entropy_with_logits
    random = torch.get_rng_state()
    fake = generator(query)

    def critics_loss():
        made = critic(torch.cat([query, fake.detach()], 1))
        real = critic(torch.cat([query, response], 1))
        return 0.5 * (bce(made, torch.zeros_like(made)) + bce(real, torch.ones_like(real)))

    def critics_again():
        put_back = frozen(critic)
        loss = critics_loss()
        put_back()
        return loss

    def generators_loss(output):
        made = critic(torch.cat([query, output], 1))
        return bce(made, torch.ones_like(made)) + 100 * F.l1_loss(output, response) + hf(output, response)

    def generators_again():
        put_back = [frozen(generator), frozen(critic)]
        after = torch.get_rng_state()
        torch.set_rng_state(random)
        loss = generators_loss(generator(query))
        torch.set_rng_state(after)
        [one() for one in put_back]
        return loss

    climbed_step(critic, critics_loss, critics_again, optimizers[1])
    climbed_step(generator, lambda: generators_loss(fake), generators_again, optimizers[0])


def test_pix2pix_is_the_equation():
    ours = tiny.build(config_of('Pix2Pix', norm='BN', hf_loss=tiny.HF), double=True)
    by_hand = copy.deepcopy(ours)
    tiny.as_double(ours)
    batches = batches_of('Pix2Pix', 3)
    tiny.train(ours, tiny.wrap_gan(ours, True, True, rho=RHO, lr=LR, base='SGD'), batches)
    optimizers = [torch.optim.SGD(network.parameters(), lr=LR) for network in networks_of(by_hand)]
    hf = penalty()
    torch.manual_seed(1)
    for batch in batches:
        pix2pix_by_hand(by_hand, batch, optimizers, hf)
    agree(ours, by_hand)


def cyclegan_objectives(model, images, pools, hf, weight):
    """The two objectives, from fakes made with the generators as they are when ``make`` is called."""
    generators, critics = model.generators, model.discriminators
    other = {'response': 'query', 'query': 'response'}

    def make():
        made = {}
        for target in ('response', 'query'):
            made[target] = generators[target](images[f'img_{other[target]}'])
            made[f'back_{other[target]}'] = generators[other[target]](made[target])
        return made

    def draw(made):
        return {domain: pools[domain].query(made[domain]) for domain in ('response', 'query')}

    def critics_loss(drawn):
        total = 0
        for domain in ('response', 'query'):
            fake, real = critics[domain](drawn[domain].detach()), critics[domain](images[f'img_{domain}'])
            total = total + 0.5 * (fake.square().mean() + (real - 1).square().mean())
        return total

    def generators_loss(made):
        total = 0
        for domain in ('response', 'query'):
            real = images[f'img_{domain}']
            total = total + 0.5 * F.l1_loss(generators[domain](real), real)
            total = total + (critics[domain](made[domain]) - 1).square().mean()
            total = total + 10 * F.l1_loss(made[f'back_{domain}'], real)
            total = total + hf(made[domain], images[f'paired_{domain}'])
            total = total + weight * F.l1_loss(made[domain], images[f'paired_{domain}'])
        return total

    return make, draw, critics_loss, generators_loss


def compare_cyclegan(step, *, generator: bool, discriminator: bool, **options) -> None:
    from mmagic.models.editors.cyclegan.cyclegan_modules import GANImageBuffer

    weights = {'cycle_loss_weight': 10.0, 'id_loss_weight': 0.5, 'paired_loss_weight': 3.0}
    options = {'hf_loss': tiny.HF, 'loss_config': weights, 'buffer_size': 2, **options}
    ours = tiny.build(config_of('CycleGAN', generator=tiny.resnet(dropout=False), **options), double=True)
    by_hand = copy.deepcopy(ours)
    tiny.as_double(ours)
    batches = batches_of('CycleGAN', 4)
    tiny.train(ours, tiny.wrap_gan(ours, generator, discriminator, rho=RHO, lr=LR, base='SGD'), batches)
    optimizers = [torch.optim.SGD(network.parameters(), lr=LR) for network in networks_of(by_hand)]
    hf = penalty()
    pools = {domain: GANImageBuffer(2) for domain in ('response', 'query')}
    np.random.seed(1)  # noqa: NPY002 - as the pool
    for batch in batches:
        step(by_hand, optimizers, *cyclegan_objectives(by_hand, normalised(batch), pools, hf, 3.0))
    agree(ours, by_hand)


def test_cyclegan_is_the_equation():
    """Both networks by SAM: one draw from the pool serves both passes of the discriminators."""

    def step(model, optimizers, make, draw, critics_loss, generators_loss):
        made = make()
        drawn = draw(made)
        climbed_step(model.discriminators, lambda: critics_loss(drawn), lambda: critics_loss(drawn), optimizers[1])
        climbed_step(model.generators, lambda: generators_loss(made), lambda: generators_loss(make()), optimizers[0])

    compare_cyclegan(step, generator=True, discriminator=True)


def test_the_papers_step_is_its_codes():
    """Generators first; the discriminators' second pass sees fakes of the updated generators, and another draw."""

    def step(model, optimizers, make, draw, critics_loss, generators_loss):
        made = make()
        optimizers[0].zero_grad()
        generators_loss(made).backward()
        optimizers[0].step()
        climbed_step(
            model.discriminators,
            lambda: critics_loss(draw(made)),
            lambda: critics_loss(draw(make())),
            optimizers[1],
        )

    compare_cyclegan(step, generator=False, discriminator=True, paper_discriminator_step=True)


@pytest.mark.parametrize('paper', [False, True])
def test_what_the_discriminators_see(paper):
    """With the pool switched off, the fakes of the two passes are equal, or those of the updated generator."""
    options = {'buffer_size': 0, 'paper_discriminator_step': paper}
    model = tiny.build(config_of('CycleGAN', generator=tiny.resnet(dropout=not paper), **options))
    seen = Recorder(model.discriminators['response'])
    batch = batches_of('CycleGAN', 1)[0]
    tiny.train(model, tiny.wrap_gan(model, discriminator=True), [batch])
    if not paper:
        first, real, second, real_again, _ = seen.inputs  # and the generators' turn
        assert torch.equal(first, second)
        assert torch.equal(real, real_again)
        return
    _, first, real, second, real_again = seen.inputs
    assert not torch.equal(first, second)
    assert torch.equal(real, real_again)
    with torch.no_grad():
        assert torch.equal(second, model.generators['response'](normalised(batch)['img_query'].float()))


@pytest.mark.parametrize('name', CLASSES)
def test_the_generators_two_passes_see_the_same(name):
    """Inputs and dropout masks: with a step too small to be felt, both passes give the same output."""
    networks = {'Pix2Pix': tiny.unet, 'CycleGAN': lambda: tiny.resnet(dropout=True), 'SRGAN': tiny.dropout_upsampler}
    options = {'generator': networks[name]()}
    model = tiny.build(config_of(name, norm='BN', **options))
    generator, _ = networks_of(model)
    network = generator if name == 'SRGAN' else generator['response']
    seen = Recorder(network)
    tiny.train(model, tiny.wrap_gan(model, generator=True, rho=1e-9), batches_of(name, 1))
    half = len(seen.inputs) // 2
    assert half >= 1
    for index in range(half):
        torch.testing.assert_close(seen.inputs[index], seen.inputs[half + index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.outputs[index], seen.outputs[half + index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CLASSES)
def test_buffers_move_once_and_random_numbers_are_drawn_once(name):
    """One step with SAM leaves statistics and generators of random numbers where a plain step leaves them."""
    plain, sam = (tiny.build(config_of(name, norm='BN')) for _ in range(2))
    batches = batches_of(name, 1)
    tiny.train(plain, tiny.wrap_gan(plain, lr=0.0), batches)
    after = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tiny.train(sam, tiny.wrap_gan(sam, True, True, lr=0.0), batches)
    assert torch.equal(after[0], torch.get_rng_state())
    assert (after[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert tiny.same(tiny.state(plain), tiny.state(sam))


@pytest.mark.parametrize('sam', [False, True])
@pytest.mark.parametrize('name', CLASSES)
def test_two_small_batches_are_one_large(name, sam):
    """Without batch norm and dropout, in double precision; the pool's draws differ, so there is none."""
    options = {'hf_loss': tiny.HF}
    if name != 'SRGAN':
        options |= {'generator': tiny.resnet(dropout=False)} | ({'buffer_size': 0} if name == 'CycleGAN' else {})
    small, large = (tiny.build(config_of(name, **options), double=True) for _ in range(2))
    batches = batches_of(name, 6, count=1)
    pairs = [tiny.joined(batches[index : index + 2]) for index in range(0, 6, 2)]
    seen = Recorder(networks_of(small)[1] if name == 'SRGAN' else networks_of(small)[1]['response'])
    # Plain gradient descent: Adam would blow differences in tiny gradients up.
    wrappers = [
        tiny.wrap_gan(model, sam, sam, base='SGD', lr=0.01, accumulative_counts=k)
        for model, k in ((small, 2), (large, 1))
    ]
    tiny.as_double(small), tiny.as_double(large)
    tiny.train(small, wrappers[0], batches)
    tiny.train(large, wrappers[1], pairs)
    assert seen.inputs
    agree(small, large, rtol=1e-7, atol=1e-9)
    start = tiny.state(tiny.build(config_of(name, **options), double=True))
    assert not tiny.same(start, tiny.state(small))


@pytest.mark.parametrize('name', CLASSES)
def test_both_networks_see_every_micro_batch(name):
    """Neither moves before the window is complete; then each has had a gradient of each micro-batch."""
    model = tiny.build(config_of(name))
    batches = batches_of(name, 3, count=1)
    wrappers = tiny.wrap_gan(model, accumulative_counts=3)
    graded: dict[str, list[torch.Tensor]] = {}
    for part, network in zip(('generator', 'critic'), networks_of(model), strict=True):
        param = next(network.parameters())
        param.register_hook(lambda grad, part=part: graded.setdefault(part, []).append(grad.clone()))
    before = {key: value.clone() for key, value in model.named_parameters()}
    tiny.train(model, wrappers, batches[:2])
    assert all(torch.equal(before[key], value) for key, value in model.named_parameters())
    tiny.train(model, wrappers, batches[2:])
    for network in networks_of(model):
        assert not any(
            torch.equal(param, before[key])
            for key, param in model.named_parameters()
            if param in set(network.parameters())
        )
    for part in ('generator', 'critic'):
        assert len({tuple(grad.flatten().tolist()) for grad in graded[part]}) == 3


@pytest.mark.parametrize('sam', [False, True])
@pytest.mark.parametrize('name', ['Pix2Pix', 'CycleGAN'])
def test_statistics_move_once_per_micro_batch(name, sam):
    """Though the generators run on each of them again, and with SAM a third time."""
    plain, ours = (tiny.build(config_of(name, norm='BN', generator=tiny.unet())) for _ in range(2))
    batches = batches_of(name, 2)
    tiny.train(plain, tiny.wrap_gan(plain, lr=0.0), batches)
    tiny.train(ours, tiny.wrap_gan(ours, sam, sam, lr=0.0, accumulative_counts=2), batches)
    expected = dict(plain.generators.named_buffers())
    moved = dict(ours.generators.named_buffers())
    counters = [key for key in moved if key.endswith('num_batches_tracked')]
    assert counters
    for key in counters:
        assert moved[key] == expected[key]
