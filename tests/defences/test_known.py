"""An attacker who knows the defences: undoing them, and training through them, in both toolboxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mea_plugin.defences import build_defences
from mea_plugin.defences.known import imitated_entries, undo
from mea_plugin.defences.through import ThroughDefences
from mea_plugin.victims import build_victim
from mea_plugin.victims.adapted import AdaptedVictim
from tests.helpers import ROOT, photograph, refused

ANSWER = photograph((120, 160), seed=2)
HALF = [{'type': 'resize', 'factor': 2}]
SECRET = {'type': 'noise', 'key': 'a key of the tests'}


def marked(opacity=0.3, text='PREVIEW', **rest):
    return {'type': 'visible_watermark', 'text': text, 'opacity': opacity, 'tiled': True, **rest}


@pytest.mark.parametrize('opacity', [0.05, 0.3, 0.6])
def test_a_visible_watermark_is_undone_up_to_rounding(opacity):
    (defence,) = build_defences([marked(opacity)])
    shown = defence.apply(ANSWER, ANSWER, 0)
    assert np.abs(shown.astype(int) - ANSWER).max() > 128 * opacity
    found = undo([defence], shown)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - ANSWER).max() <= 0.5 / (1 - opacity) + 0.5


def test_what_a_watermark_hides_stays_hidden():
    (defence,) = build_defences([marked(1.0)])
    shown = defence.apply(ANSWER, ANSWER, 0)
    found = undo([defence], shown)
    black = np.zeros_like(ANSWER)
    hidden = (defence.apply(black, 255 - black, 0) == defence.apply(black, black, 0)).all(-1)
    assert hidden.mean() > 0.05
    np.testing.assert_array_equal(found[hidden], shown[hidden])
    assert np.abs(found.astype(int) - ANSWER).mean() < np.abs(shown.astype(int) - ANSWER).mean()


def test_the_last_one_is_undone_first_and_others_stay():
    defences = build_defences([marked(0.3), SECRET, marked(0.4, 'mea')])
    first, noise, last = defences
    noisy = noise.apply(ANSWER, first.apply(ANSWER, ANSWER, 0), 0)
    expected = first.undo(last.undo(last.apply(ANSWER, noisy, 0)))
    np.testing.assert_array_equal(undo(defences, last.apply(ANSWER, noisy, 0)), expected)


def test_an_attacker_who_undoes_is_another_one():
    options = {'type': 'defended', 'victim': {'type': 'bicubic', 'scale': 2}, 'defences': [marked()]}
    defended = build_victim(options)
    known = AdaptedVictim(defended, known=build_defences([marked()]))
    image = photograph((40, 56))
    plain = build_victim({'type': 'bicubic', 'scale': 2}).query([image])[0].astype(int)
    assert np.abs(known.query([image])[0] - plain).max() <= 1
    assert np.abs(defended.query([image])[0] - plain).max() > 30
    assert len({known.fingerprint, defended.fingerprint, AdaptedVictim(defended).fingerprint}) == 3


def test_which_ones_training_can_imitate():
    entries = [
        *({'type': 'jpeg'}, SECRET, {'type': 'resize'}, marked(), {'type': 'levels'}),
        {'type': 'invisible_watermark', 'key': 'a key of the tests'},
    ]
    assert [one['type'] for one in imitated_entries(entries)] == ['resize']
    with refused('train.known_defences[1]', 'noise'):
        ThroughDefences([{'type': 'resize'}, SECRET], where='train.known_defences')


@pytest.mark.parametrize('factor', [2, 2.5, 3, 7])
@pytest.mark.parametrize('size', [(120, 160), (41, 57), (3, 5)])
def test_outputs_are_shown_as_answers_are(factor, size):
    """On images without overshoot, which the service clips, up to its rounding to grey levels, twice."""
    smooth = cv2.GaussianBlur(ANSWER, (0, 0), 4)[: size[0], : size[1]] // 2 + 64
    entries = [{'type': 'resize', 'factor': factor}, {'type': 'resize', 'factor': 2}]
    expected = smooth
    for defence in build_defences(entries):
        expected = defence.apply(expected, expected, 0)
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        output = torch.from_numpy(smooth).permute(2, 0, 1)[None].double() / 255 * (high - low) + low
        seen = 2 * ThroughDefences(entries, where='x')(output) - output  # half of it is the output itself
        seen = (seen - low) / (high - low) * 255
        found = seen[0].permute(1, 2, 0).numpy()
        assert np.abs(found - expected).max() <= 2.5
        assert np.abs(found - expected).mean() <= 0.6


def test_the_gradient_is_that_of_the_matrices():
    through = ThroughDefences([{'type': 'resize', 'factor': 3}], where='x')
    output = torch.rand(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(through, output.requires_grad_())


def test_training_through_a_defence_gives_back_some_of_what_it_took():
    """Of a detail that the defence weakens by g, who knows it learns 2 g / (1 + g), who does not g."""
    entries = [{'type': 'resize', 'factor': 2}]
    (defence,) = build_defences(entries)
    wave = np.cos(2 * np.pi * np.arange(96) / 6)  # periods of six pixels
    truth = torch.from_numpy(np.broadcast_to(wave, (1, 3, 96, 96)).copy())
    vertical, horizontal = (torch.from_numpy(one).double() for one in defence.operators(96, 96))
    answer = vertical @ truth @ horizontal.T
    gain = float((answer * truth).sum() / truth.square().sum())
    assert 0.3 < gain < 0.9

    def learnt(see):
        share = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([share], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            (see(share * truth) - answer).square().mean().backward()
            optimizer.step()
        return float(share.detach())

    assert learnt(lambda output: output) == pytest.approx(gain, abs=0.01)
    assert learnt(ThroughDefences(entries, where='x')) == pytest.approx(2 * gain / (1 + gain), abs=0.03)


def shown(images):
    """The mean of float images and of what the service makes of them, before it rounds."""
    down = torch.nn.functional.avg_pool2d(images, 2)
    up = [cv2.resize(one.permute(1, 2, 0).numpy(), images.shape[:1:-1], interpolation=cv2.INTER_CUBIC) for one in down]
    return (images + torch.from_numpy(np.stack(up)).permute(0, 3, 1, 2)) / 2


def test_basicsr_s_losses_and_critic_see_what_is_shown():
    pytest.importorskip('mea_plugin.basicsr')
    from tests.basicsr.steps import UNET, batches, build, train

    model = build('ExtractionModel', known_defences=HALF)
    (batch,) = batches(1)
    output = model.net_g(batch['lq']).detach()
    (log,) = train(model, 1)
    assert log['l_pix'] == pytest.approx(float((shown(output) - batch['gt']).abs().mean()), rel=1e-4)
    model = build('ExtractionModel', known_defences=HALF)
    model.feed_data(batch)
    model.test()
    torch.testing.assert_close(model.output, output)  # a validation sees the network's own

    options = {'optim_d': {'type': 'Adam', 'lr': 1e-3}, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}}
    gan = build('ExtractionGANModel', network_d=UNET, known_defences=HALF, ema_decay=0.9, **options)
    fake = shown(gan.net_g(batch['lq']).detach())
    judged = []
    gan.net_d.register_forward_hook(lambda module, inputs, output: judged.append(inputs[0].detach()))
    train(gan, 1)
    assert [torch.allclose(image, fake, atol=1e-4) for image in judged].count(True) == 2  # either network's turn


def test_a_basicsr_file_with_a_defence_that_cannot_be_imitated_is_refused():
    pytest.importorskip('mea_plugin.basicsr')
    from mea_plugin.basicsr.checks.check import check_options
    from tests.helpers import training_options

    check_options(training_options('lq', 'gt', known_defences=HALF), where='file.yml', data=False)
    with refused('file.yml: train.known_defences[0]', 'noise'):
        check_options(training_options('lq', 'gt', known_defences=[SECRET]), where='file.yml', data=False)


def test_mmagic_s_losses_and_critics_see_what_is_shown():
    pytest.importorskip('mea_plugin.mmagic')
    from mmengine.registry import init_default_scope

    from tests.mmagic import tiny
    from tests.mmagic.gan import Recorder, batches_of, config_of, networks_of, wrap_all

    init_default_scope('mmagic')
    model = tiny.build(tiny.edit_config(known_defences=HALF))
    batch = tiny.edit_batch(0)
    output = model.generator(torch.stack(batch['inputs']).float() / 255).detach()
    gt = torch.stack([sample.gt_img for sample in batch['data_samples']]) / 255
    (log,) = tiny.train(model, tiny.wrap(model, False), [batch])
    assert log['loss_pix'] == pytest.approx(float((shown(output) - gt).abs().mean()), rel=1e-4)

    for name in ('SRGAN', 'Pix2Pix', 'CycleGAN'):
        model = tiny.build(config_of(name, known_defences=HALF))
        critics, generators = networks_of(model)[1], networks_of(model)[0]
        domains = ['response', 'query'] if name == 'CycleGAN' else ['response']
        made = {one: Recorder(generators if name == 'SRGAN' else generators[one]) for one in domains}
        judged = {one: Recorder(critics if name == 'SRGAN' else critics[one]) for one in domains}
        tiny.train(model, wrap_all(model, False), batches_of(name, 1))
        for domain in domains:
            fakes = [shown(one) if domain == 'response' else one for one in made[domain].outputs]
            seen = [image[:, -3:] for image in judged[domain].inputs]
            same = [[torch.allclose(image, fake, atol=1e-4) for image in seen].count(True) for fake in fakes]
            assert max(same) == 2, (name, domain)  # the critic's turn and the generator's


def test_an_mmagic_config_with_a_defence_that_cannot_be_imitated_is_refused():
    pytest.importorskip('mea_plugin.mmagic')
    from mmengine.registry import init_default_scope

    from mea_plugin.mmagic.checks.check import _check_model
    from tests.mmagic import tiny

    init_default_scope('mmagic')
    _check_model(tiny.edit_config(known_defences=HALF), 'file.py')
    with refused('file.py: model.known_defences[0]', 'noise'):
        _check_model(tiny.edit_config(known_defences=[SECRET]), 'file.py')


@pytest.mark.parametrize(
    ('toolbox', 'file', 'section'),
    [('basicsr', 'x4_psnr.yml', 'train'), ('mmagic', 'pix2pix.py', 'model'), ('mmagic', 'cyclegan.py', 'model')],
)
def test_a_study_s_surrogate_gets_what_its_attacker_knows(toolbox, file, section):
    pytest.importorskip(f'mea_plugin.{toolbox}')
    from mea_plugin.extract.toolboxes import read_surrogate

    options = {'opt': str(ROOT / 'options/study/surrogates' / file)}
    knowing = read_surrogate('surrogate', {**options, 'known_defences': HALF}, where='test')
    assert knowing.options[section]['known_defences'] == HALF
    assert 'known_defences' not in read_surrogate('surrogate', options, where='test').options[section]
    knowing.check(4 if toolbox == 'basicsr' else 1, 'test')
    with refused(f'test: {section}.known_defences[0]', 'noise'):
        read_surrogate('surrogate', {**options, 'known_defences': [SECRET]}, where='test').check(4, 'test')
