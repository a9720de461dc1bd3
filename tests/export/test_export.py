"""Every surrogate in every format answers as the surrogate itself, and one line says why where it cannot be written."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mea_plugin.core.files import hash_file
from mea_plugin.export import FORMATS, export_surrogate, exporter, load_surrogate, torchscript
from mea_plugin.export import check as checking
from mea_plugin.victims import build_victim
from tests.helpers import call_tool, photograph, refused, write_yaml
from tests.mmagic import tiny

RGB = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}
SWIN = {'type': 'SwinIR', 'img_size': 16, 'window_size': 8, 'depths': [2], 'embed_dim': 8, 'num_heads': [2]}
BASICSR = {
    'MSRResNet': {'type': 'MSRResNet', **RGB, 'upscale': 4},
    'EDSR': {'type': 'EDSR', **RGB, 'upscale': 2},
    'RRDBNet': {'type': 'RRDBNet', **RGB, 'num_grow_ch': 32, 'scale': 4},
    'RRDBNet_x2': {'type': 'RRDBNet', **RGB, 'num_grow_ch': 4, 'scale': 2},
    'SRVGGNetCompact': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 4},
    'SwinIR': {**SWIN, 'mlp_ratio': 2, 'upsampler': 'pixelshuffle', 'upscale': 4},
    'SwinIR_x2': {
        **SWIN,
        'mlp_ratio': 2,
        'upsampler': 'pixelshuffledirect',
        'upscale': 2,
        'img_size': 14,
        'window_size': 7,
    },
}
IN_OUT = {'in_channels': 3, 'out_channels': 3}
UNET = {'type': 'UnetGenerator', **IN_OUT, 'num_down': 5, 'base_channels': 2, 'use_dropout': True}
MSR = {'type': 'MSRResNet', **IN_OUT, 'mid_channels': 8, 'num_blocks': 1, 'upscale_factor': 4}
EDSR = {'type': 'EDSRNet', **IN_OUT, 'mid_channels': 8, 'num_blocks': 1, 'upscale_factor': 4}
MMAGIC = {
    'EDSRNet': tiny.edit_config('ExtractionEditModel', EDSR),
    'MMagic_MSRResNet': tiny.edit_config(generator=MSR),
    'SRGAN': tiny.srgan_config(generator=MSR),
    'pix2pix': tiny.translation_config('ExtractionPix2Pix', generator={**UNET, 'norm_cfg': {'type': 'BN'}}),
    'CycleGAN': tiny.translation_config('ExtractionCycleGAN'),
}
LATEST = 'experiments/MSRResNet/models/net_g_latest.pth'
WEIGHTS_ONLY = {
    'MMagic_RRDBNet': tiny.edit_config(generator={'type': 'RRDBNet', **IN_OUT, 'mid_channels': 8, 'num_blocks': 1,
                                                  'growth_channels': 4, 'upscale_factor': 2}),
    'SwinIRNet': tiny.edit_config(generator={**SWIN, 'type': 'SwinIRNet', 'upscale': 2, 'upsampler': 'pixelshuffle'}),
}  # fmt: skip
PROGRAMS = ('torchscript', 'torch_export', 'onnx')
OLD = not hasattr(torch.export, 'Dim')  # torch 2.1
OLD_EXPORTS = {'MSRResNet', 'SRGAN'}
# Seconds of algebra on sizes each, which another network has shown already.
SLOW = {('SwinIR_x2', 'torch_export'), ('RRDBNet', 'torch_export'), ('MMagic_MSRResNet', 'torch_export')}
SIZES = [(16, 24), (13, 21), (13, 21), (37, 5), (8, 8), (64, 32)]


def randomised(network):
    """Weights that make every part matter; untrained attention and biases would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.dim() and 'mask' not in name and 'running' not in name:
            spread = 0.2 if value.dim() == 1 else 1.0 if 'table' in name else value[0].numel() ** -0.5
            value.copy_(torch.randn(value.shape, generator=generator) * spread + (value.dim() == 1) * 0.3)
        if name.endswith('running_var'):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.state_dict()


def basicsr(folder, name, key='params_ema'):
    from mea_plugin.toolboxes.basicsr_networks import build_network

    state = randomised(build_network(BASICSR[name]))
    weights = folder / 'experiments' / name / 'models' / 'net_g_latest.pth'
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: state} if key else state, weights)
    return write_yaml(folder / f'{name}.yml', {'name': name, 'network_g': BASICSR[name]}), weights


def mmagic(folder, name, order='rgb'):
    pytest.importorskip('mmagic')
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')
    weights = folder / 'work_dirs' / name / 'surrogate.pth'
    weights.parent.mkdir(parents=True, exist_ok=True)
    model = {**MMAGIC, **WEIGHTS_ONLY}[name]
    torch.save({'state_dict': randomised(tiny.build(model))}, weights)
    loader = {'dataset': {'pipeline': [{'type': 'LoadImageFromFile', 'channel_order': order}]}}
    config = folder / f'{name}.py'
    config.write_text(f'model = {model!r}\ntest_dataloader = {loader!r}\n')
    return config, weights


def made(folder, name, **options):
    return load_surrogate(*(basicsr if name in BASICSR else mmagic)(folder, name, **options))


def answers(victim):
    images = [photograph(size, index) for index, size in enumerate(SIZES)]
    return victim.query(images)


@pytest.mark.slow
@pytest.mark.parametrize('name', [*BASICSR, *MMAGIC])
def test_programs_answer_as_the_surrogate(name, tmp_path):
    surrogate = made(tmp_path, name, **({'order': 'bgr'} if name == 'pix2pix' else {}))
    expected = answers(surrogate.victim)
    assert np.ptp(expected[0]) > 20  # no flat grey
    for kind in [kind for kind in PROGRAMS if (name, kind) not in SLOW]:
        if kind == 'torch_export' and OLD and name not in OLD_EXPORTS:
            with refused('--format torch_export', torch.__version__) as error:
                list(export_surrogate(surrogate, [kind], tmp_path))
            assert '\n' not in str(error.value)
            assert not list(tmp_path.glob('*.pt2'))
            continue
        (done,) = export_surrogate(surrogate, [kind], tmp_path)
        assert done.path == tmp_path / f'{name}{FORMATS[kind]}'
        assert done.difference.sizes >= 3
        assert done.difference.largest <= 1e-5
        assert done.batch == (not (OLD and kind == 'torch_export'))
        victim = build_victim(done.victim)
        assert victim.scale == surrogate.victim.scale
        # What is padded inside lies otherwise in memory, and torch then sums in another order.
        exact = surrogate.victim.wiring.multiple == 1 and kind in (
            {'torchscript'} if OLD else {'torchscript', 'torch_export'}
        )
        for one, other in zip(answers(victim), expected, strict=True):
            assert np.abs(one.astype(int) - other).max() <= (0 if exact else 1)


@pytest.mark.parametrize('name', ['SwinIR', 'EDSRNet', 'CycleGAN'])
def test_scripts_hold_no_device(name, tmp_path):
    """A device in a trace is that of its example: the file would fail on every other."""
    (done,) = export_surrogate(made(tmp_path, name), ['torchscript'], tmp_path)
    graph = str(torch.jit.load(str(done.path)).inlined_graph)
    assert 'prim::device' in graph or name == 'EDSRNet'  # that of the image
    assert 'Device = prim::Constant' not in graph


@pytest.mark.parametrize('name', ['SwinIR', 'RRDBNet_x2', 'EDSRNet', *WEIGHTS_ONLY, 'pix2pix'])
def test_weight_files_are_the_surrogate(name, tmp_path):
    surrogate = made(tmp_path, name, **({'order': 'bgr'} if name == 'pix2pix' else {}))
    kinds = ['safetensors'] if name == 'pix2pix' else ['safetensors', 'basicsr']
    for done in export_surrogate(surrogate, kinds, tmp_path):
        assert done.difference[:2] == (0.0, 0)
        victim = build_victim(done.victim)
        if done.format == 'safetensors':
            assert victim.fingerprint == surrogate.victim.fingerprint
        for one, other in zip(answers(victim), answers(surrogate.victim), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize('name', ['SwinIR', 'RRDBNet', 'SRVGGNetCompact'])
@pytest.mark.parametrize('kind', ['basicsr', 'safetensors'])
def test_spandrel_recognises_the_weights(name, kind, tmp_path):
    pytest.importorskip('spandrel')
    surrogate = made(tmp_path, name)
    (done,) = export_surrogate(surrogate, [kind], tmp_path)
    victim = build_victim({'type': 'spandrel', 'file': str(done.path)})
    image = photograph((16, 24))
    assert np.abs(victim.query([image])[0].astype(int) - surrogate.victim.query([image])[0]).max() <= 1


def stated(done):
    """What the file says about itself."""
    if done.format == 'safetensors':
        from safetensors import safe_open

        return safe_open(done.path, 'pt').metadata()
    if done.format == 'basicsr':
        return torch.load(done.path, weights_only=True)['metadata']
    if done.format == 'onnx':
        import onnx

        return {entry.key: entry.value for entry in onnx.load(done.path).metadata_props}
    if done.format == 'torchscript':
        extra = {'metadata.json': ''}
        torch.jit.load(str(done.path), _extra_files=extra)
        return json.loads(extra['metadata.json'])
    archive = zipfile.ZipFile(done.path)
    (name,) = [name for name in archive.namelist() if name.endswith('metadata.json')]
    return json.loads(archive.read(name))


def test_files_say_what_they_are(tmp_path):
    surrogate = made(tmp_path, 'MSRResNet')
    weights = tmp_path / 'experiments' / 'MSRResNet' / 'models' / 'net_g_latest.pth'
    for done in export_surrogate(surrogate, list(FORMATS), tmp_path):
        says = stated(done)
        assert (says['network'], says['scale'], says['toolbox']) == ('MSRResNet', '4', 'basicsr')
        assert (says['value_range'], says['channel_order'], says['multiple']) == ('[0, 1]', 'rgb', '1')
        assert json.loads(says['network_options']) == BASICSR['MSRResNet']
        assert (says['source'], says['source_sha256']) == (weights.name, hash_file(weights))
        assert says['fingerprint'] == surrogate.victim.fingerprint
        assert str(tmp_path) not in str(says)


def test_programs_take_rgb_and_weights_say_what_they_take(tmp_path):
    surrogate = made(tmp_path, 'pix2pix', order='bgr')
    program, weights = (stated(done) for done in export_surrogate(surrogate, ['onnx', 'safetensors'], tmp_path))
    assert (program['value_range'], program['channel_order'], program['multiple']) == ('[0, 1]', 'rgb', '1')
    assert program['pads_to_multiple'] == '32'
    assert (weights['value_range'], weights['channel_order'], weights['multiple']) == ('[-1, 1]', 'bgr', '32')


def test_both_sets_of_weights_are_kept(tmp_path):
    option_file, path = basicsr(tmp_path, 'EDSR')
    averaged = torch.load(path, weights_only=True)['params_ema']
    last = {key: value + 1 for key, value in averaged.items()}
    torch.save({'params': last, 'params_ema': averaged}, path)
    surrogate = load_surrogate(option_file, path)
    (done,) = export_surrogate(surrogate, ['basicsr'], tmp_path)
    content = torch.load(done.path, weights_only=True)
    assert tiny.same(content['params_ema'], averaged)
    assert tiny.same(content['params'], last)
    (done,) = export_surrogate(load_surrogate(option_file, path, param_key='params'), ['basicsr'], tmp_path / 'last')
    content = torch.load(done.path, weights_only=True)
    assert tiny.same(content['params_ema'], last)
    assert 'params' not in content


def test_configs_that_ship(tmp_path, root):
    """Which inherit from MMagic's own, and leave generators for both directions."""
    pytest.importorskip('mmagic')
    from mea_plugin.toolboxes.mmagic_config import load_config
    from mea_plugin.toolboxes.mmagic_networks import build_generator, find_generator

    config = root / 'options' / 'mmagic' / 'small' / 'cyclegan_proposed.py'
    found = find_generator(load_config(config))
    state = randomised(build_generator(found, where='model'))
    prefixes = ('generators.response.', 'generators.query.')
    whole = {f'{prefix}{key}': value + index for index, prefix in enumerate(prefixes) for key, value in state.items()}
    torch.save({'state_dict': whole}, tmp_path / 'w.pth')
    for domain, index in ((None, 0), ('query', 1)):
        surrogate = load_surrogate(config, tmp_path / 'w.pth', target_domain=domain)
        assert surrogate.name == 'cyclegan_proposed'
        assert tiny.same(tiny.state(surrogate.victim.wiring.network), {k: v + index for k, v in state.items()})


def test_networks_that_basicsr_has_no_equal_of(tmp_path):
    for name, order, quoted in (('SRGAN', 'rgb', 'MSRResNet'), ('EDSRNet', 'bgr', 'BGR in [0, 1]')):
        with refused('--format basicsr', quoted, do=('safetensors', 'onnx')) as error:
            list(export_surrogate(made(tmp_path, name, order=order), ['basicsr'], tmp_path))
        assert '\n' not in str(error.value)


class TestWhatTheCheckFinds:
    """Wrong files are never put in place."""

    @pytest.mark.parametrize('kind', ['torchscript', 'onnx'])
    def test_masks_of_one_size(self, kind, tmp_path, monkeypatch):
        """What tracing the toolbox's own SwinIR gives."""
        monkeypatch.setattr('mea_plugin.export.program.is_swin_block', lambda module: False)
        with refused(f'--format {kind}') as error:
            list(export_surrogate(made(tmp_path, 'SwinIR'), [kind], tmp_path))
        assert '\n' not in str(error.value)
        assert not (tmp_path / f'SwinIR{FORMATS[kind]}').exists()

    def test_no_masks(self, tmp_path, monkeypatch):
        def no_mask(image: torch.Tensor, window: int, shift: int) -> torch.Tensor:
            count = (image.size(1) // window) * (image.size(2) // window)
            return torch.zeros(count, window * window, window * window)

        monkeypatch.setattr(torchscript, 'window_mask', no_mask)
        with refused('--format torchscript', 'SwinIR', f'{exporter.TOLERANCE:g}', do='--tolerance'):
            list(export_surrogate(made(tmp_path, 'SwinIR'), ['torchscript'], tmp_path))
        assert not list(tmp_path.glob('*.pt'))

    def test_values_that_are_not_finite(self, tmp_path):
        surrogate = made(tmp_path, 'MSRResNet')
        other = made(tmp_path, 'MSRResNet')
        other.victim.wiring.network.conv_last.bias.fill_(float('nan'))
        assert checking.measure(surrogate.victim, other.victim, 16).largest == float('inf')

    def test_a_smaller_tolerance(self, tmp_path):
        with refused('--format onnx', 'EDSR', '0', do='--tolerance'):
            list(export_surrogate(made(tmp_path, 'EDSR'), ['onnx'], tmp_path, tolerance=0))


class TestTool:
    """Where things are found, and what is refused."""

    def test_defaults(self, tmp_path, monkeypatch, capsys):
        option_file, _ = basicsr(tmp_path, 'MSRResNet')
        config, _ = mmagic(tmp_path, 'EDSRNet')
        monkeypatch.chdir(tmp_path)
        assert call_tool('export', '-opt', option_file, '--format', 'onnx', 'basicsr') == 0
        assert sorted(path.name for path in Path('exports/MSRResNet').iterdir()) == ['MSRResNet.onnx', 'MSRResNet.pth']
        assert call_tool('export', '-opt', config, '--format', 'safetensors', '--output', 'here', '--name', 'mine') == 0
        assert [path.name for path in Path('here').iterdir()] == ['mine.safetensors']
        output = capsys.readouterr().out
        assert 'exports/MSRResNet/MSRResNet.onnx: at most ' in output
        assert 'victim: {type: onnx, file: exports/MSRResNet/MSRResNet.onnx}' in output
        assert 'here/mine.safetensors: at most 0 of [0, 1] and 0 grey levels from the surrogate' in output

    def test_nothing_is_overwritten(self, tmp_path, capsys):
        option_file, weights = basicsr(tmp_path, 'MSRResNet')
        arguments = ('-opt', option_file, '--weights', weights, '--output', tmp_path, '--format')
        (tmp_path / 'MSRResNet.onnx').write_text('mine')
        assert call_tool('export', *arguments, 'safetensors', 'onnx') == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f'error: {tmp_path / "MSRResNet.onnx"}: ')
        assert '--overwrite' in line
        assert (tmp_path / 'MSRResNet.onnx').read_text() == 'mine'
        assert not (tmp_path / 'MSRResNet.safetensors').exists()
        assert call_tool('export', *arguments, 'onnx', '--overwrite') == 0
        assert build_victim({'type': 'onnx', 'file': str(tmp_path / 'MSRResNet.onnx')}).scale == 4
        assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]

    @pytest.mark.parametrize(
        ('arguments', 'where', 'quoted'),
        [
            (['--format', 'onxx'], '--format', ["'onxx'", "'onnx'"]),
            (['--weights', 'nowhere.pth'], 'nowhere.pth', ['--weights']),
            (['--param-key', 'best'], LATEST, ['params_ema', 'best', '--param-key']),
            (['--target-domain', 'photo'], 'MSRResNet.yml', ['--target-domain']),
            (['--output', 'MSRResNet.yml'], 'MSRResNet.yml', ['--output']),
            (['--name', 'a/b'], '--name', ["'a/b'"]),
            (['-opt', 'none.yml'], 'none.yml', []),
            (['-opt', 'none.py'], 'none.py', []),
            (['-opt', 'misfit.yml'], LATEST, ['(8, 3, 3, 3)', '(4, 3, 3, 3)']),
            (['-opt', 'unknown.yml'], 'unknown.yml: network_g.type', ["'MSRResNett'", "'MSRResNet'"]),
            (['-opt', 'empty.yml'], 'empty.yml', ["'network_g'"]),
            (['--weights', 'whole.pth'], 'whole.pth', ['--trusted']),
            (['--weights', 'broken.pth'], 'broken.pth', []),
        ],
    )
    def test_bad_input(self, arguments, where, quoted, tmp_path, monkeypatch, capsys):
        from mea_plugin.toolboxes.basicsr_networks import build_network

        option_file, _ = basicsr(tmp_path, 'MSRResNet')
        network = BASICSR['MSRResNet']
        write_yaml(tmp_path / 'misfit.yml', {'name': 'MSRResNet', 'network_g': {**network, 'num_feat': 4}})
        write_yaml(tmp_path / 'unknown.yml', {'name': 'MSRResNet', 'network_g': {**network, 'type': 'MSRResNett'}})
        write_yaml(tmp_path / 'empty.yml', {'name': 'MSRResNet'})
        torch.save(build_network(network), tmp_path / 'whole.pth')
        (tmp_path / 'broken.pth').write_bytes(b'broken')
        monkeypatch.chdir(tmp_path)
        usual = {'-opt': option_file.name, '--format': 'safetensors', '--output': 'out'}
        given = {**usual, **dict(zip(arguments[::2], arguments[1::2], strict=True))}
        assert call_tool('export', *(part for pair in given.items() for part in pair)) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len([line for line in lines if line.startswith('error: ')]) == 1
        assert lines[-1].startswith(f'error: {where}: ')
        assert all(name in lines[-1] for name in quoted)
        assert not list(tmp_path.glob('out/*'))

    @pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
    def test_a_folder_that_cannot_be_written_to(self, tmp_path, capsys):
        option_file, weights = basicsr(tmp_path, 'MSRResNet')
        folder = tmp_path / 'closed'
        folder.mkdir(mode=0o500)
        arguments = ('-opt', option_file, '--weights', weights, '--output', folder, '--format', 'safetensors')
        assert call_tool('export', *arguments) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f'error: {folder}: ')

    @pytest.mark.parametrize(
        ('kind', 'package'), [('onnx', 'onnx'), ('onnx', 'onnxruntime'), ('safetensors', 'safetensors')]
    )
    def test_a_missing_package_is_named(self, kind, package, tmp_path, monkeypatch):
        surrogate = made(tmp_path, 'MSRResNet')
        monkeypatch.setitem(sys.modules, package, None)
        with refused(f'--format {kind}', package, do=f'pip install {package}'):
            list(export_surrogate(surrogate, ['basicsr', kind], tmp_path))
        assert not list(tmp_path.glob('*.pth'))

    def test_a_missing_toolbox_is_named(self, tmp_path, monkeypatch):
        arguments = basicsr(tmp_path, 'MSRResNet')
        monkeypatch.setitem(sys.modules, 'mea_plugin.victims.basicsr', None)
        with refused('MSRResNet.yml', 'mea_plugin.victims.basicsr'):
            load_surrogate(*arguments)

    def test_torch_without_torchscript(self, tmp_path, monkeypatch):
        surrogate = made(tmp_path, 'MSRResNet')
        monkeypatch.delattr(torch.jit, 'trace')
        with refused('--format torchscript', torch.__version__, do=('torch_export', 'onnx')):
            list(export_surrogate(surrogate, ['torchscript'], tmp_path))


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    surrogate = made(tmp_path, 'MSRResNet')

    def full(path, content):
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(exporter, 'write_bytes', full)
    with pytest.raises(OSError, match='Errno 28'):
        list(export_surrogate(surrogate, ['safetensors'], tmp_path))
    assert not list(tmp_path.glob('*.safetensors'))
