"""This package's metrics in BasicSR: as the toolbox calls them, the values are those of mea_plugin.metrics."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import mea_plugin.basicsr
from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.metrics import METRICS
from mea_plugin.basicsr.register import register_all
from mea_plugin.basicsr.run.options import parse_options
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource
from tests import learned
from tests.basicsr.steps import build
from tests.helpers import pair_folders, photograph, refused, training_options, write_yaml

from basicsr.metrics import calculate_metric  # isort: skip - after the toolbox's work-arounds
from basicsr.utils.registry import METRIC_REGISTRY  # isort: skip

BORDER = 4
SIZE = (200, 188)
CASES = [
    ({'type': 'calculate_hf_psnr'}, 'hf_psnr'),
    ({'type': 'calculate_ms_ssim'}, 'ms_ssim_rgb'),
    ({'type': 'calculate_ms_ssim', 'test_y_channel': True}, 'ms_ssim_y'),
    ({'type': 'calculate_spectrum_error'}, 'spectrum_error'),
    ({'type': 'calculate_worst_patch_psnr', 'test_y_channel': True}, 'worst_patch_psnr'),
    ({'type': 'calculate_lpips', 'net': 'squeeze'}, 'lpips_squeeze'),
]


def pair():
    """An image and a distorted one whose red differs most, uint8, RGB."""
    image = photograph(SIZE, 3)
    noise = np.random.default_rng(1).normal(0, (12, 5, 1), image.shape)
    noise[:3] *= 4  # within the border
    return image, (image + noise).clip(0, 255).astype(np.uint8)


def expected(name, first, second, border=BORDER, folder=None):
    (metric,) = find_metrics([name], sources=WeightSource(folder))
    images = [image[border : image.shape[0] - border, border : image.shape[1] - border] for image in (first, second)]
    return metric.measure(*(Planes(image, border=0) for image in images))


@pytest.fixture
def weights(monkeypatch, tmp_path):
    return learned.squeezenet(monkeypatch, tmp_path)


@pytest.mark.parametrize(('options', 'name'), CASES, ids=[f'{name}' for _, name in CASES])
@pytest.mark.parametrize('kind', ['uint8', 'float', 'CHW'])
def test_the_toolbox_measures_what_the_package_measures(options, name, kind, weights, tmp_path):
    first, second = pair()
    images = [image[..., ::-1] for image in (second, first)]  # as OpenCV and tensor2img have them
    options = {**options, 'crop_border': BORDER, 'better': 'lower'}
    if 'net' in options:
        options['weights'] = weights
    if kind == 'float':  # rounded to the same grey levels
        images = [image + np.random.default_rng(2).uniform(-0.49, 0.49, image.shape) for image in images]
    if kind == 'CHW':
        images, options['input_order'] = [image.transpose(2, 0, 1) for image in images], 'CHW'
    found = calculate_metric(dict(zip(('img', 'img2'), images, strict=True)), options)
    assert found == expected(name, second, first, folder=tmp_path)
    if name != 'ms_ssim_rgb':  # which takes the channels alike; else BGR was taken for RGB
        assert found != expected(name, second[..., ::-1], first[..., ::-1], folder=tmp_path)
    assert found != expected(name, second, first, border=0, folder=tmp_path)


def test_a_network_is_built_once(weights, monkeypatch):
    import lpips

    built, original = [], lpips.LPIPS.__init__
    monkeypatch.setattr(lpips.LPIPS, '__init__', lambda self, *a, **k: built.append(0) or original(self, *a, **k))
    images = dict(zip(('img', 'img2'), pair(), strict=True))
    options = {'type': 'calculate_lpips', 'crop_border': 0, 'net': 'squeeze', 'weights': weights}
    assert calculate_metric(images, options) == calculate_metric(images, options)
    assert built == [0]


def test_missing_weights_are_nan_and_one_warning(monkeypatch, tmp_path, log):
    learned.hide(monkeypatch, tmp_path)
    images = dict(zip(('img', 'img2'), pair(), strict=True))
    for _ in range(3):
        assert math.isnan(calculate_metric(images, {'type': 'calculate_lpips', 'crop_border': 0}))
    assert log().count('WARNING') == 1
    assert 'lpips_alex is NaN in this log: weights: put alexnet' in log()


def test_images_without_a_value_are_nan_and_one_warning(monkeypatch, tmp_path, log):
    learned.hide(monkeypatch, tmp_path)
    image = photograph((40, 40))
    for _ in range(2):
        assert math.isnan(
            calculate_metric({'img': image, 'img2': image}, {'type': 'calculate_ms_ssim', 'crop_border': 4})
        )
    assert math.isnan(calculate_metric({'img': image, 'img2': image}, {'type': 'calculate_hf_psnr', 'crop_border': 19}))
    broken = np.where(image == image[0, 0], np.nan, image)
    assert math.isnan(calculate_metric({'img': broken, 'img2': image}, {'type': 'calculate_hf_psnr', 'crop_border': 0}))
    assert log().count('WARNING') == 2
    assert 'ms_ssim_rgb is NaN for 40x40 pixels less a border of 4' in log()


@pytest.mark.parametrize(
    ('image', 'options', 'names'),
    [
        (photograph((32, 36)), {'type': 'calculate_hf_psnr'}, '36x32.*40x40'),
        (photograph((40, 40))[..., 0], {'type': 'calculate_hf_psnr'}, r'\(40, 40\)'),
        (photograph((40, 40)), {'type': 'calculate_hf_psnr', 'test_y_channel': False}, 'hf_psnr.*test_y_channel'),
        (photograph((40, 40)), {'type': 'calculate_lpips', 'test_y_channel': True}, 'LPIPS.*test_y_channel'),
        (photograph((40, 40)), {'type': 'calculate_lpips', 'net': 'vgg19'}, "'vgg19'.*'vgg'"),
        (photograph((40, 40)), {'type': 'calculate_hf_psnr', 'input_order': 'WHC'}, "'WHC'.*HWC.*CHW"),
    ],
)
def test_what_cannot_be_compared_is_said(image, options, names):
    with pytest.raises(ValueError, match=names):
        calculate_metric({'img': image, 'img2': photograph((40, 40))}, {'crop_border': 0, **options})


def test_a_metric_that_the_toolbox_has_is_left_alone(monkeypatch):
    def calculate_lpips(img, img2, **kwargs):
        return 42.0

    monkeypatch.setattr(METRIC_REGISTRY, '_obj_map', dict(METRIC_REGISTRY._obj_map))
    for metric in METRICS:
        assert METRIC_REGISTRY._obj_map.pop(metric.__name__) is metric
    METRIC_REGISTRY.register(calculate_lpips)
    register_all()
    assert calculate_metric({'img': 0, 'img2': 0}, {'type': 'calculate_lpips'}) == 42.0
    assert METRIC_REGISTRY.get('calculate_hf_psnr') is mea_plugin.basicsr.metrics.calculate_hf_psnr


@pytest.mark.every_environment
@pytest.mark.slow
def test_importing_the_adapter_imports_no_learned_metric():
    code = (
        'import sys, mea_plugin.basicsr; from basicsr.utils.registry import METRIC_REGISTRY as R;'
        "print([name for name in ('lpips', 'torch_fidelity', 'matplotlib') if name in sys.modules],"
        "'calculate_lpips' in R)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split('\n')[-2] == '[] True'


# Option files


def options_with(tmp_path, **metric):
    options = training_options(*pair_folders(tmp_path))
    options['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'it': metric}}
    options['datasets']['val'] = {
        **{'name': 'val', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}},
        **{'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_gt': str(tmp_path / 'gt')},
    }
    return options


LPIPS = {'type': 'calculate_lpips', 'crop_border': 0}
SPECTRUM = {'type': 'calculate_spectrum_error', 'crop_border': 0}
# Each row: the metric, the option below it where the error is found, and the names in what it says and in what to do.
BAD = [
    ({'type': 'calculate_lpip', 'crop_border': 0}, '.type', "'calculate_lpip'", "'calculate_lpips'"),
    ({'type': 'calculate_hf_psnr'}, '', "'crop_border'", 'crop_border'),
    ({**LPIPS, 'nets': 'vgg'}, '', "'nets'", "'net'"),
    ({**LPIPS, 'net': 'vgg16'}, '', "LPIPS 'vgg16'", "'vgg'"),
    ({**LPIPS, 'crop_border': -1}, '', 'crop_border -1', '0'),
    ({**LPIPS, 'weights': 'nowhere'}, '', "weights 'nowhere'", ''),
    ({**LPIPS, 'better': 'higher'}, '', "better 'higher' calculate_lpips", 'lower'),
    ({**LPIPS, 'type': ['calculate_lpips']}, '.type', "['calculate_lpips']", "'calculate_lpips'"),
    ({**LPIPS, 'better': 'low'}, '', "better 'low' calculate_lpips", 'lower'),
    ({**LPIPS, 'test_y_channel': True}, '', 'LPIPS Y', 'test_y_channel'),
    ({**LPIPS, 'test_y_channel': 'no'}, '', "test_y_channel 'no'", 'true false'),
    ({**LPIPS, 'input_order': 'WHC'}, '', "input_order 'WHC'", 'HWC'),
    ({'type': 'calculate_psnr', 'crop_border': 0, 'better': 'lower'}, '', "'lower' calculate_psnr", 'higher'),
    ({**SPECTRUM, 'test_y_channel': False}, '', 'spectrum_error Y', 'test_y_channel'),
    ({**LPIPS, 'reference': 'victims'}, '', "'victims'", "'victim'"),
    ({**LPIPS, 'reference': 'victim'}, '', '', 'FidelityDataset dataroot_victim'),
    ({'type': 'calculate_niqe', 'crop_border': 0, 'reference': 'gt'}, '', 'calculate_niqe', 'reference'),
]


@pytest.mark.parametrize(('metric', 'where', 'quoted', 'do'), BAD)
def test_metrics_are_checked_before_training(metric, where, quoted, do, tmp_path):
    with refused(f'x.yml: val.metrics.it{where}', *quoted.split(), do=tuple(do.split())):
        check_options(options_with(tmp_path, **metric), where='x.yml')


@pytest.mark.parametrize('key', ['datasets', 'val.metrics'])
def test_sections_that_are_lists(key, tmp_path):
    options = options_with(tmp_path, **LPIPS)
    section, _, name = key.rpartition('.')
    (options[section] if section else options)[name] = ['x']
    with refused(f'x.yml: {key}', "['x']"):
        check_options(options, where='x.yml')


def test_a_weight_file_with_other_content_is_met_before_training(weights, tmp_path):
    (tmp_path / learned.SQUEEZE).write_bytes(b'other')
    with refused(learned.SQUEEZE, '5 ', do=learned.SQUEEZE):
        check_options(options_with(tmp_path, **LPIPS, net='squeeze', weights=weights), where='x.yml')


def test_a_grey_set_is_refused(tmp_path):
    options = options_with(tmp_path, **LPIPS)
    options['datasets']['val']['color'] = 'y'
    with refused('x.yml: val.metrics.it', 'datasets.val', 'calculate_lpips', do='color: y'):
        check_options(options, where='x.yml')


def test_a_model_whose_validation_is_basicsr_s_cannot_look_at_the_victim(tmp_path):
    options = options_with(tmp_path, **LPIPS, reference='victim')
    options['model_type'] = 'SRModel'
    with refused('x.yml: val.metrics.it', 'SRModel', 'reference', do=('ExtractionModel', 'ExtractionGANModel')):
        check_options(options, where='x.yml')


def test_a_distance_is_better_low_unasked(tmp_path):
    options = options_with(tmp_path, **LPIPS)
    metrics = options['val']['metrics']
    metrics |= {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 4},
        'niqe': {'type': 'calculate_niqe', 'crop_border': 4},
    }
    opt, args = parse_options(tmp_path, argv=['-opt', str(write_yaml(tmp_path / 'x.yml', options))])
    assert [one.get('better') for one in opt['val']['metrics'].values()] == ['lower', None, 'lower']
    assert 'better:' not in args.option_text


# Validation


class Referenced(Dataset):
    """Images with a victim's response, and a ground truth where it is asked for."""

    def __init__(self, gt=True, victim=True):
        self.opt, self.gt, self.victim = {'name': f'set{gt:d}{victim:d}', 'phase': 'val'}, gt, victim

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rng = torch.Generator().manual_seed(index)
        item = {'lq': torch.rand(3, 12, 12, generator=rng), 'lq_path': f'{index}.png'}
        for key, wanted in (('victim', self.victim), ('gt', self.gt)):
            image = torch.rand(3, 48, 48, generator=rng)
            item |= {key: image} if wanted else {}
        return item


PSNR = {'type': 'calculate_psnr', 'crop_border': 0}


def validated(dataset, metrics, values=None):
    model = build('ExtractionModel', top={'val': {'metrics': metrics}})
    model.opt['path']['visualization'] = ''
    assert model.validation(DataLoader(dataset, batch_size=1), 1, None)
    return model


def test_fidelity_and_quality_come_from_one_pass():
    metrics = {
        'fidelity_psnr': {**PSNR, 'reference': 'victim'},
        'quality_psnr': {**PSNR, 'reference': 'gt'},
        'quality': dict(PSNR),
        'fidelity_hf': {'type': 'calculate_hf_psnr', 'crop_border': 0, 'reference': 'victim'},
    }
    model = build('ExtractionModel', top={'val': {'metrics': metrics}})
    passes = []
    model.net_g.register_forward_hook(lambda *_: passes.append(0))
    data = Referenced()
    before = copy.deepcopy(metrics)
    assert model.validation(DataLoader(data, batch_size=1), 1, None)
    assert metrics == before
    assert len(passes) == 2

    def psnr(key):
        values = []
        for index in range(2):
            with torch.no_grad():
                output = model.net_g.eval()(data[index]['lq'][None])[0].clamp(0, 1)
            error = ((output * 255).round() - (data[index][key] * 255).round()).double()
            values.append(10 * math.log10(255**2 / float((error**2).mean())))
        return sum(values) / 2

    found = model.metric_results
    assert found['fidelity_psnr'] == pytest.approx(psnr('victim'))
    assert found['quality_psnr'] == found['quality'] == pytest.approx(psnr('gt'))
    assert found['fidelity_psnr'] != found['quality_psnr']
    assert list(found) == list(metrics)


@pytest.mark.parametrize(
    ('gt', 'victim', 'measured'), [(True, False, ['quality']), (False, True, ['fidelity']), (False, False, [])]
)
def test_what_a_set_lacks_is_not_measured_on_it(gt, victim, measured):
    metrics = {'fidelity': {**PSNR, 'reference': 'victim'}, 'quality': dict(PSNR)}
    assert list(validated(Referenced(gt, victim), metrics).metric_results) == measured


def test_nan_is_never_the_best_of_a_distance(monkeypatch, tmp_path, log):
    learned.hide(monkeypatch, tmp_path)
    model = validated(
        Referenced(), {'lpips': dict(LPIPS), 'spectrum': {'type': 'calculate_spectrum_error', 'crop_border': 0}}
    )
    best = model.best_metric_results['set11']
    assert best['lpips'] == {'better': 'lower', 'val': math.inf, 'iter': -1}
    assert best['spectrum']['better'] == 'lower'
    assert best['spectrum']['val'] == model.metric_results['spectrum']
    assert 'lpips: nan\tBest: inf @ -1 iter' in log()
    assert log().count('lpips_alex is NaN') == 1
