"""From option file to files: a tiny trained run of BasicSR and one of MMagic, and what is refused."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import re
from importlib import metadata

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mea_plugin.core.images import read_rgb
from mea_plugin.core.options import load_options
from mea_plugin.flatness import Criterion, Objective, flatness_from_options, hessian_trace, job, sharpness
from mea_plugin.flatness.options import FlatnessOptions
from mea_plugin.flatness.runs import read_runs
from tests.helpers import call_tool, refused, run_tool, training_options, write_yaml
from tests.mmagic import tiny
from tests.query_sets.sets import make_set

pytestmark = pytest.mark.every_environment

SIZES = {'ape': (20, 24), 'dog': (16, 18), 'cat': (18, 30)}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A query set of scale 4, and a run of BasicSR on it with checkpoints at 2 and 4 iterations."""
    if importlib.util.find_spec('basicsr') is None:
        pytest.skip('BasicSR is not installed')
    folder = tmp_path_factory.mktemp('flatness')
    queries = make_set(folder / 'queries', SIZES, scale=4)
    options = training_options(queries / 'query', queries / 'response')
    done = run_tool('train_basicsr', '-opt', write_yaml(folder / 'train.yml', options), '--root', folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def options(trained):
    models = trained / 'experiments' / 'tiny' / 'models'
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 4}
    return {
        'name': 'tiny',
        'queries': str(trained / 'queries'),
        'samples': 5,
        'crop': 10,
        'batch_size': 2,
        'loss': {'type': 'charbonnier', 'epsilon': 0.01, 'high_frequency': {'wave': 'haar', 'level': 1}},
        'runs': {'base': {'type': 'basicsr', 'network_g': network, 'weights': str(models / 'net_g_*.pth')}},
        'sharpness': {'radii': [0.05, 0.01], 'steps': 2},
        'hessian': {'iterations': 3, 'tolerance': 0.01, 'probes': 3},
        'landscape': {'line': {'points': 3}, 'plane': {'points': 3, 'extent': 0.5}},
    }


def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')


def test_the_tool_measures_a_trained_run(options, tmp_path, capsys):
    file = write_yaml(tmp_path / 'tiny.yml', options)
    assert call_tool('flatness', '-opt', file, '--output', tmp_path / 'out') == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / 'out' / 'flatness.json').read_text(), parse_constant=refuse)
    assert list(content) == [
        *('format', 'name', 'command', 'options', 'packages', 'machine', 'loss', 'samples'),
        *('trajectories', 'landscapes', 'sha256'),
    ]
    assert (content['format'], content['name'], content['samples']) == (2, 'tiny', 5)
    assert content['command'] == ['python', 'tools/flatness.py', '-opt', str(file), '--output', str(tmp_path / 'out')]
    assert content['options'] == options
    assert content['packages']['torch'] == metadata.version('torch')
    assert 'haar' in content['loss']
    points = content['trajectories']['base']
    assert [point['iteration'] for point in points] == [2, 4]  # the latest is the last one, and left out
    assert len({point['fingerprint'] for point in points}) == 2
    for point in points:
        assert list(point['sharpness']) == ['0.01', '0.05']
        assert 0 < point['sharpness']['0.01'] < point['sharpness']['0.05']
        assert set(point['top_eigenvalue']) == {'value', 'residual', 'iterations'}
        assert point['trace']['probes'] == 3
    landscape = content['landscapes']['base']
    assert landscape['line']['steps'] == [-1, 0, 1]
    assert landscape['line']['loss'][1] == points[-1]['loss']
    assert landscape['plane']['x'] == landscape['plane']['y'] == [-0.5, 0, 0.5]
    assert landscape['plane']['loss'][1][1] == points[-1]['loss']
    assert np.array(landscape['plane']['loss']).shape == (3, 3)
    assert f'{points[0]["sharpness"]["0.05"]:.4g}' in printed
    with Image.open(tmp_path / 'out' / 'flatness.png') as picture:
        assert min(picture.size) > 400
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['flatness.json', 'flatness.png', 'parts']


def numbers(done):
    return {key: done.content[key] for key in ('trajectories', 'landscapes')}


def test_the_numbers_are_those_of_the_network_and_come_again(options, tmp_path):
    from mea_plugin.victims import build_victim

    first, second = (flatness_from_options(options, tmp_path / name) for name in ('a', 'b'))
    assert numbers(first) == numbers(second)
    other = flatness_from_options({**options, 'seed': 1}, tmp_path / 'c')
    assert numbers(other) != numbers(first)
    # The crops again, by hand: each pair once before any comes a second time.
    rng = np.random.default_rng(0)
    order = [*rng.permutation(3), *rng.permutation(3)][:5]
    heights = list(SIZES.values())
    lq, gt = [], []
    for index in order:
        y, x = int(rng.integers(heights[index][0] - 9)), int(rng.integers(heights[index][1] - 9))
        folder = options['queries']
        query, response = (read_rgb(f'{folder}/{side}/{index:06d}.png') for side in ('query', 'response'))
        lq.append(query[y : y + 10, x : x + 10])
        gt.append(response[4 * y : 4 * y + 40, 4 * x : 4 * x + 40])
    queries, responses = (torch.from_numpy(np.stack(one)).permute(0, 3, 1, 2).float() / 255 for one in (lq, gt))
    point = first.content['trajectories']['base'][1]
    run = options['runs']['base']
    network = build_victim({**run, 'weights': point['checkpoint']}).wiring.network.requires_grad_(True)
    criterion = Criterion('charbonnier', epsilon=0.01, high_frequency={'wave': 'haar', 'level': 1})
    with torch.no_grad():
        assert point['loss'] == pytest.approx(float(criterion(network(queries), responses)), rel=1e-5)
    objective = Objective(network, queries, responses, criterion, batch_size=2)
    assert point['sharpness']['0.05'] == pytest.approx(sharpness(objective, [0.01, 0.05], steps=2)[0.05], rel=1e-3)
    trace = hessian_trace(objective, probes=3)
    assert point['trace']['value'] == pytest.approx(trace.value, rel=1e-3)
    assert point['trace']['standard_error'] == pytest.approx(trace.standard_error, rel=1e-3)


def test_an_interrupted_measurement_goes_on(options, tmp_path, monkeypatch):
    measured = []

    def interrupt(measure, *rest):
        measured.append(measure.kind)
        if measure.kind == 'trace':
            raise KeyboardInterrupt
        return run_measure(measure, *rest)

    run_measure = job.run_measure
    monkeypatch.setattr(job, 'run_measure', interrupt)
    with pytest.raises(KeyboardInterrupt):
        flatness_from_options(options, tmp_path / 'out')
    assert not (tmp_path / 'out' / 'flatness.json').exists()
    monkeypatch.setattr(job, 'run_measure', run_measure)
    calls = []
    monkeypatch.setattr(
        'mea_plugin.flatness.measure.sharpness', lambda *args, **rest: calls.append(1) or {0.01: 1.0, 0.05: 2.0}
    )
    monkeypatch.setattr('mea_plugin.flatness.measure.line', lambda *args, **rest: pytest.fail('was not left out'))
    done = flatness_from_options({**options, 'landscape': None}, tmp_path / 'out')
    assert len(calls) == 1  # of the second checkpoint
    first, last = done.content['trajectories']['base']
    assert 0 < first['sharpness']['0.01'] < 1
    assert last['sharpness'] == {'0.01': 1.0, '0.05': 2.0}
    assert done.content['landscapes'] == {}


def test_what_is_left_out_is_left_out(options, tmp_path):
    done = flatness_from_options(
        {**options, 'sharpness': None, 'hessian': False, 'landscape': {'plane': None, 'line': {'points': 3}}},
        tmp_path / 'out',
    )
    (first, last) = done.content['trajectories']['base']
    assert (first['sharpness'], first['top_eigenvalue'], first['trace']) == ({}, None, None)
    assert done.content['landscapes'] == {'base': {'line': done.content['landscapes']['base']['line'], 'plane': None}}
    assert last['loss'] > 0
    assert 'eigenvalue' not in done.table


def test_a_translation_model_of_mmagic(options, tmp_path):
    if importlib.util.find_spec('mmagic') is None:
        pytest.skip('MMagic is not installed')
    from mmengine.registry import DefaultScope

    import mea_plugin.mmagic  # noqa: F401 - registers

    queries = make_set(tmp_path / 'queries', {'a': (40, 33), 'b': (36, 32)}, scale=1)
    config = tiny.translation_config('ExtractionPix2Pix', generator=tiny.unet())
    for seed, name in enumerate(('iter_20', 'iter_3')):
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope('mmagic'):
            torch.save({'state_dict': tiny.build(config).state_dict(), 'meta': {}}, tmp_path / f'{name}.pth')
    options |= {'queries': str(queries), 'crop': 32, 'samples': 3, 'loss': {'type': 'mse'}, 'mode': 'train'}
    options['runs'] = {'gan': {'type': 'mmagic', 'model': config, 'checkpoint': str(tmp_path / 'iter_*.pth')}}
    done = flatness_from_options(options, tmp_path / 'out')
    points = done.content['trajectories']['gan']
    assert [point['iteration'] for point in points] == [3, 20]
    for point in points:
        assert point['sharpness']['0.05'] > 0
        assert math.isfinite(point['trace']['value'])
    fixed = flatness_from_options({**options, 'mode': 'eval'}, tmp_path / 'fixed').content['trajectories']['gan']
    assert fixed[0]['loss'] != points[0]['loss']


def set_option(options, path, value):
    options = copy.deepcopy(options)
    *sections, key = path.split('.')
    section = options
    for name in sections:
        section = section[name]
    section[key] = value
    return options


@pytest.mark.parametrize(
    ('path', 'value', 'where', 'quoted'),
    [
        ('runs.base.weights', 'nowhere/net_g_*.pth', ': runs.base.weights', 'nowhere/net_g_*.pth'),
        ('runs.base.network_g.num_feat', 9, 'net_g_2.pth', '(9, 3, 3, 3)'),
        ('runs.base.network_g.upscale', 2, 'net_g_2.pth', '(12, 8, 3, 3)'),
        ('runs.base.type', 'onnx', ': runs.base.type', "'onnx'.*basicsr, mmagic, python"),
        ('runs.base.typ', 1, ': runs.base', "'typ'"),
        ('runs.base.type', ['basicsr'], ': runs.base.type', "['basicsr']"),
        ('runs', {}, ': runs', 'NAME: {type: '),
        ('runs', {'a|b\n': {'type': 'python'}}, ': runs', r"'a|b\n'"),
        ('sharpness.radii', [0.05, 0], ': sharpness.radii[1]', '0'),
        ('sharpness.radii', [10**400], ': sharpness.radii[0]', '1000'),
        ('sharpness.radii', [-0.05], ': sharpness.radii[0]', '-0.05'),
        ('sharpness.radii', [0.05, 0.05], ': sharpness.radii', '[0.05, 0.05]'),
        ('sharpness.radii', 0.05, ': sharpness.radii', '0.05'),
        ('sharpness.step', 3, ': sharpness', "'step'.*'steps'"),
        ('sharpness.adaptive', 'yes', ': sharpness.adaptive', "'yes'"),
        ('hessian.probes', 0, ': hessian.probes', '0'),
        ('landscape.line.points', 4, ': landscape.line.points', '4'),
        ('landscape.plane.extent', 0, ': landscape.plane.extent', '0'),
        ('loss.type', 'l2', ': loss.type', "'l2'"),
        ('mode', 'test', ': mode', "'test'.*eval, train"),
        ('samples', 0, ': samples', '0'),
        ('seed', 2**64, ': seed', '18446744073709551616'),
        ('crop', 17, ': crop', '17.*000001.png.*18x16.*16'),
        ('loss.high_frequency', {'wave': 'db8', 'level': 2}, ': crop', '10.*15'),
        ('queries', 'nowhere', ': queries', 'nowhere'),
        ('device', 'cuda:77', 'net_g_2.pth: victim.device', "'cuda:77'"),
        ('quieries', 'a', 'tiny.yml', "'quieries'.*'queries'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, tmp_path, capsys, path, value, where, quoted):
    file = write_yaml(tmp_path / 'tiny.yml', set_option(options, path, value))
    assert call_tool('flatness', '-opt', file, '--output', tmp_path / 'out') == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    place, _, what = line.partition(f'{where}: ')  # of the values, each after the other
    assert place.startswith('error: ')
    assert re.search('.*'.join(map(re.escape, quoted.split('.*'))), what), line
    assert not (tmp_path / 'out').exists()


def test_a_query_set_of_another_scale(options, tmp_path, capsys):
    queries = make_set(tmp_path / 'queries', SIZES, scale=2)
    file = write_yaml(tmp_path / 'tiny.yml', {**options, 'queries': str(queries)})
    assert call_tool('flatness', '-opt', file, '--output', tmp_path / 'out') == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(r'tiny\.yml: runs\.base: .* 4 .* 2\.', line), line
    assert not (tmp_path / 'out').exists()


def test_a_checkpoint_that_has_diverged_and_an_output_that_is_a_file(options, tmp_path, capsys):
    file = write_yaml(tmp_path / 'tiny.yml', options)
    assert call_tool('flatness', '-opt', file, '--output', file) == 2
    assert re.search(r'error: output: .*tiny\.yml.*--output', capsys.readouterr().err)
    path = options['runs']['base']['weights'].replace('*', '4')
    state = torch.load(path, weights_only=True)
    next(iter(state['params'].values()))[0] = math.nan
    torch.save(state, tmp_path / 'net_g_9.pth')
    options['runs']['base']['weights'] = str(tmp_path / 'net_g_9.pth')
    assert call_tool('flatness', '-opt', write_yaml(file, options), '--output', tmp_path / 'out') == 2
    assert 'net_g_9.pth' in capsys.readouterr().err


class DifferentiableOnce(nn.Module):
    """A network with an operation that has no second derivative."""

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            return 1 * values

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 1 * gradient

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 48, 1)

    def forward(self, queries):
        return nn.functional.pixel_shuffle(self.Operation.apply(self.layer(queries)), 4)


class OfWholeImages(nn.Module):
    """A network with statistics of one number for each image."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, queries):
        means = self.norm(self.layer(queries).mean((2, 3), keepdim=True))
        return (queries + means).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize(
    ('network', 'where', 'quoted', 'do'),
    [
        (DifferentiableOnce, 'hessian', '', 'hessian: ~'),
        (OfWholeImages, '', '(Expected more than 1 value ', ('crop', 'samples')),  # torch's own words
    ],
)
def test_what_a_network_cannot_do_is_said_before_anything_long(
    options, tmp_path, monkeypatch, network, where, quoted, do
):
    torch.save(network().state_dict(), tmp_path / 'net_g_5.pth')
    entry = {'type': 'python', 'entry': f'{__name__}:{network.__name__}', 'trusted': True}
    options['runs'] = {'base': {**entry, 'weights': str(tmp_path / 'net_g_5.pth')}}
    monkeypatch.setattr(job, 'run_measure', lambda *args: pytest.fail('something long has begun'))
    with refused(where, network.__name__, quoted, do=do):  # 5 samples, two at a time
        flatness_from_options({**options, 'mode': 'train'}, tmp_path / 'out')


@pytest.mark.parametrize('name', ['demo_x4', 'demo_x4_curvature'])
def test_the_demos_option_files_fit_what_the_demo_leaves(root, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for run in ('baseline', 'proposed'):
        save = tmp_path / 'results' / 'demo_x4' / 'experiments' / run / 'models' / 'net_g_400.pth'
        save.parent.mkdir(parents=True)
        save.touch()
    found = FlatnessOptions.parse_document(load_options(root / 'options' / 'flatness' / f'{name}.yml'), name)
    runs = read_runs(found.runs, found.device, name)
    trained = load_options(root / 'options' / 'basicsr' / 'demo_x4.yml')
    extraction = load_options(root / 'options' / 'extract' / 'demo_x4.yml')
    assert [run.name for run in runs] == list(extraction['surrogates'])
    assert all(run.options['network_g'] == trained['network_g'] for run in runs)
    assert found.crop * trained['scale'] == trained['datasets']['train']['gt_size']
    rho = extraction['surrogates']['proposed']['override']['train']['optim_g']['rho']
    assert found.sharpness.radii[0] == rho
    assert (found.hessian is None) == (found.loss.type == 'l1')
