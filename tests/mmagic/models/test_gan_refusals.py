"""What a GAN's step refuses: before the first optimizer step, in one line."""

from __future__ import annotations

import pytest

pytest.importorskip('mmagic')

from tests.helpers import refused
from tests.mmagic import tiny
from tests.mmagic.gan import CLASSES, batches_of, config_of


def refuse(model, wrapper, batch, where, *quoted):
    before = tiny.state(model)
    with refused(where, *quoted):
        tiny.train(model, wrapper, [batch])
    assert tiny.same(before, tiny.state(model))


@pytest.mark.parametrize('name', ['Pix2Pix', 'CycleGAN'])
def test_other_domains(name):
    model = tiny.build(config_of(name))
    batch = batches_of(name, 1)[0]
    batch['inputs'] = {key.replace('query', 'photo'): images for key, images in batch['inputs'].items()}
    refuse(model, tiny.wrap_gan(model), batch, 'model.related_domains', 'img_query', 'img_photo')


def test_no_counterparts_for_the_penalty():
    model = tiny.build(config_of('CycleGAN', hf_loss=tiny.HF))
    batch = batches_of('CycleGAN', 1)[0]
    batch['inputs'] = {key: images for key, images in batch['inputs'].items() if key.startswith('img')}
    refuse(model, tiny.wrap_gan(model), batch, 'model', 'paired_response', 'paired_query')
    plain = tiny.build(config_of('CycleGAN'))
    tiny.train(plain, tiny.wrap_gan(plain), [batch])  # which need none


@pytest.mark.parametrize('name', CLASSES)
def test_different_accumulation(name):
    model = tiny.build(config_of(name))
    wrappers = tiny.wrap_gan(model, accumulative_counts=2)
    next(iter(wrappers.optim_wrappers.values()))._accumulative_counts = 3
    refuse(model, wrappers, batches_of(name, 1)[0], 'optim_wrapper', '3', '2')


def test_accumulation_in_the_papers_step():
    model = tiny.build(config_of('CycleGAN', paper_discriminator_step=True))
    wrappers = tiny.wrap_gan(model, accumulative_counts=2)
    refuse(model, wrappers, batches_of('CycleGAN', 1)[0], 'model', 'paper_discriminator_step')


def test_an_unknown_weight():
    with refused('model.loss_config', "'paired_los_weight'", do="'paired_loss_weight'"):
        tiny.build(config_of('CycleGAN', loss_config={'paired_los_weight': 1.0}))
