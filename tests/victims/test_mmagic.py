"""MMagic's generators as victims."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mea_plugin.victims import Victim, build_victim
from tests.helpers import photograph, refused
from tests.mmagic import tiny

pytest.importorskip('mmagic')

from mea_plugin.toolboxes.mmagic_networks import find_generator, find_scale

RGB = {'in_channels': 3, 'out_channels': 3}
EDSR = {'type': 'EDSRNet', **RGB, 'mid_channels': 4, 'num_blocks': 1, 'upscale_factor': 4}
SWIN = {
    **{'type': 'SwinIRNet', 'upscale': 2, 'in_chans': 3, 'img_size': 8, 'window_size': 4, 'depths': [2]},
    **{'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'},
}
NAF = {
    **{'type': 'NAFNet', 'img_channels': 3, 'mid_channels': 4, 'enc_blk_nums': [1, 1]},
    **{'middle_blk_num': 1, 'dec_blk_nums': [1, 1]},
}
RRDB = {'type': 'RRDBNet', **RGB, 'mid_channels': 4, 'num_blocks': 1, 'growth_channels': 2, 'upscale_factor': 2}


@pytest.fixture(autouse=True)
def _scope():
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')


def network(config):
    from mmagic.registry import MODELS

    torch.manual_seed(4)
    return MODELS.build(config)


def saved(path, state):
    torch.save(state, path)
    return path


def victim_of(path, state, **options):
    return build_victim({'type': 'mmagic', 'checkpoint': str(saved(path / 'w.pth', state)), **options})


@pytest.mark.parametrize(('config', 'scale'), [(EDSR, 4), (SWIN, 2), (NAF, 1), (RRDB, 2), (tiny.unet(), 1)])
def test_any_network_any_size(config, scale, tmp_path):
    net = network(config)
    victim = victim_of(tmp_path, net.state_dict(), model=config)
    assert isinstance(victim, Victim)
    assert (victim.scale, victim.name) == (scale, config['type'])
    sizes = [(13, 17), (13, 17), (32, 40), (5, 5)]
    answers = victim.query([photograph(size, index) for index, size in enumerate(sizes)])
    assert [answer.shape for answer in answers] == [(h * scale, w * scale, 3) for h, w in sizes]
    image = photograph((64, 64))
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0)
    assert np.abs(victim.query([image])[0] - expected.clamp(0, 1).mul(255).round().numpy()).max() <= 1


@pytest.mark.parametrize('kind', ['Pix2Pix', 'ExtractionPix2Pix', 'CycleGAN', 'ExtractionCycleGAN'])
def test_whole_translation_models(kind, tmp_path):
    config = tiny.translation_config(kind, generator=tiny.unet())
    model = tiny.build(config).eval()
    victim = victim_of(tmp_path, {'state_dict': model.state_dict(), 'meta': {}}, model=config)
    image = photograph((32, 64))
    with torch.no_grad():
        rgb = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1  # the preprocessor's default
        expected = (model.generators['response'](rgb)[0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(victim.query([image])[0] - expected.numpy()).max() <= 1
    if 'Cycle' in kind:
        back = victim_of(tmp_path, model.state_dict(), model=config, target_domain='query')
        assert back.fingerprint != victim.fingerprint


def test_a_large_multiple_is_tried_on_a_small_image(tmp_path):
    """pix2pix's U-Net takes multiples of 256: sixteen of them a side would be 4096 x 4096 pixels."""
    config = {**tiny.unet(), 'num_down': 8, 'base_channels': 2}
    seen = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].shape[-2:]) if type(module).__name__ == 'UnetGenerator' else None
    )
    try:
        victim = victim_of(tmp_path, network(config).state_dict(), model=config)
        assert find_scale(find_generator({'model': config}), where='model') == victim.scale == 1
    finally:
        handle.remove()
    assert seen == [(256, 256)] * 2


PLAIN = {'type': 'BaseDataPreprocessor'}
SCALED = {'type': 'DataPreprocessor'}


@pytest.mark.parametrize(
    ('preprocessor', 'low', 'high'),
    [
        (None, 0, 255),
        (PLAIN, 0, 255),
        ({'type': 'mmengine.ImgDataPreprocessor'}, 0, 255),
        ({**SCALED, 'mean': None, 'std': None}, 0, 255),
        (SCALED, -1, 1),
        ({**SCALED, 'mean': [0.0] * 3, 'std': [255.0] * 3}, 0, 1),
    ],
)
def test_the_value_range_is_what_the_model_s_preprocessor_gives(preprocessor, low, high, tmp_path):
    """The oracle is the preprocessor itself; a model without one gets MMEngine's, which does not normalise."""
    config = {**tiny.edit_config(), 'data_preprocessor': preprocessor}
    model = tiny.build(config).eval()
    image = photograph((16, 16))
    black_and_white = torch.tensor([0.0, 255.0]).expand(3, 16, 2)
    made = model.data_preprocessor({'inputs': [black_and_white], 'data_samples': []})['inputs'][0]
    assert (round(float(made.min()), 3), round(float(made.max()), 3)) == (low, high)
    victim = victim_of(tmp_path, model.state_dict(), model=config)
    with torch.no_grad():
        rgb = torch.from_numpy(image).permute(2, 0, 1)[None] / 255 * (high - low) + low
        expected = (model.generator(rgb)[0].permute(1, 2, 0) - low) / (high - low)
    assert np.abs(victim.query([image])[0] - expected.clamp(0, 1).mul(255).numpy()).max() <= 1


def test_a_network_of_frames_is_refused(tmp_path):
    config = {'type': 'BasicVSRNet', 'mid_channels': 4, 'num_blocks': 1}
    with refused('victim', 'BasicVSRNet', '16x16') as error:
        victim_of(tmp_path, network(config).state_dict(), model=config)
    assert '\n' not in str(error.value)
    with refused('model', 'BasicVSRNet') as error:
        find_scale(find_generator({'model': config}), where='model')
    assert '\n' not in str(error.value)


def test_checkpoints_of_distributed_runs(tmp_path):
    config = tiny.translation_config('Pix2Pix')
    state = tiny.build(config).state_dict()
    wrapped = {key.replace('generators.', 'generators.module.'): value for key, value in state.items()}
    assert wrapped.keys() != state.keys()
    alone = victim_of(tmp_path, state, model=config)
    assert victim_of(tmp_path, {'state_dict': wrapped}, model=config).fingerprint == alone.fingerprint


def test_an_averaged_copy_is_preferred(tmp_path):
    config = tiny.edit_config()
    state = tiny.build(config).state_dict()
    averaged = {key.replace('generator.', 'generator_ema.'): value + 1 for key, value in state.items()}
    victim = victim_of(tmp_path, {'state_dict': {**state, **averaged}}, model=config)
    key, value = next(iter(victim._network.state_dict().items()))
    assert torch.equal(value, averaged[f'generator_ema.{key}'])


def test_whole_edit_models(tmp_path):
    config = tiny.edit_config('ExtractionEditModel', hf_loss=tiny.HF)
    model = tiny.build(config)
    whole = victim_of(tmp_path, {'state_dict': model.state_dict()}, model=config)
    alone = victim_of(tmp_path, model.generator.state_dict(), model=config['generator'])
    image = photograph((16, 20))
    assert np.array_equal(whole.query([image])[0], alone.query([image])[0])
    assert whole.scale == 4


def test_a_config_runs_code_and_must_be_trusted(tmp_path):
    config, marker = tmp_path / 'c.py', tmp_path / 'ran'
    config.write_text(f"open({str(marker)!r}, 'w').close()\nmodel = {EDSR!r}\n")
    state = network(EDSR).state_dict()
    with refused('victim.config', str(config), do='trusted: true'):
        victim_of(tmp_path, state, config=str(config))
    assert not marker.exists()
    assert victim_of(tmp_path, state, config=str(config), trusted=True).scale == 4


def test_bgr_is_read_off_the_pipeline(tmp_path):
    load = {'type': 'LoadImageFromFile', 'key': 'img'}
    config = tmp_path / 'c.py'
    state = network(EDSR).state_dict()
    image = photograph((16, 16))
    answers = []
    for order in (None, 'rgb'):
        step = {**load, **({'channel_order': order} if order else {})}
        loader = {'dataset': {'type': 'BasicImageDataset', 'pipeline': [step]}}
        config.write_text(f'model = {EDSR!r}\nval_dataloader = {loader!r}\n')
        answers.append(victim_of(tmp_path, state, config=str(config), trusted=True).query([image])[0])
    rgb = victim_of(tmp_path, state, model=EDSR)
    assert np.array_equal(answers[1], rgb.query([image])[0])
    assert np.array_equal(answers[0], rgb.query([np.ascontiguousarray(image[..., ::-1])])[0][..., ::-1])


def test_train_mode_answers_the_same_image_alike(tmp_path):
    config = tiny.translation_config('Pix2Pix')
    state = tiny.build(config).state_dict()
    victim = victim_of(tmp_path, state, model=config, test_mode='train')
    plain = victim_of(tmp_path, state, model=config)
    images = [photograph((32, 32), index) for index in range(3)]
    before, random = tiny.state(victim._network), torch.get_rng_state()
    together = victim.query(images)
    assert torch.equal(random, torch.get_rng_state())
    assert tiny.same(before, tiny.state(victim._network))
    assert np.array_equal(victim.query(images[2:])[0], together[2])
    assert not np.array_equal(plain.query(images[2:])[0], together[2])  # dropout and batch statistics
    assert plain.fingerprint != victim.fingerprint


def training_checkpoint(folder):
    """As MMEngine writes one: log history, numpy scalars, optimizer."""
    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer()
    history.update(1.0)
    hub = {'log_scalars': {'loss': history}, 'runtime_info': {'best': np.float64(2.0)}}
    model = tiny.build(tiny.edit_config())
    state = {'state_dict': model.state_dict(), 'message_hub': hub, 'meta': {'iter': 3}}
    return model, saved(folder / 'iter_3.pth', state)


def test_a_training_checkpoint_is_read(tmp_path):
    model, path = training_checkpoint(tmp_path)
    victim = build_victim({'type': 'mmagic', 'checkpoint': str(path), 'model': tiny.edit_config()})
    assert tiny.same(tiny.state(victim._network), tiny.state(model.generator))


@pytest.mark.parametrize(
    'target', [(os.system, ('touch {}',)), (eval, ("open('{}', 'w')",)), (getattr, (os, 'system'))]
)
def test_a_checkpoint_cannot_run_code(target, tmp_path, monkeypatch):
    marker = tmp_path / 'ran'
    function, arguments = target

    class Bomb:
        def __reduce__(self):
            return function, tuple(one.format(marker) if isinstance(one, str) else one.__name__ for one in arguments)

    state = {'state_dict': network(EDSR).state_dict(), 'meta': Bomb()}
    victim = victim_of(tmp_path, state, model=EDSR)  # what is no tensor is passed over
    assert victim.scale == 4
    assert not marker.exists()


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'model': {'type': 'EDSRNett'}}, 'victim.model.type', "'EDSRNett'", "'EDSRNet'"),
        ({'model': {**EDSR, 'mid_chanels': 3}}, 'victim.model', "'mid_chanels'", "'mid_channels'"),
        ({'model': {**EDSR, 'mid_channels': 8}}, 'w.pth', '(8, 3, 3, 3)', ''),
        ({'model': {}}, 'victim.model', '', '{type: ...}'),
        ({}, 'victim', 'config', ''),
        ({'model': EDSR, 'scale': 2}, 'victim.scale', 'scale is 2', ''),
        ({'model': EDSR, 'channel_order': 'gbr'}, 'victim.channel_order', "'gbr'", "'rgb'"),
        ({'model': EDSR, 'test_mode': 'test'}, 'victim.test_mode', "'test'", 'eval, train'),
        ({'model': EDSR, 'target_domain': 'x'}, 'victim.target_domain', 'EDSRNet', ''),
        ({'model': EDSR, 'value_range': [1, 0]}, 'victim.value_range', '[1, 0]', ''),
        ({'model': EDSR, 'value_range': 5}, 'victim.value_range', '5', '[0, 1]'),
        ({'model': EDSR, 'value_range': ['a', 1]}, 'victim.value_range', "'a', 1", ''),
        ({'model': EDSR, 'value_range': [0, float('inf')]}, 'victim.value_range', 'inf', ''),
        ({'model': EDSR, 'multiple': 'a'}, 'victim.multiple', "'a'", ''),
        ({'model': EDSR, 'multiple': 0}, 'victim.multiple', '0', '1'),
        ({'model': EDSR, 'multiple': 2.5}, 'victim.multiple', '2.5', ''),
        ({'model': tiny.translation_config('Pix2Pix'), 'target_domain': 'query'}, 'target_domain', "'query'", ''),
        ({'model': EDSR, 'batch_size': 0}, 'victim.batch_size', '0', '1'),
        ({'model': EDSR, 'batch_size': 'a'}, 'victim.batch_size', "'a'", ''),
    ],
)
def test_bad_options(options, where, quoted, do, tmp_path):
    with refused(where, quoted, do=do) as error:
        victim_of(tmp_path, network(EDSR).state_dict(), **options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [b'', b'garbage', None])
def test_bad_files(content, tmp_path):
    path = tmp_path / 'w.pth'
    if content is not None:
        path.write_bytes(content)
    with refused(path):
        build_victim({'type': 'mmagic', 'checkpoint': str(path), 'model': EDSR})
