"""Victims that are files of other formats: the plain network's answers, and one line for whatever is wrong."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.victims import Victim, build_victim
from tests.helpers import photograph, refused
from tests.victims.tiny_networks import expected, network

TINY = 'tests.victims.tiny_networks'
SIZES = [(13, 17), (16, 20), (13, 17), (1, 1)]


def script(path, net=None):
    torch.jit.script(net or network()).save(str(path))
    return {'type': 'torchscript', 'file': str(path), 'trusted': True}


def trace(path):
    torch.jit.trace(network(), torch.rand(1, 3, 8, 9)).save(str(path))
    return {'type': 'torchscript', 'file': str(path), 'trusted': True}


def frozen(path):
    torch.jit.freeze(torch.jit.script(network())).save(str(path))
    return {'type': 'torchscript', 'file': str(path), 'trusted': True}


def export(path, *, batch=True, size=True):
    # torch 2.1 has another API, and fixes a convolution's batch size below 16.
    modern = hasattr(torch.export, 'Dim')
    image = torch.rand(2 if batch and modern else 1, 3, 12, 14)
    axes = {**({0: 'n'} if batch and modern else {}), **({2: 'h', 3: 'w'} if size else {})}
    if modern:
        dynamic = {'dynamic_shapes': ({axis: torch.export.Dim(name) for axis, name in axes.items()},)}
    else:
        dynamic = {'constraints': [torch.export.dynamic_dim(image, axis) for axis in axes]}
    torch.export.save(torch.export.export(network(), (image,), **dynamic), str(path))
    return {'type': 'torch_export', 'file': str(path), 'trusted': True}


def export_one(path):
    return export(path, batch=False)


def onnx_model(path, *, batch='n', height='h', width='w', half=False, channels=3, bias=0.0):
    """Written by hand: x2 by nearest neighbour of a 3x3 convolution."""
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper, numpy_helper

    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    weight, offset = blur(channels)
    initializers = [
        numpy_helper.from_array(weight.astype(dtype), 'weight'),
        numpy_helper.from_array((offset + bias).astype(dtype), 'bias'),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), 'scales'),
    ]
    nodes = [
        helper.make_node('Conv', ['image', 'weight', 'bias'], ['blurred'], pads=[1, 1, 1, 1]),
        helper.make_node('Resize', ['blurred', '', 'scales'], ['answer'], mode='nearest', nearest_mode='floor',
                         coordinate_transformation_mode='asymmetric'),
    ]  # fmt: skip
    ends = [
        helper.make_tensor_value_info('image', kind, [batch, channels, height, width]),
        helper.make_tensor_value_info('answer', kind, ['n2', channels, 'h2', 'w2']),
    ]
    graph = helper.make_graph(nodes, 'tiny', ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(path))
    return {'type': 'onnx', 'file': str(path)}


def blur(channels=3):
    rng = np.random.default_rng(5)
    return rng.uniform(0, 1 / 27, (channels, channels, 3, 3)), rng.uniform(0, 0.1, channels)


class Blur(nn.Module):
    """What :func:`onnx_model` writes."""

    def forward(self, image):
        weight, bias = (torch.from_numpy(one).float() for one in blur())
        return nn.functional.interpolate(nn.functional.conv2d(image, weight, bias, padding=1), scale_factor=2)


def onnx_one(path):
    return onnx_model(path, batch=1)


def onnx_half(path):
    return onnx_model(path, half=True)


def python(path):
    torch.save(network().state_dict(), path)
    entry = f'{TINY}:Upscaler'
    return {'type': 'python', 'entry': entry, 'weights': str(path), 'trusted': True}


def compact():
    from mea_plugin.toolboxes.basicsr_networks import build_network

    torch.manual_seed(0)
    return build_network({'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 2}).eval()


def recognised(path):
    pytest.importorskip('spandrel')
    torch.save({'params': compact().state_dict()}, path)
    return {'type': 'spandrel', 'file': str(path)}


def recognised_safetensors(path):
    pytest.importorskip('spandrel')
    from safetensors.torch import save_file

    save_file(compact().state_dict(), path)
    return {'type': 'spandrel', 'file': str(path)}


MAKERS = {
    script: ('v.pt', network),
    trace: ('v.pt', network),
    frozen: ('v.pt', network),
    export: ('v.pt2', network),
    export_one: ('v.pt2', network),
    onnx_model: ('v.onnx', Blur),
    onnx_one: ('v.onnx', Blur),
    onnx_half: ('v.onnx', Blur),
    python: ('v.pth', network),
    recognised: ('v.pth', compact),
    recognised_safetensors: ('v.safetensors', compact),
}


@pytest.mark.parametrize('make', MAKERS, ids=lambda make: make.__name__)
def test_it_answers_as_the_plain_network(make, tmp_path):
    name, plain = MAKERS[make]
    victim = build_victim(make(tmp_path / name))
    assert isinstance(victim, Victim)
    assert victim.scale == 2
    assert victim.name == ('Upscaler' if make is python else 'v')
    images = [photograph(size, index) for index, size in enumerate(SIZES)]
    for image, answer in zip(images, victim.query(images), strict=True):
        assert answer.dtype == np.uint8
        assert np.abs(answer - expected(plain(), image)).max() <= 1
    # Whatever ran before, and in whatever company.
    again = [victim.query([image])[0] for image in images * 3]
    assert all(np.array_equal(one, again[index % 4]) for index, one in enumerate(again))


@pytest.mark.parametrize('make', [script, export, onnx_model, python], ids=lambda make: make.__name__)
def test_range_order_and_multiple(make, tmp_path):
    name, plain = MAKERS[make]
    options = make(tmp_path / name)
    victim = build_victim({**options, 'value_range': [-1, 3], 'channel_order': 'bgr', 'name': 'mine'})
    image = photograph((12, 9))
    assert np.abs(victim.query([image])[0] - expected(plain(), image, low=-1, high=3, bgr=True)).max() <= 1
    assert victim.name == 'mine'
    padded = build_victim({**options, 'multiple': 8})
    mirrored = np.pad(image, ((0, 4), (0, 7), (0, 0)), mode='reflect')
    assert np.abs(padded.query([image])[0] - expected(plain(), mirrored)[:24, :18]).max() <= 1
    assert len({build_victim(options).fingerprint, victim.fingerprint, padded.fingerprint}) == 3


@pytest.mark.parametrize('make', [script, onnx_model, python, recognised], ids=lambda make: make.__name__)
def test_the_fingerprint_is_of_the_content(make, tmp_path):
    name, _ = MAKERS[make]
    options = make(tmp_path / name)
    first = build_victim(options).fingerprint
    key = 'file' if 'file' in options else 'weights'
    moved = tmp_path / f'moved_{name}'
    moved.write_bytes((tmp_path / name).read_bytes())
    assert build_victim({**options, key: str(moved), 'batch_size': 2, 'name': 'x'}).fingerprint == first
    if make is onnx_model:
        make(tmp_path / name, bias=0.1)
    elif make is script:
        make(tmp_path / name, network(seed=9))
    else:
        state = (compact() if make is recognised else network()).state_dict()
        torch.save({key: value + 0.1 for key, value in state.items()}, tmp_path / name)
    assert build_victim(options).fingerprint != first


def test_half_precision_scripts(tmp_path):
    try:
        network().half()(torch.rand(1, 3, 4, 4).half())
    except RuntimeError as error:
        pytest.skip(f'this torch has no float16 convolution on a CPU ({error})')
    victim = build_victim(script(tmp_path / 'v.pt', network().half()))
    image = photograph((8, 9))
    assert np.abs(victim.query([image])[0] - expected(network(), image)).max() <= 2


def test_dropout_is_off(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.5)).train()
    victim = build_victim(script(tmp_path / 'v.pt', net))
    image = photograph((8, 9))
    assert np.abs(victim.query([image])[0] - expected(net.eval(), image)).max() <= 1


@pytest.mark.parametrize('make', [script, export, python], ids=lambda make: make.__name__)
def test_what_runs_code_must_be_trusted(make, tmp_path):
    options = make(tmp_path / MAKERS[make][0])
    key = 'entry' if make is python else 'file'
    for trusted in (False, None):
        with refused(f'victim.{key}', options[key], do='trusted: true'):
            build_victim({**options, 'trusted': trusted})
    for trusted in ('yes', 1):
        with refused('victim.trusted', repr(trusted)):
            build_victim({**options, 'trusted': trusted})
    del options['trusted']
    with refused(f'victim.{key}', options[key], do='trusted: true'):
        build_victim(options)


@pytest.mark.parametrize('kind', ['torchscript', 'torch_export', 'onnx', 'spandrel'])
@pytest.mark.parametrize('content', [b'', b'garbage', None])
def test_bad_files(kind, content, tmp_path):
    pytest.importorskip({'onnx': 'onnxruntime', 'spandrel': 'spandrel'}.get(kind, 'torch'))
    path = tmp_path / 'v.pth'
    if content is not None:
        path.write_bytes(content)
    trusted = {'trusted': True} if kind.startswith('torch') else {}
    with refused(path) as error:
        build_victim({'type': kind, 'file': str(path), **trusted})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', ['torchscript', 'torch_export', 'onnx', 'spandrel', 'python', 'basicsr', 'embedded'])
def test_unknown_options_are_refused(kind):
    required = {'python': {'entry': 'a:b'}, 'basicsr': {'network_g': {}, 'weights': 'w'}, 'embedded': {}}
    needed = required.get(kind, {'file': 'f'})
    with refused('victim', "'bach_size'", do="'batch_size'"):
        build_victim({'type': kind, **needed, 'bach_size': 3})
    for first in list(needed)[:1]:
        with refused('victim', f"'{first}'", do=first):
            build_victim({'type': kind, 'device': 'cpu'})


@pytest.mark.parametrize(
    ('changes', 'quoted', 'do'),
    [
        ({'batch_size': 0}, '0', '1'),
        ({'multiple': 0}, '0', '1'),
        ({'value_range': [1]}, '[1]', '[0, 1]'),
        ({'channel_order': 'gbr'}, "'gbr'", "'rgb'"),
        ({'device': 'nonsense'}, "'nonsense'", 'cpu'),
        ({'scale': 3}, '2', ''),
        ({'tile_pixels': 0}, '0', '1'),
        ({'tile_pixels': 100}, '100', '1089'),
        ({'tile_overlap': -1, 'tile_pixels': 100}, '-1', '0'),
    ],
)
def test_bad_options(changes, quoted, do, tmp_path):
    with refused(f'victim.{next(iter(changes))}', quoted, do=do) as caught:
        build_victim({**script(tmp_path / 'v.pt'), **changes})
    assert '\n' not in str(caught.value)


def test_exports_of_one_size_are_refused(tmp_path):
    with refused('v.pt2', ', 3, 12, 14)', do=('height', 'width', 'batch')):
        build_victim(export(tmp_path / 'v.pt2', size=False, batch=False))
    for fixed, shape in (
        ({'height': 8}, '(?, 3, 8, ?)'),
        ({'width': 8}, '(?, 3, ?, 8)'),
        ({'batch': 4}, '(4, 3, ?, ?)'),
    ):
        with refused('v.onnx', shape, do=('height', 'width', 'batch')):
            build_victim(onnx_model(tmp_path / 'v.onnx', **fixed))
    with refused('v.onnx', '(?, 4, ?, ?)', do='(N, 3, H, W)'):
        build_victim(onnx_model(tmp_path / 'v.onnx', channels=4))


@pytest.mark.parametrize(
    ('net', 'quoted'),
    [
        (nn.Conv2d(4, 3, 1), '[3, 4, 1, 1]'),  # torch's own words
        (nn.Conv2d(3, 1, 1), '(16, 16, 1)'),
        (nn.MaxPool2d(2), '(8, 8, 3)'),
        (nn.Conv2d(3, 3, 3), '(14, 14, 3)'),
        (nn.Flatten(), 'expected 4, got 2'),  # Python's own words
    ],
)
def test_networks_of_something_else(net, quoted, tmp_path):
    with refused('victim', '16x16', quoted, do='RGB') as error:
        build_victim(script(tmp_path / 'v.pt', net))
    assert '\n' not in str(error.value)


class Fragile(nn.Module):
    """Fails on images that are wider than 20 pixels, each in another way."""

    def forward(self, image):
        width = image.shape[3]
        if width == 21:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.\nMore about it')
        if width == 22:
            raise KeyError('w')
        return image / 0 if width == 23 else image[..., :20]


@pytest.mark.parametrize(
    ('width', 'quoted', 'do'),
    [
        (21, '20.00 GiB', ('tile_pixels', 'batch_size')),
        (22, "'w'", 'RGB'),
        (23, 'finite', 'RGB'),
        (24, '(9, 20, 3)', 'RGB'),
    ],
)
def test_a_failure_is_one_line(width, quoted, do):
    victim = build_victim({'type': 'python', 'entry': f'{__name__}:Fragile', 'trusted': True})
    victim.query([photograph((9, 20))])
    with refused('victim', 'Fragile', f'{width}x9', quoted, do=do) as error:
        victim.query([photograph((9, width))])
    assert '\n' not in str(error.value)


class Deep(nn.Module):
    """Takes no image below 40 pixels."""

    def forward(self, image):
        if min(image.shape[2:]) < 40:
            raise ValueError('too small')
        return image


def test_networks_that_need_more_than_a_few_pixels():
    victim = build_victim({'type': 'python', 'entry': f'{__name__}:Deep', 'trusted': True})
    image = photograph((40, 50))
    assert np.array_equal(victim.query([image])[0], image)
    with refused('victim', 'Deep', '50x39', '(too small)'):
        victim.query([image[:39]])


class TestPython:
    """Entries, paths, weights."""

    @pytest.mark.parametrize(
        ('changes', 'where', 'quoted', 'do'),
        [
            ({'entry': 'tests'}, 'victim.entry', "'tests'", "'module:callable'"),
            ({'entry': 'no_such_module:x'}, 'victim.entry', 'no_such_module', 'path'),
            ({'entry': f'{TINY}:Upscalr'}, 'victim.entry', "'Upscalr'", ''),
            ({'entry': f'{TINY}:np'}, 'victim.entry', 'module', ''),
            ({'entry': f'{TINY}:not_a_network'}, 'victim.entry', 'int', 'torch.nn.Module'),
            ({'entry': f'{TINY}:fails'}, 'victim.arguments', '(RuntimeError: no such thing and more)', ''),
            ({'arguments': {'widht': 3}}, 'victim.arguments', "'widht'", "'width'"),
            ({'arguments': {'width': 'a'}}, 'victim.arguments', 'TypeError', ''),
            ({'arguments': {'width': 9}}, 'v.pth', '(9, 3, 3, 3)', ''),
            ({'path': 'no_such_folder'}, 'no_such_folder', '', 'victim.path'),
        ],
    )
    def test_refusals(self, changes, where, quoted, do, tmp_path):
        with refused(where, quoted, do=do) as error:
            options = {**python(tmp_path / 'v.pth'), **changes}
            if 'entry' in changes:
                del options['weights']
            build_victim(options)
        assert '\n' not in str(error.value)

    def test_a_folder_is_on_the_path_only_meanwhile(self, tmp_path):
        source = 'from mea_tests_helper import scale\nfrom tests.victims.tiny_networks import network\n'
        (tmp_path / 'mea_tests_entry.py').write_text(f'{source}def make(): return network(scale=scale)\n')
        (tmp_path / 'mea_tests_helper.py').write_text('scale = 3\n')
        before = list(sys.path)
        options = {'type': 'python', 'entry': 'mea_tests_entry:make', 'trusted': True}
        victim = build_victim({**options, 'path': str(tmp_path)})
        assert victim.scale == 3
        assert sys.path == before
        elsewhere = tmp_path / 'elsewhere'
        elsewhere.mkdir()
        with refused('victim.entry', 'mea_tests_entry', 'elsewhere'):
            build_victim({**options, 'path': str(elsewhere)})

    def test_param_key(self, tmp_path):
        options = python(tmp_path / 'v.pth')
        torch.save({'best': network().state_dict()}, tmp_path / 'v.pth')
        with refused('v.pth', 'best', 'params_ema', do='param_key'):
            build_victim(options)
        assert build_victim({**options, 'param_key': 'best'}).scale == 2


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class TestWeights:
    """Read without executing code unless trusted."""

    def basicsr(self, path, **options):
        network_g = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 2}
        return build_victim({'type': 'basicsr', 'network_g': network_g, 'weights': str(path), **options})

    def test_safetensors(self, tmp_path):
        pytest.importorskip('safetensors')
        from safetensors.torch import save_file

        save_file(compact().state_dict(), tmp_path / 'w.safetensors')
        torch.save(compact().state_dict(), tmp_path / 'w.pth')
        victims = [self.basicsr(tmp_path / name) for name in ('w.safetensors', 'w.pth')]
        assert victims[0].fingerprint == victims[1].fingerprint
        (tmp_path / 'bad.safetensors').write_bytes(b'garbage')
        with refused('bad.safetensors', 'safetensors'):
            self.basicsr(tmp_path / 'bad.safetensors')

    def test_a_whole_module_needs_trust(self, tmp_path):
        torch.save(compact(), tmp_path / 'w.pth')
        with refused('w.pth', do='trusted: true'):
            self.basicsr(tmp_path / 'w.pth')
        torch.save(compact().state_dict(), tmp_path / 'state.pth')
        trusted = self.basicsr(tmp_path / 'w.pth', trusted=True)
        assert trusted.fingerprint == self.basicsr(tmp_path / 'state.pth').fingerprint

    @pytest.mark.parametrize('trusted', [False, True])
    def test_code_runs_only_where_it_is_trusted(self, trusted, tmp_path):
        marker = tmp_path / 'ran'
        torch.save(Bomb(marker), tmp_path / 'w.pth')
        with refused('w.pth', 'int' if trusted else '', do='torch.save' if trusted else 'trusted: true'):
            self.basicsr(tmp_path / 'w.pth', trusted=trusted)
        assert marker.exists() == trusted

    def test_a_damaged_file_is_not_read_however_it_is_trusted(self, tmp_path):
        from mea_plugin.core.torch_files import write_torch_file

        write_torch_file(tmp_path / 'w.pth', compact().state_dict())
        content = bytearray((tmp_path / 'w.pth').read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / 'w.pth').write_bytes(content)
        for trusted in (False, True):
            with refused('w.pth', do='Get the file again'):
                self.basicsr(tmp_path / 'w.pth', trusted=trusted)

    @pytest.mark.parametrize('kind', ['basicsr', 'spandrel'])
    def test_torchscript_in_disguise_is_refused(self, kind, tmp_path):
        """torch before 2.6 hands it to torch.jit.load, whatever it was told about weights only."""
        path = tmp_path / 'w.pth'
        torch.jit.script(network()).save(str(path))
        with refused('w.pth', 'TorchScript', do='type: torchscript'):
            self.basicsr(path) if kind == 'basicsr' else build_victim({'type': kind, 'file': str(path)})


class TestSpandrel:
    """What it knows and what it does not."""

    def test_refusals(self, tmp_path):
        pytest.importorskip('spandrel')
        path = tmp_path / 'v.pth'
        torch.save(network().state_dict(), path)
        with refused('v.pth', 'spandrel', do='type: basicsr'):
            build_victim({'type': 'spandrel', 'file': str(path)})

    def test_grey_images_are_refused(self, tmp_path):
        pytest.importorskip('spandrel')
        from mea_plugin.toolboxes.basicsr_networks import build_network

        grey = {'type': 'SRVGGNetCompact', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 8, 'num_conv': 1}
        torch.save(build_network(grey).state_dict(), tmp_path / 'v.pth')
        with refused('v.pth', 'RGB', '(1 to 1 channels, for SR)'):
            build_victim({'type': 'spandrel', 'file': str(tmp_path / 'v.pth')})


class TestOnnx:
    """Weights beside the file, and odd graphs."""

    def external(self, folder, location):
        onnx = pytest.importorskip('onnx')
        onnx_model(folder / 'plain.onnx')
        model = onnx.load(str(folder / 'plain.onnx'))
        onnx.save(model, str(folder / 'v.onnx'), save_as_external_data=True, location='weights.bin', size_threshold=100)
        content = onnx.load(str(folder / 'v.onnx'), load_external_data=False)
        for tensor in content.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == 'location':
                    entry.value = location
        (folder / 'v.onnx').write_bytes(content.SerializeToString())
        return {'type': 'onnx', 'file': str(folder / 'v.onnx')}

    def test_weights_beside_it_belong_to_the_fingerprint(self, tmp_path):
        options = self.external(tmp_path, 'weights.bin')
        victim = build_victim(options)
        image = photograph((9, 12))
        assert np.abs(victim.query([image])[0] - expected(Blur(), image)).max() <= 1
        weights = tmp_path / 'weights.bin'
        weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
        assert build_victim(options).fingerprint != victim.fingerprint

    @pytest.mark.parametrize('location', ['../weights.bin', '/etc/passwd', 'a/' + 'b/' * 70 + '../' * 72 + 'x'])
    def test_files_elsewhere_are_refused(self, location, tmp_path):
        folder = tmp_path / 'model'
        folder.mkdir()
        (tmp_path / 'weights.bin').write_bytes(bytes(1000))
        with refused('v.onnx', location):
            build_victim(self.external(folder, location))

    def test_missing_weights(self, tmp_path):
        with refused('v.onnx', 'other.bin'):
            build_victim(self.external(tmp_path, 'other.bin'))

    def test_two_inputs(self, tmp_path):
        onnx = pytest.importorskip('onnx')
        from onnx import TensorProto, helper

        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', 3, 'h', 'w']) for name in 'abc']
        nodes = [helper.make_node('Add', ['a', 'b'], ['c'])]
        graph = helper.make_graph(nodes, 'two', infos[:2], infos[2:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
        onnx.save(model, str(tmp_path / 'v.onnx'))
        with refused('v.onnx', '2', '(a, b)'):
            build_victim({'type': 'onnx', 'file': str(tmp_path / 'v.onnx')})


@pytest.mark.parametrize(('kind', 'module'), [('onnx', 'onnxruntime'), ('spandrel', 'spandrel')])
def test_a_missing_package_is_named(kind, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with refused('victim.type', f"'{kind}'", module, do=f'pip install {module}'):
        build_victim({'type': kind, 'file': str(tmp_path / 'v')})
