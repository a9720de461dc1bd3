"""``hf_schedule='lr'`` in every GAN: the weight of the penalty follows the generator's learning rate."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('mmagic')

from tests.helpers import refused
from tests.mmagic import tiny
from tests.mmagic.gan import batches_of, config_of

LR, STEPS = 1e-12, 4  # too small to be felt: the penalty itself stays as it is
STEPS_OF = [('SRGAN', {}), ('Pix2Pix', {}), ('CycleGAN', {}), ('CycleGAN', {'paper_discriminator_step': True})]
every_gan = pytest.mark.parametrize(('name', 'options'), STEPS_OF, ids=['SRGAN', 'Pix2Pix', 'CycleGAN', 'paper'])


def build(name: str, options: dict, schedule: str):
    """The model, and wrappers whose discriminators learn at another rate."""
    model = tiny.build(config_of(name, hf_loss=tiny.HF, hf_schedule=schedule, **options))
    wrappers = tiny.wrap_gan(model, generator=True, lr=LR)
    generator, critic = wrappers.optim_wrappers.values()
    for group in critic.optimizer.param_groups:
        group['lr'] = LR / 3
    return model, wrappers, generator, critic


def terms_of(model, wrappers, batch: dict) -> dict[str, float]:
    """The penalty's terms, one per domain in a CycleGAN."""
    return {name: value for name, value in tiny.train(model, wrappers, [batch])[0].items() if 'loss_hf' in name}


@every_gan
def test_the_weight_follows_the_generators_learning_rate(name, options):
    from mmengine.optim import CosineAnnealingLR, LinearLR

    batch = batches_of(name, 1)[0]
    model, wrappers, *_ = build(name, options, 'constant')
    full = terms_of(model, wrappers, batch)
    assert len(full) == (2 if name == 'CycleGAN' else 1)
    assert min(full.values()) > 0
    model, wrappers, generator, critic = build(name, options, 'lr')
    schedulers = [
        CosineAnnealingLR(generator, T_max=STEPS, by_epoch=False),
        LinearLR(critic, start_factor=0.9, end_factor=0.1, end=STEPS, by_epoch=False),
    ]
    for step in range(STEPS + 1):
        factor = 0.5 - 0.5 * np.cos(np.pi * step / STEPS)  # 1 - lr / lr_0
        expected = {term: factor * value for term, value in full.items()}
        assert terms_of(model, wrappers, batch) == pytest.approx(expected, rel=1e-5, abs=1e-9)
        for scheduler in schedulers:
            scheduler.step()


@every_gan
def test_a_schedule_without_a_scheduler(name, options):
    """Though the discriminators have one."""
    from mmengine.optim import LinearLR

    model, wrappers, _, critic = build(name, options, 'lr')
    LinearLR(critic, by_epoch=False)
    before = tiny.state(model)
    with refused('model.hf_schedule', "'lr'", do="'constant'"):
        tiny.train(model, wrappers, batches_of(name, 1))
    assert tiny.same(before, tiny.state(model))
