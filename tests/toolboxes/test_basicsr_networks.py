"""Any of BasicSR's super-resolution networks can be built, loaded and run on any size."""

import copy

import numpy as np
import pytest
import torch

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.toolboxes.basicsr_networks import build_network, forward_padded, load_weights, size_multiple
from mea_plugin.victims import Victim, build_victim
from tests.helpers import photograph, refused, training_options

SMALL = {'num_in_ch': 3, 'num_out_ch': 3}
NETWORKS = [
    ({'type': 'MSRResNet', **SMALL, 'num_feat': 8, 'num_block': 1, 'upscale': 4}, 4),
    ({'type': 'MSRResNet', **SMALL, 'num_feat': 8, 'num_block': 1, 'upscale': 3}, 3),
    ({'type': 'EDSR', **SMALL, 'num_feat': 8, 'num_block': 1, 'upscale': 2}, 2),
    ({'type': 'RCAN', **SMALL, 'num_feat': 8, 'num_group': 1, 'num_block': 1, 'squeeze_factor': 2, 'upscale': 4}, 4),
    ({'type': 'RRDBNet', **SMALL, 'scale': 4, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}, 4),
    ({'type': 'RRDBNet', **SMALL, 'scale': 2, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}, 2),
    ({'type': 'RRDBNet', **SMALL, 'scale': 1, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}, 1),
    ({'type': 'SRVGGNetCompact', **SMALL, 'num_feat': 8, 'num_conv': 1, 'upscale': 4}, 4),
    ({'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1}, 1),
    (
        {
            'type': 'ECBSR', **SMALL, 'num_block': 1, 'num_channel': 8,
            'with_idt': True, 'act_type': 'prelu', 'scale': 4,
        },
        4,
    ),
    (
        {
            'type': 'SwinIR', 'upscale': 4, 'in_chans': 3, 'img_size': 32, 'window_size': 8, 'img_range': 1.0,
            'depths': [2], 'embed_dim': 12, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect',
        },
        4,
    ),
]  # fmt: skip
IDS = [f'{options["type"]}x{scale}' for options, scale in NETWORKS]


@pytest.fixture
def saved(tmp_path, request):
    options, scale = request.param
    network = build_network(options)
    path = tmp_path / 'net_g.pth'
    torch.save({'params': network.state_dict()}, path)
    return options, scale, path


@pytest.mark.parametrize('saved', NETWORKS, ids=IDS, indirect=True)
def test_every_network_can_be_a_victim_at_any_size(saved):
    options, scale, path = saved
    victim = build_victim({'type': 'basicsr', 'network_g': options, 'weights': str(path)})
    assert isinstance(victim, Victim)
    assert victim.scale == scale
    images = [photograph((21, 26)), photograph((21, 26), 1), photograph((17, 19))]
    answers = victim.query(images)
    assert [answer.shape for answer in answers] == [
        (h * scale, w * scale, 3) for h, w in ((21, 26), (21, 26), (17, 19))
    ]
    assert all(answer.dtype == np.uint8 for answer in answers)
    # Alone or in a batch, once or twice: at most one grey level of float rounding apart.
    again = victim.query([images[1]])[0]
    assert np.abs(again.astype(int) - answers[1]).max() <= 1
    np.testing.assert_array_equal(again, victim.query([images[1]])[0])


@pytest.mark.parametrize(('options', 'scale'), NETWORKS, ids=IDS)
def test_every_network_can_be_a_surrogate(options, scale):
    """One step with SAM and the penalty moves the weights, and they stay finite."""
    from basicsr.models import build_model

    penalty = {'type': 'HighFrequencyLoss', 'wave': 'haar', 'level': 1}
    opt = training_options('lq', 'gt', hf_opt=penalty, optim_g={'type': 'SAM', 'rho': 0.01, 'lr': 1e-3})
    opt.update(network_g=options, scale=scale, path={}, is_train=True, dist=False, rank=0, world_size=1)
    model = build_model(opt)
    before = [p.detach().clone() for p in model.net_g.parameters()]
    model.feed_data({'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 16 * scale, 16 * scale)})
    model.optimize_parameters(1)
    after = list(model.net_g.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.isfinite(p).all() for p in after)


@pytest.mark.parametrize('size', [128, 256])
def test_the_vgg_discriminator_takes_any_layout_and_can_be_copied(size):
    options = {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': size}
    network = copy.deepcopy(build_network(options).eval())
    images = torch.rand(2, 3, size, size, requires_grad=True)
    expected = network(images)
    again = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(again, expected)
    first, second = (torch.autograd.grad(scores.sum(), images)[0] for scores in (expected, again))
    torch.testing.assert_close(first, second)
    build_network(options).load_state_dict(network.state_dict())


def test_the_answer_is_the_network_s_output_rounded(tmp_path):
    options, _ = NETWORKS[0]
    network = build_network(options)
    torch.save(network.state_dict(), tmp_path / 'plain.pth')
    victim = build_victim({'type': 'basicsr', 'network_g': options, 'weights': str(tmp_path / 'plain.pth')})
    image = photograph((20, 24))
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    expected = (expected.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(victim.query([image])[0], expected)


def test_the_fingerprint_changes_with_weights_and_options_and_not_with_the_file(tmp_path):
    options, _ = NETWORKS[0]
    network = build_network(options)

    def fingerprint(name, wrapped):
        torch.save(wrapped, tmp_path / name)
        return build_victim({'type': 'basicsr', 'network_g': options, 'weights': tmp_path / name}).fingerprint

    first = fingerprint('a.pth', {'params': network.state_dict()})
    assert fingerprint('b.pth', {'params_ema': network.state_dict(), 'params': {}}) == first
    with torch.no_grad():
        network.conv_last.bias += 1e-3
    assert fingerprint('c.pth', {'params': network.state_dict()}) != first


@pytest.mark.parametrize(('height', 'width', 'multiple'), [(21, 26, 8), (3, 5, 8), (16, 16, 8), (1, 1, 4)])
def test_padding_changes_nothing_inside(height, width, multiple):
    """A network that looks at single pixels gives the same with and without padding."""
    network = torch.nn.Upsample(scale_factor=2, mode='nearest')
    lq = torch.rand(2, 3, height, width)
    assert torch.equal(forward_padded(network, lq, multiple), network(lq))


def test_window_sizes_are_known():
    assert [size_multiple(options) for options, _ in NETWORKS] == [1, 1, 1, 1, 1, 2, 4, 1, 1, 1, 8]


class Bomb:
    """Unpickled, it would run code."""

    def __reduce__(self):
        return (print, ('boom',))


@pytest.mark.parametrize(
    ('content', 'quoted', 'do'),
    [
        ({'params': {'wrong': torch.zeros(1)}}, 'SRVGGNetCompact body.0.weight', ''),
        ({'other': {'x': torch.zeros(1)}}, 'other params_ema params', 'param_key'),
        ({'params': Bomb()}, '', ''),
        ([1, 2], '', ''),
        ({}, '', ''),
        (b'garbage', '', 'torch.save'),
        (None, '', ''),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, capsys, content, quoted, do):
    path = tmp_path / 'net.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    network = build_network(NETWORKS[7][0])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with refused(path, *quoted.split(), do=do):
        load_weights(network, path)
    assert 'boom' not in capsys.readouterr().out
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_weights_of_another_width_name_the_tensor(tmp_path):
    torch.save(build_network({**NETWORKS[7][0], 'num_feat': 16}).state_dict(), tmp_path / 'wide.pth')
    with refused('wide.pth', 'body.0.weight', '(16, 3, 3, 3)', '(8, 3, 3, 3)'):
        load_weights(build_network(NETWORKS[7][0]), tmp_path / 'wide.pth')


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'type': 'MSRResnet'}, 'network_g.type', "'MSRResnet'", "'MSRResNet'"),
        ({'type': 'MSRResNet', 'num_feats': 8}, 'network_g', "'num_feats'", "'num_feat'"),
        ({'num_feat': 8}, 'network_g', 'type', 'MSRResNet'),
        ({'type': 'RRDBNet'}, 'network_g', "'num_in_ch'", 'num_in_ch'),
        ({'type': 'MSRResNet', 'num_feat': -1}, 'network_g', 'MSRResNet -1', ''),
    ],
)
def test_networks_that_cannot_be_built_are_refused(options, where, quoted, do):
    with refused(where, *quoted.split(), do=do):
        build_network(options)


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({}, 'victim', 'type', 'type'),
        ({'type': 'basicsrr'}, 'victim.type', "'basicsrr'", "'basicsr'"),
        ({'type': 'basicsr', 'network_g': {}, 'weight': 'x'}, 'victim', "'weight'", "'weights'"),
        ({'type': 'basicsr', 'network_g': {}}, 'victim', "'weights'", 'weights'),
    ],
)
def test_victims_that_cannot_be_built_are_refused(options, where, quoted, do):
    with refused(where, quoted, do=do):
        build_victim(options)


def test_a_wrong_scale_and_a_missing_device_are_refused(tmp_path):
    options, _ = NETWORKS[7]
    torch.save(build_network(options).state_dict(), tmp_path / 'net.pth')
    victim = {'type': 'basicsr', 'network_g': options, 'weights': str(tmp_path / 'net.pth')}
    with refused('victim.scale', '2', 'SRVGGNetCompact', '4'):
        build_victim({**victim, 'scale': 2})
    with refused('victim.device', "'cuda:99'"):
        build_victim({**victim, 'device': 'cuda:99'})


@pytest.mark.filterwarnings('error')
def test_building_a_network_warns_of_nothing_that_its_user_could_change():
    options = {'type': 'SwinIR', 'upscale': 4, 'img_size': 8, 'window_size': 4, 'depths': [1], 'num_heads': [1]}
    build_network({**options, 'embed_dim': 4})
