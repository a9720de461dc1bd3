"""An attacker who knows the defences: undoing them, and training through them, in both toolboxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mea_plugin.defences import build_defences
from mea_plugin.defences.attack import AdaptedVictim
from mea_plugin.defences.known import imitated_entries, undo
from mea_plugin.defences.through import ThroughDefences
from mea_plugin.errors import InputError
from mea_plugin.victims import build_victim
from tests.helpers import photograph

ANSWER = photograph((120, 160), seed=2)
LEVELS = [{'type': 'levels', 'levels': 4}]
SECRET = {'type': 'noise', 'key': 'a key of the tests'}


def marked(opacity=0.3, text='PREVIEW', **rest):
    return {'type': 'visible_watermark', 'text': text, 'opacity': opacity, 'tiled': True, **rest}


def four_levels(image):
    """The equation of ``levels: 4``, for values in [0, 1]."""
    return (np.rint(np.asarray(image, dtype=float) * 3) / 3).clip(0, 1)


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
    assert [one['type'] for one in imitated_entries(entries)] == ['jpeg', 'resize', 'levels']
    with pytest.raises(InputError, match=r'\[1\]: noise cannot be imitated'):
        ThroughDefences([{'type': 'jpeg'}, SECRET], where='train.known_defences')


@pytest.mark.parametrize(('low', 'high'), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_outputs_are_shown_as_answers_are_with_the_gradient_of_the_identity(low, high, order):
    entries = [{'type': 'resize', 'factor': 2}, {'type': 'jpeg', 'quality': 40}]
    through = ThroughDefences(entries, low=low, high=high, channel_order=order, where='x')
    images = np.stack([ANSWER, ANSWER[::-1]])
    expected = images
    for defence in build_defences(entries):
        expected = np.stack([defence.apply(one, one, 0) for one in expected])
    channels = slice(None, None, -1 if order == 'bgr' else 1)

    def as_output(of):
        grey = torch.from_numpy(np.ascontiguousarray(of[..., channels])).permute(0, 3, 1, 2).float()
        return grey / 255 * (high - low) + low

    output = as_output(images).requires_grad_()
    seen = through(output)
    torch.testing.assert_close(seen, as_output(expected), rtol=0, atol=1e-5 * (high - low))
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    (seen * weights).sum().backward()
    torch.testing.assert_close(output.grad, weights)


def test_training_through_a_defence_finds_what_was_before_it():
    """Between the answer as it is shown (0) and as it was (1), who knows the defence ends at 1, who does not at 0."""
    entries = [{'type': 'resize', 'factor': 3}]
    (defence,) = build_defences(entries)
    shown, truth = (
        torch.from_numpy(one).permute(2, 0, 1)[None].float() / 255 for one in (defence.apply(ANSWER, ANSWER, 0), ANSWER)
    )

    def learnt(see):
        share = torch.full((1,), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([share], lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            (see(torch.lerp(shown, truth, share)) - shown).square().mean().backward()
            optimizer.step()
        return float(share.detach())

    assert learnt(ThroughDefences(entries, where='x')) == pytest.approx(1, abs=0.1)
    assert learnt(lambda output: output) == pytest.approx(0, abs=0.02)


def test_basicsr_s_losses_and_critic_see_what_is_shown():
    pytest.importorskip('mea_plugin.basicsr')
    from tests.basicsr.steps import UNET, batches, build, train

    model = build('ExtractionModel', known_defences=LEVELS)
    (batch,) = batches(1)
    shown = torch.from_numpy(four_levels(model.net_g(batch['lq']).detach())).float()
    (log,) = train(model, 1)
    assert log['l_pix'] == pytest.approx(float((shown - batch['gt']).abs().mean()), rel=1e-5)
    model.test()
    assert len(model.output.unique()) > 100  # a validation sees the network's own

    options = {'optim_d': {'type': 'Adam', 'lr': 1e-3}, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}}
    gan = build('ExtractionGANModel', network_d=UNET, known_defences=LEVELS, ema_decay=0.9, **options)
    judged = []
    gan.net_d.register_forward_hook(lambda module, inputs, output: judged.append(inputs[0].detach()))
    train(gan, 1)
    assert sorted(len(image.unique()) <= 4 for image in judged) == [False, True, True]  # the response; fakes, twice


def test_a_basicsr_file_with_a_defence_that_cannot_be_imitated_is_refused():
    pytest.importorskip('mea_plugin.basicsr')
    from mea_plugin.basicsr.check import check_options
    from tests.helpers import training_options

    check_options(training_options('lq', 'gt', known_defences=LEVELS), where='file.yml', data=False)
    with pytest.raises(InputError, match=r'file.yml: train.known_defences\[0\]'):
        check_options(training_options('lq', 'gt', known_defences=[SECRET]), where='file.yml', data=False)


def test_mmagic_s_losses_and_critics_see_what_is_shown():
    pytest.importorskip('mea_plugin.mmagic')
    from mmengine.registry import init_default_scope

    from tests.mmagic import tiny
    from tests.mmagic.gan import Recorder, batches_of, config_of, networks_of, wrap_all

    init_default_scope('mmagic')
    known = {'defences': LEVELS}
    model = tiny.build(tiny.edit_config(known_defences=known))
    batch = tiny.edit_batch(0)
    shown = four_levels(model.generator(torch.stack(batch['inputs']).float() / 255).detach())
    gt = torch.stack([sample.gt_img for sample in batch['data_samples']]).numpy() / 255
    (log,) = tiny.train(model, tiny.wrap(model, False), [batch])
    assert log['loss_pix'] == pytest.approx(np.abs(shown - gt).mean(), rel=1e-5)

    for name in ('SRGAN', 'Pix2Pix', 'CycleGAN'):
        model = tiny.build(config_of(name, known_defences=known))
        critics = networks_of(model)[1]
        judged = {
            domain: Recorder(critics if name == 'SRGAN' else critics[domain])
            for domain in (['response', 'query'] if name == 'CycleGAN' else ['response'])
        }
        tiny.train(model, wrap_all(model, False), batches_of(name, 1))
        counts = {domain: [len(image[:, -3:].unique()) for image in one.inputs] for domain, one in judged.items()}
        assert sum(count <= 4 for count in counts['response']) == 2, name  # the critic's turn and the generator's
        assert all(count > 4 for count in counts.get('query', [])), name


def test_an_mmagic_config_with_a_defence_that_cannot_be_imitated_is_refused():
    pytest.importorskip('mea_plugin.mmagic')
    from mea_plugin.mmagic.known_defences import through_defences

    for known, text in (
        ({'defences': [SECRET]}, 'cannot be imitated'),
        ({'defences': LEVELS, 'channel_order': 'grb'}, "channel_order is 'grb'"),
        ({'defence': LEVELS}, "unknown option 'defence'"),
        ({}, None),
    ):
        if text is None:
            assert through_defences(known) is None
        else:
            with pytest.raises(InputError, match=text):
                through_defences(known)
