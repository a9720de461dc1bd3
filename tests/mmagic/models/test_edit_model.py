"""The super-resolution model: its networks, its terms, and what stops a run."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from tests.helpers import refused
from tests.mmagic import tiny

pytest.importorskip('mmagic')

RGB = {'in_channels': 3, 'out_channels': 3}
NETWORKS = {
    'EDSRNet': {**RGB, 'mid_channels': 4, 'num_blocks': 1, 'upscale_factor': 4},
    'MSRResNet': {**RGB, 'mid_channels': 4, 'num_blocks': 1, 'upscale_factor': 4},
    'RRDBNet': {**RGB, 'mid_channels': 4, 'num_blocks': 1, 'growth_channels': 2, 'upscale_factor': 4},
    'RDNNet': {**RGB, 'mid_channels': 4, 'num_blocks': 1, 'upscale_factor': 4},
    'SRCNNNet': {'channels': (3, 4, 4, 3), 'kernel_sizes': (3, 1, 3), 'upscale_factor': 4},
    'SwinIRNet': {
        **{'upscale': 4, 'in_chans': 3, 'img_size': 12, 'window_size': 4, 'img_range': 1.0, 'depths': [2]},
        **{'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'},
    },
    'NAFNet': {'img_channels': 3, 'mid_channels': 4, 'enc_blk_nums': [1], 'middle_blk_num': 1, 'dec_blk_nums': [1]},
}


@pytest.mark.parametrize('sam', [False, True])
@pytest.mark.parametrize('name', NETWORKS)
def test_any_network_trains(name, sam):
    level = 1 if name == 'NAFNet' else 2  # its images are small
    model = tiny.build(
        tiny.edit_config(generator={'type': name, **NETWORKS[name]}, hf_loss={**tiny.HF, 'level': level})
    )
    batches = [tiny.edit_batch(0)] * 4
    if name == 'NAFNet':  # scale 1
        for sample in batches[0]['data_samples']:
            sample.gt_img = sample.gt_img[:, :12, :12]
    before = tiny.state(model)
    logs = tiny.train(model, tiny.wrap(model, sam), batches)
    assert set(logs[0]) == {'loss', 'loss_pix', 'loss_hf'}
    assert all(np.isfinite(value) for terms in logs for value in terms.values())
    assert not tiny.same(before, tiny.state(model))


def test_without_penalty_it_is_mmagics_model():
    theirs, ours = tiny.build(tiny.edit_config('BaseEditModel')), tiny.build(tiny.edit_config())
    batches = [tiny.edit_batch(seed) for seed in range(3)]
    first = tiny.train(theirs, tiny.wrap(theirs, False), batches)
    second = tiny.train(ours, tiny.wrap(ours, False), batches)
    assert [terms['loss'] for terms in first] == [terms['loss_pix'] for terms in second]
    assert tiny.same(tiny.state(theirs), tiny.state(ours))


def test_sam_steps_as_the_optimizer_alone_does():
    from mea_plugin.losses import HighFrequencyLoss
    from mea_plugin.optim import SAM

    model, net = (tiny.build(tiny.edit_config(hf_loss=tiny.HF)) for _ in range(2))
    batches = [tiny.edit_batch(seed) for seed in range(3)]
    tiny.train(model, tiny.wrap(model, True, rho=0.1), batches)
    optimizer = SAM(net.parameters(), 'Adam', rho=0.1, lr=1e-3)
    penalty = HighFrequencyLoss(**{key: value for key, value in tiny.HF.items() if key != 'type'})
    for batch in batches:
        lq = torch.stack(batch['inputs']).float() / 255
        gt = torch.stack([sample.gt_img for sample in batch['data_samples']]) / 255

        def closure(lq=lq, gt=gt):
            optimizer.zero_grad()
            output = net.generator(lq)
            loss = (output - gt).abs().mean() + penalty(output, gt)
            loss.backward()
            return loss

        optimizer.step(closure)
    expected = tiny.state(net)
    for key, value in tiny.state(model).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-7)


def test_the_term_is_pywavelets():
    model = tiny.build(tiny.edit_config(hf_loss=tiny.HF))
    batch = tiny.edit_batch()
    logs = tiny.train(model, tiny.wrap(model, False, lr=0.0), [batch])
    with torch.no_grad():
        output = model.generator(torch.stack(batch['inputs']).float() / 255).numpy()
    gt = torch.stack([sample.gt_img for sample in batch['data_samples']]).numpy() / 255
    _, *details = pywt.wavedec2(output - gt, 'db3', mode='zero', level=2)
    expected = 0.15 * sum(np.mean([np.abs(band).mean() for band in level]) for level in details)
    assert logs[0]['loss_hf'] == pytest.approx(expected, rel=1e-5)


def test_the_weight_follows_the_learning_rate():
    from mmengine.optim import CosineAnnealingLR

    model = tiny.build(tiny.edit_config(hf_loss=tiny.HF, hf_schedule='lr'))
    constant = tiny.build(tiny.edit_config(hf_loss=tiny.HF))
    wrapper = tiny.wrap(model, True, rho=0.0, lr=1e-12)
    scheduler = CosineAnnealingLR(wrapper, T_max=4, by_epoch=False)
    full = tiny.train(constant, tiny.wrap(constant, False, lr=1e-12), [tiny.edit_batch()])[0]['loss_hf']
    seen = []
    for _ in range(5):
        seen.append(tiny.train(model, wrapper, [tiny.edit_batch()])[0]['loss_hf'] / full)
        scheduler.step()
    assert seen == pytest.approx([0.5 - 0.5 * np.cos(np.pi * step / 4) for step in range(5)], abs=1e-5)


def test_accumulated_batches_are_one_large():
    small, large = (tiny.build(tiny.edit_config(hf_loss=tiny.HF)) for _ in range(2))
    batches = [tiny.edit_batch(seed) for seed in range(4)]
    tiny.train(small, tiny.wrap(small, True, base='SGD', accumulative_counts=2), batches)
    tiny.train(large, tiny.wrap(large, True, base='SGD'), [tiny.joined(batches[:2]), tiny.joined(batches[2:])])
    expected = tiny.state(large)
    for key, value in tiny.state(small).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-7)


class TestRefusals:
    def test_a_schedule_without_a_scheduler(self):
        model = tiny.build(tiny.edit_config(hf_loss=tiny.HF, hf_schedule='lr'))
        before = tiny.state(model)
        with refused('model.hf_schedule', "'lr'", do="'constant'"):
            tiny.train(model, tiny.wrap(model, True), [tiny.edit_batch()])
        assert tiny.same(before, tiny.state(model))

    @pytest.mark.parametrize(
        ('options', 'quoted'),
        [({'hf_loss': tiny.HF, 'hf_schedule': 'cosine'}, "'cosine'"), ({'hf_schedule': 'lr'}, 'hf_loss')],
    )
    def test_options(self, options, quoted):
        with refused('model.hf_schedule', quoted):
            tiny.build(tiny.edit_config(**options))

    def test_mmagics_model_with_a_sam_wrapper(self):
        model = tiny.build(tiny.edit_config('BaseEditModel'))
        before = tiny.state(model)
        with refused('optim_wrapper', 'SAMOptimWrapper', 'update_params(loss)', do='SAMModelMixin'):
            tiny.train(model, tiny.wrap(model, True), [tiny.edit_batch()])
        assert tiny.same(before, tiny.state(model))

    @pytest.mark.parametrize('networks', [(True, False), (False, True)])
    def test_mmagics_gan_with_a_sam_wrapper(self, networks):
        model = tiny.build(tiny.srgan_config('SRGAN'))
        with refused('optim_wrapper', 'SAMOptimWrapper', '(loss)', do='SAMModelMixin'):
            tiny.train(model, tiny.wrap_gan(model, *networks), [tiny.edit_batch()])

    @pytest.mark.parametrize('sam', [False, True])
    @pytest.mark.parametrize('term', ['pixel_loss', 'hf_loss'])
    def test_a_term_that_is_not_finite(self, term, sam, monkeypatch):
        model = tiny.build(tiny.edit_config(hf_loss=tiny.HF))
        wrapper = tiny.wrap(model, sam)
        batches = [tiny.edit_batch(seed) for seed in range(3)]
        tiny.train(model, wrapper, batches[:1])
        loss = getattr(model, term)
        monkeypatch.setattr(loss, 'forward', lambda pred, target, **_: pred.sum() * float('nan'))
        name = {'pixel_loss': 'loss_pix', 'hf_loss': 'loss_hf'}[term]
        from mmengine.logging import MessageHub

        MessageHub.get_current_instance().update_info('iter', 6)
        with refused('iteration 7', name, 'nan'):
            model.train_step(batches[1], wrapper)


@pytest.mark.parametrize('train_mode', [False, True])
@pytest.mark.parametrize('kind', ['ExtractionPix2Pix', 'ExtractionCycleGAN'])
def test_a_test_leaves_everything_as_it_was(kind, train_mode):
    options = {'generator': tiny.unet(), 'norm': 'BN', 'test_in_train_mode': train_mode}
    model = tiny.build(tiny.translation_config(kind, **options))
    before, random = tiny.state(model), torch.get_rng_state()
    batch = tiny.translation_batch(count=3)
    batch['inputs'] = {key: batch['inputs'][key] for key in ('img_query', 'img_response')}
    first = model.val_step(batch)
    assert tiny.same(before, tiny.state(model))
    assert torch.equal(random, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    torch.rand(5)
    one = {key: images[2:] for key, images in batch['inputs'].items()}
    second = model.test_step({'inputs': one, 'data_samples': batch['data_samples'][2:]})
    # The same image gets the same answer, whatever came before or beside it.
    torch.testing.assert_close(first[2].fake_response.float(), second[0].fake_response.float(), rtol=0, atol=0.01)
    if train_mode:
        assert not torch.equal(first[0].fake_response, model.eval().val_step(batch)[1].fake_response)
