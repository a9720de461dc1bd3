"""This package's metrics in MMagic: through its models and evaluator, the values are those of mea_plugin.metrics."""

from __future__ import annotations

import copy
import itertools
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from mea_plugin.core.images import read_rgb
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource
from tests import learned
from tests.helpers import photograph, refused, save

pytest.importorskip('mmagic')

NAMES = ('ant', 'bird', 'cat')
PAIRS = [
    ({'type': 'MEAPSNR'}, 'psnr_rgb'),
    ({'type': 'MEAPSNR', 'convert_to': 'y'}, 'psnr_y'),
    ({'type': 'MEASSIM', 'convert_to': 'Y'}, 'ssim_y'),
    ({'type': 'HFPSNR'}, 'hf_psnr'),
    ({'type': 'MSSSIM', 'convert_to': 'Y'}, 'ms_ssim_y'),
    ({'type': 'SpectrumError', 'convert_to': 'Y'}, 'spectrum_error'),
    ({'type': 'WorstPatchPSNR'}, 'worst_patch_psnr'),
    ({'type': 'LPIPS', 'net': 'squeeze'}, 'lpips_squeeze'),
]
KEYS = {'psnr': 'PSNR', 'ssim': 'SSIM', 'hf': 'HFPSNR', 'ms': 'MSSSIM', 'spectrum': 'SpectrumError'}
BORDER = 4


class Repeat(nn.Upsample):
    """A network that repeats pixels, whatever the order of the channels."""

    def __init__(self) -> None:
        super().__init__(scale_factor=4)


class Dim(nn.Module):
    """A network that halves grey levels, given as [-1, 1]."""

    def forward(self, images):
        return (images + 1) / 2 - 1


def colours(size, seed):
    """A photograph whose red, green and blue are nothing alike."""
    image = photograph(size, seed).astype(float)
    return (image * [1.0, 0.7, 0.3] + [0, 20, 0]).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Queries, responses that are noisy repetitions of them, and a ground truth with other noise."""
    folder = tmp_path_factory.mktemp('images')
    for index, name in enumerate(NAMES):
        lq = colours((46 + index, 47), index)
        large = lq.repeat(4, 0).repeat(4, 1)
        save(folder / 'lq' / f'{name}.png', lq)
        for key, seed in (('victim', 1), ('gt', 2)):
            noise = np.random.default_rng(seed * 10 + index).normal(0, (9, 4, 1 + seed), large.shape)
            save(folder / key / f'{name}.png', (large + noise).clip(0, 255).round().astype(np.uint8))
    return folder


def expected(name, folder, key, made, border=BORDER, weights=None):
    """The mean over the images of what the package measures on the files."""
    (metric,) = find_metrics([name], sources=WeightSource(weights))
    values = []
    for image in NAMES:
        images = [made(read_rgb(folder / 'lq' / f'{image}.png')), read_rgb(folder / key / f'{image}.png')]
        cut = [one[border : one.shape[0] - border, border : one.shape[1] - border] for one in images]
        values.append(metric.measure(*(Planes(one, border=0) for one in cut)))
    return sum(values) / len(values)


def repeated(image):
    return image.repeat(4, 0).repeat(4, 1)


def super_resolution(**preprocessor):
    from tests.mmagic import tiny

    options = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3, **preprocessor}
    return tiny.build(tiny.edit_config(generator={'type': Repeat}, data_preprocessor=options))


def dataset_of(folder, order='rgb', notes=(), keys=('img', 'victim', 'gt')):
    from mmagic.registry import DATASETS

    pipeline = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': order} for key in keys]
    pipeline.append({'type': 'PackInputs', 'data_keys': ['victim'], 'meta_keys': list(notes)})
    return DATASETS.build({'type': 'FidelityDataset', **places(folder), 'pipeline': pipeline})


def loader_of(dataset, indices=None):
    from mmengine.dataset import pseudo_collate

    return DataLoader(dataset, batch_size=1, sampler=indices, collate_fn=pseudo_collate)


def evaluated(model, loader, metrics, rounds=1):
    """What MMagic's loop does of it."""
    from mmagic.evaluation import Evaluator

    evaluator = Evaluator(metrics)
    results = []
    for _ in range(rounds):
        evaluator.prepare_metrics(model, loader)
        ((group, sampler),) = evaluator.prepare_samplers(model, loader)  # one pass for all
        with torch.no_grad():
            for data in sampler:
                evaluator.process(model.eval().val_step(data), data, group)
        results.append(evaluator.evaluate())
    return results[0] if rounds == 1 else results


@pytest.fixture
def weights(monkeypatch, tmp_path):
    return learned.squeezenet(monkeypatch, tmp_path)


def test_values_and_both_references(folders, weights, tmp_path):
    metrics = []
    for (options, _), key in itertools.product(PAIRS, ('victim', 'gt')):
        own = {'weights': weights} if options['type'] == 'LPIPS' else {}
        prefix = f'{key}{len(metrics)}'
        gt_key = {'gt': 'gt_img'}.get(key, key)
        metrics.append({**options, **own, 'gt_key': gt_key, 'prefix': prefix, 'crop_border': BORDER})
    found = list(evaluated(super_resolution(), loader_of(dataset_of(folders)), metrics).values())
    for (_, name), (fidelity, quality) in zip(PAIRS, zip(found[::2], found[1::2], strict=True), strict=True):
        assert fidelity == expected(name, folders, 'victim', repeated, weights=tmp_path), name
        assert quality == expected(name, folders, 'gt', repeated, weights=tmp_path), name
        assert fidelity != quality
        if not name.endswith('rgb'):  # taking BGR for RGB is another value
            swapped = expected(name, folders, 'gt', lambda image: repeated(image)[..., ::-1], weights=tmp_path)
            assert quality != swapped


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('target', [None, 'RGB', 'BGR'])
@pytest.mark.parametrize('data_keys', ['gt_img', ['gt_img', 'victim']])
@pytest.mark.parametrize('notes', [(), ('victim_channel_order',)])
def test_channels_of_super_resolution_are_followed(folders, order, target, data_keys, notes):
    """The note that PackInputs packs of victim, or not; the pre-processor that turns it, or not, or wrongly."""
    metrics = [
        {'type': 'MEAPSNR', 'convert_to': 'Y', 'gt_key': key, 'prefix': key, 'crop_border': BORDER}
        for key in ('victim', 'gt_img')
    ]
    model = super_resolution(output_channel_order=target, data_keys=data_keys)
    found = evaluated(model, loader_of(dataset_of(folders, order, notes)), metrics)
    assert found['victim/PSNR'] == expected('psnr_y', folders, 'victim', repeated)
    assert found['gt_img/PSNR'] == expected('psnr_y', folders, 'gt', repeated)


def dimmed(image):
    """What a file of a network's output holds that halves grey levels: half to even, of half a level."""
    return np.rint(image / 2).astype(np.uint8)


@pytest.fixture(scope='module')
def styles(tmp_path_factory):
    """A query set whose responses are nearly half as bright."""
    folder = tmp_path_factory.mktemp('styles')
    for index, name in enumerate(NAMES):
        image = colours((44, 48 + 4 * index), index)
        noise = np.random.default_rng(index).normal(0, (9, 4, 1), image.shape)
        save(folder / 'lq' / f'{name}.png', image)
        save(folder / 'victim' / f'{name}.png', (image / 2 + noise).clip(0, 255).round().astype(np.uint8))
    return folder


def translation(data_keys, target, kind='ExtractionPix2Pix'):
    from tests.mmagic import tiny

    options = {'type': 'DataPreprocessor', 'data_keys': data_keys, 'output_channel_order': target}
    config = tiny.translation_config(kind, generator=tiny.resnet(dropout=False), data_preprocessor=options)
    model = tiny.build(config)
    for domain in model.generators:
        model.generators[domain] = Dim()
    return model


def translations(folder, order, notes):
    from mmagic.registry import DATASETS

    keys = ['img_query', 'img_response']
    pipeline = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': order} for key in keys]
    meta_keys = [f'{key}_channel_order' for key in keys] if notes else []
    pipeline.append({'type': 'PackInputs', 'keys': keys, 'data_keys': keys, 'meta_keys': meta_keys})
    options = {'query_dir': 'lq', 'response_dir': 'victim', 'test_mode': True}
    return DATASETS.build({'type': 'QuerySetDataset', 'data_root': str(folder), 'pipeline': pipeline, **options})


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('target', [None, 'RGB', 'BGR'])
@pytest.mark.parametrize('data_keys', [None, ['img_query', 'img_response']])
@pytest.mark.parametrize('notes', [False, True])
@pytest.mark.parametrize('kind', ['ExtractionPix2Pix', 'ExtractionCycleGAN'])
def test_channels_of_translation_are_followed(styles, order, target, data_keys, notes, kind):
    key = {'gt_key': 'img_response', 'pred_key': 'fake_response', 'prefix': 'fidelity'}
    metrics = [{'type': 'MEAPSNR', 'convert_to': 'Y', **key}, {'type': 'MEASSIM', **key}]
    model = translation(data_keys, target, kind)
    found = evaluated(model, loader_of(translations(styles, order, notes)), metrics)
    assert found['fidelity/PSNR'] == pytest.approx(expected('psnr_y', styles, 'victim', dimmed, 0), abs=0.02)
    assert found['fidelity/SSIM'] == pytest.approx(expected('ssim_rgb', styles, 'victim', dimmed, 0), abs=1e-3)
    wrong = expected('psnr_y', styles, 'victim', lambda image: dimmed(image)[..., ::-1], 0)
    assert abs(found['fidelity/PSNR'] - wrong) > 1


def test_the_order_can_be_said(folders):
    metrics = [
        {'type': 'MEAPSNR', 'convert_to': 'Y', 'channel_order': order, 'prefix': order} for order in ('rgb', 'bgr')
    ]
    found = evaluated(super_resolution(), loader_of(dataset_of(folders)), metrics)
    assert found['bgr/PSNR'] == expected('psnr_y', folders, 'gt', repeated, 0) != found['rgb/PSNR']


def test_frames_are_averaged_and_an_image_that_is_not_finite_is_nan(folders):
    from mmagic.registry import METRICS

    metric = METRICS.build({'type': 'MEAPSNR', 'prefix': 'x'})
    metric.prepare(super_resolution(), loader_of(dataset_of(folders)))
    frames = torch.full((2, 3, 16, 16), 100.0)
    reference = frames + torch.tensor([1.0, 10.0])[:, None, None, None]
    metric.process(None, [{'output': {'pred_img': frames}, 'gt_img': reference}])
    metric.process(None, [{'output': {'pred_img': frames * math.nan}, 'gt_img': reference}])
    first, second = (result['PSNR'] for result in metric.results)
    assert first == pytest.approx(20 * math.log10(255) - 10)
    assert math.isnan(second)
    with refused('val_evaluator', "'gt_img'", do="'gt_im'"):
        metric.process(None, [{'output': {'pred_img': frames}, 'gt_im': reference}])


class Warnings(logging.Handler):
    """What MMEngine has warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def warned():
    from mmengine.logging import MMLogger

    handler, logger = Warnings(), MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield handler.texts
    logger.removeHandler(handler)


def test_missing_weights_are_nan_and_one_warning(folders, warned, monkeypatch, tmp_path):
    learned.hide(monkeypatch, tmp_path)
    metrics = [
        {'type': kind, 'gt_key': key, 'prefix': key}
        for kind in ('LPIPS', 'MEAFID', 'KID')
        for key in ('victim', 'gt_img')
    ]
    found = evaluated(super_resolution(), loader_of(dataset_of(folders)), metrics, rounds=2)
    for result in found:
        assert len(result) == 6
        assert all(math.isnan(value) for value in result.values())
    assert sorted(text.split()[0] for text in warned if 'NaN' in text) == ['fid', 'kid', 'lpips_alex']


# Sets


def features(extractor, paths, made=lambda image: image):
    collected = extractor.collect()
    for path in paths:
        collected.add(made(read_rgb(path)))
    return collected


def test_fid_and_kid_are_the_package_s(folders, monkeypatch, tmp_path):
    extractor = learned.moments(monkeypatch, tmp_path)
    target = tmp_path / 'target'
    for index in range(5):
        save(target / f'{index}.png', colours((40, 50), 20 + index))
    metrics = [
        {'type': kind, 'prefix': where, **options}
        for kind in ('MEAFID', 'MEAKID')
        for where, options in (('fidelity', {'gt_key': 'victim'}), ('style', {'target': str(target)}))
    ]
    first, second = evaluated(super_resolution(), loader_of(dataset_of(folders)), metrics, rounds=2)
    # Three predictions, the same in both rounds, three responses, five of the target: once for all four metrics.
    assert extractor.seen == 3 + 3 + 5
    assert first == second
    predictions = features(extractor, [folders / 'lq' / f'{name}.png' for name in NAMES], repeated)
    references = {
        'fidelity': features(extractor, [folders / 'victim' / f'{name}.png' for name in NAMES]),
        'style': features(extractor, sorted(target.iterdir())),
    }
    for metric, (where, reference) in itertools.product(('fid', 'kid'), references.items()):
        (found,) = find_metrics([metric])
        value = first[f'{where}/{metric.upper()}']
        assert value == pytest.approx(found.measure(predictions, reference), rel=1e-6), (metric, where)
        assert value != 0


def test_features_of_a_target_are_kept_by_content(folders, monkeypatch, tmp_path):
    from mea_plugin.mmagic.metrics.set_metrics import _features_of_files, _recent

    target = tmp_path / 'target'
    for index in range(3):
        save(target / f'{index}.png', colours((40, 50), 30 + index))
    metric = {'type': 'KID', 'prefix': 'x', 'target': str(target), 'cache': str(tmp_path / 'cache')}
    seen = []
    for _ in range(2):
        extractor = learned.moments(monkeypatch, tmp_path)
        _recent().clear()
        _features_of_files.cache_clear()
        evaluated(super_resolution(), loader_of(dataset_of(folders)), [metric])
        seen.append(extractor.seen)
    assert seen == [3 + 3, 3]


def test_a_prediction_that_is_not_finite_makes_a_set_nan(folders, monkeypatch, tmp_path):
    from mmagic.registry import METRICS

    learned.moments(monkeypatch, tmp_path)
    metric = METRICS.build({'type': 'MEAFID', 'prefix': 'x'})
    metric.prepare(super_resolution(), loader_of(dataset_of(folders)))
    images = [torch.rand(3, 20, 20) * 255 for _ in range(3)]
    for index, image in enumerate(images):
        metric.process(None, [{'output': {'pred_img': image * (math.nan if index == 1 else 1)}, 'gt_img': image}])
    assert math.isnan(metric.evaluate()['x/FID'])
    for image in images:
        metric.process(None, [{'output': {'pred_img': image}, 'gt_img': image}])
    assert metric.evaluate()['x/FID'] == pytest.approx(0, abs=1e-4)


# Several processes

JOINT = [
    *({'type': kind, 'gt_key': 'victim', 'prefix': 'x'} for kind in ('MEAPSNR', 'HFPSNR', 'MEAFID', 'MEAKID')),
    {'type': 'MEAFID', 'prefix': 'style', 'target': 'gt'},
]


def work(rank, folder, images):
    """One of two ranks: every other image, the first one twice, as MMEngine's sampler shares them."""
    import os

    from mmengine.registry import init_default_scope
    from torch import distributed

    import mea_plugin.mmagic  # noqa: F401 - registers
    from mea_plugin.core.launch import leave_process_group

    os.chdir(folder)
    init_default_scope('mmagic')
    distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            result = measured(patch, Path(folder), Path(images), [0, 2] if rank == 0 else [1, 0])
    finally:
        leave_process_group()
    torch.save(result, f'{folder}/{rank}.pth')


def measured(patch, folder, images, indices):
    learned.moments(patch, folder)
    metrics = [{**one, **({'target': str(images / 'gt')} if 'target' in one else {})} for one in JOINT]
    return evaluated(super_resolution(), loader_of(dataset_of(images), indices), metrics, rounds=2)


@pytest.mark.slow
def test_two_processes_get_what_one_gets(folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    other = torch.multiprocessing.get_context('spawn').Process(target=work, args=(1, str(tmp_path), str(folders)))
    other.start()
    try:
        work(0, str(tmp_path), str(folders))
        other.join(60)
    finally:
        if other.is_alive():
            other.kill()
    assert other.exitcode == 0
    alone = measured(monkeypatch, tmp_path, folders, None)
    for rank in range(2):
        assert torch.load(tmp_path / f'{rank}.pth', weights_only=False) == alone
    assert len(alone[0]) == 5


# The registry, and configs


def test_names_of_the_toolbox_are_its_own():
    from mmagic import evaluation
    from mmagic.registry import METRICS

    from mea_plugin.mmagic.metrics import pair_metrics as metrics
    from mea_plugin.mmagic.metrics.set_metrics import SET_METRICS

    fid, kid = SET_METRICS

    for name in ('PSNR', 'SSIM'):
        assert METRICS.get(name) is getattr(evaluation, name)
        assert METRICS.get(f'MEA{name}') is getattr(metrics, name)
    assert METRICS.get('FID') is evaluation.FrechetInceptionDistance
    assert METRICS.get('MEAFID') is fid
    for name in ('LPIPS', 'HFPSNR', 'MSSSIM', 'SpectrumError', 'WorstPatchPSNR'):
        assert METRICS.get(name) is METRICS.get(f'MEA{name}') is getattr(metrics, name)
    assert METRICS.get('KID') is METRICS.get('MEAKID') is kid


def test_a_name_that_is_taken_by_then_is_left_alone(monkeypatch):
    from mmagic.registry import METRICS

    from mea_plugin.mmagic import register_all
    from mea_plugin.mmagic.metrics import pair_metrics as metrics

    class LPIPS:
        pass

    monkeypatch.setitem(METRICS.module_dict, 'LPIPS', LPIPS)
    names = register_all()
    assert METRICS.get('LPIPS') is LPIPS
    assert names['MEALPIPS'] is METRICS.get('MEALPIPS') is metrics.LPIPS
    assert 'LPIPS' not in names


VAL = {'type': 'MultiValLoop'}
DATASET = {
    'type': 'FidelityDataset', 'img': 'lq', 'victim': 'victim', 'gt': 'gt',
    'pipeline': [
        *({'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'victim', 'gt')),
        {'type': 'PackInputs', 'data_keys': ['victim']},
    ],
}  # fmt: skip
LPIPS = {'type': 'LPIPS', 'prefix': 'fidelity', 'gt_key': 'victim'}
PIX = {'type': 'MEAPSNR', 'gt_key': 'img_response', 'pred_key': 'fake_response'}
# Each row: the model, a metric, the option below it where the error is found, the names in what it says and what to do.
FAULTS = [
    ('edsr', {'type': 'LPIP'}, '.type', "'LPIP'", "'LPIPS'"),
    ('edsr', {**LPIPS, 'nets': 'vgg'}, '', "'nets'", "'net'"),
    ('edsr', {**LPIPS, 'net': 'vgg16'}, '', "LPIPS 'vgg16'", "'vgg'"),
    ('edsr', {**LPIPS, 'convert_to': 'Y'}, '', "LPIPS 'Y'", 'convert_to'),
    ('edsr', {**LPIPS, 'weights': 'nowhere'}, '', "weights 'nowhere'", ''),
    ('edsr', {**LPIPS, 'crop_border': -1}, '', 'crop_border -1', '0'),
    ('edsr', {**LPIPS, 'gt_key': ['victim']}, '', "gt_key ['victim']", ''),
    ('edsr', {**LPIPS, 'prefix': 5}, '', 'prefix 5', ''),
    ('edsr', {**LPIPS, 'collect_device': 'cuda'}, '', "collect_device 'cuda'", 'cpu gpu'),
    ('edsr', {**LPIPS, 'type': ['LPIPS']}, '.type', "['LPIPS']", "'LPIPS'"),
    ('edsr', {'type': 'KID', 'target': 5}, '', 'target 5', ''),
    ('edsr', {'type': 'KID', 'cache': True}, '', 'cache True', ''),
    ('pix2pix', {**PIX, 'pred_key': None}, '', 'pred_key None', ''),
    ('edsr', {**LPIPS, 'input_order': 'WHC'}, '', "input_order 'WHC'", "'HWC'"),
    ('edsr', {**LPIPS, 'channel_order': 'rbg'}, '', "channel_order 'rbg'", "'rgb'"),
    ('edsr', {**LPIPS, 'gt_key': 'victims'}, '.gt_key', "'victims'", 'data_keys PackInputs gt_img victim'),
    ('edsr', {'type': 'PSNR', 'crop_borde': 1}, '', "'crop_borde'", "'crop_border'"),
    ('edsr', {'type': 'MEAFID', 'gt_key': 'victim', 'target': 'nowhere'}, '', 'gt_key target', ''),
    ('edsr', 5, '', '5', 'dict'),
    ('pix2pix', {'type': 'PSNR'}, '', 'PSNR', "type='MEAPSNR'"),
    ('pix2pix', {**PIX, 'pred_key': 'fake_respons'}, '.pred_key', "'fake_respons'", "'fake_response'"),
    ('pix2pix', {'type': 'MEAPSNR'}, '.pred_key', "'pred_img'", 'fake_response'),
]  # fmt: skip


def config_of(name, metrics, dataset, **changes):
    """A shipped config with a validation."""
    from mea_plugin.toolboxes.mmagic_config import load_config
    from tests.mmagic.checks.test_check import SMALL

    cfg = load_config(SMALL / f'{name}.py', changes)
    for key, value in (('cfg', VAL), ('dataloader', {'dataset': dataset}), ('evaluator', metrics)):
        cfg[f'val_{key}'] = copy.deepcopy(value)
    return cfg


def check(model, metrics, **changes):
    from mea_plugin.mmagic.checks.check import check_config

    styles = {'type': 'QuerySetDataset', 'data_root': 'x', 'pipeline': []}
    name, dataset = {'edsr': ('edsr_x4_baseline', DATASET), 'pix2pix': ('pix2pix_baseline', styles)}[model]
    check_config(config_of(name, metrics, dataset, **changes), where='c.py', data=False)


@pytest.mark.parametrize(('model', 'metric', 'where', 'quoted', 'do'), FAULTS)
@pytest.mark.parametrize('form', ['list', 'evaluator', 'evaluators'])
def test_metrics_are_checked_before_training(model, metric, where, quoted, do, form):
    metrics = {'list': [metric], 'evaluator': {'type': 'Evaluator', 'metrics': metric},
               'evaluators': [{'type': 'Evaluator', 'metrics': [metric]}]}[form]  # fmt: skip
    with refused(f'.metrics{where}', *quoted.split(), do=tuple(do.split())) as error:
        check(model, metrics)
    assert error.value.where.startswith('c.py: val_evaluator')


def test_what_can_work_passes():
    check('edsr', [LPIPS, {**LPIPS, 'gt_key': 'gt_img', 'prefix': 'quality'}, {'type': 'PSNR'}, {'type': 'NIQE'}])
    check('pix2pix', {'metrics': [PIX, {**PIX, 'type': 'KID'}]})


@pytest.mark.parametrize(
    ('best', 'rule', 'quoted', 'do'),
    [
        ('fidelity/LPIPS', 'greater', "'greater' fidelity/LPIPS", "rule='less'"),
        (['fidelity/LPIPS', 'quality/PSNR'], ['less', 'less'], "'less' quality/PSNR", "rule='greater'"),
        (['a', 'b', 'fidelity/LPIPS'], ['less', 'less'], '2 3', 'save_best'),
    ],
)
def test_the_best_is_not_the_worst(best, rule, quoted, do):
    metrics = [LPIPS, {'type': 'MEAPSNR', 'prefix': 'quality'}]
    hook = 'default_hooks.checkpoint'
    with refused(f'c.py: {hook}.rule', *quoted.split(), do=do):
        check('edsr', metrics, **{f'{hook}.save_best': best, f'{hook}.rule': rule})
    check('edsr', metrics, **{f'{hook}.save_best': 'fidelity/LPIPS', f'{hook}.rule': 'less'})


def places(folder):
    return {'img': str(folder / 'lq'), 'victim': str(folder / 'victim'), 'gt': str(folder / 'gt')}


def test_folders_are_looked_at(folders, tmp_path):
    from mea_plugin.mmagic.checks.check import check_config
    from tests.query_sets.sets import make_set

    root = make_set(tmp_path / 'queries', dict.fromkeys(('a', 'b'), (40, 36)), 4)
    cfg = config_of('edsr_x4_baseline', [LPIPS], {**DATASET, **places(folders)})
    cfg.train_dataloader.dataset.data_root = str(root)
    check_config(cfg, where='c.py')
    cfg.val_evaluator = [{'type': 'MEAFID', 'target': str(tmp_path / 'nowhere')}]
    with refused('c.py: val_evaluator.metrics.target', str(tmp_path / 'nowhere')):
        check_config(cfg, where='c.py')
    cfg.val_evaluator = [LPIPS]
    cfg.val_dataloader.dataset.victim = str(folders / 'lq')
    with refused('lq/ant.png', '47x46', '4'):
        check_config(cfg, where='c.py')
    cfg.val_dataloader.dataset.victim = 5
    with refused('c.py: val_dataloader.dataset', 'victim', '5'):
        check_config(cfg, where='c.py')
    cfg.val_dataloader.dataset.victim = None
    with refused('c.py: val_dataloader.dataset', "'victim'", do='victim'):
        check_config(cfg, where='c.py')


# A training


def test_a_training_logs_fidelity_and_quality(folders, monkeypatch, tmp_path, warned):
    from mea_plugin.training import checkpoints
    from tests.mmagic import runs

    learned.hide(monkeypatch, tmp_path)
    metrics = [
        {'type': kind, 'gt_key': key, 'prefix': prefix}
        for kind in ('MEAPSNR', 'LPIPS', 'MEAFID')
        for key, prefix in (('victim', 'fidelity'), ('gt_img', 'quality'))
    ]
    loader = {'batch_size': 1, 'num_workers': 0, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
    options = {
        'train_cfg.max_iters': 4, 'train_cfg.val_interval': 2, 'val_cfg': VAL, 'val_evaluator': metrics,
        'val_dataloader': {**loader, 'dataset': {**DATASET, **places(folders)}},
        'default_hooks.checkpoint.save_best': ['fidelity/LPIPS', 'fidelity/PSNR'],
        'default_hooks.checkpoint.rule': ['less', 'greater'],
    }  # fmt: skip
    runner = runs.make_runner(runs.config('EditModel', tmp_path, **options))
    runner.logger.addHandler(handler := Warnings())
    runner.train()
    runner.logger.removeHandler(handler)
    history = checkpoints.read(tmp_path / 'iter_4.pth')['mea']['history']
    logged = {key.removeprefix('val/') for key in history if key.startswith('val/')}
    names = [f'{prefix}/{name}' for prefix in ('fidelity', 'quality') for name in ('PSNR', 'LPIPS', 'FID')]
    assert logged >= set(names)
    said = [text.split()[0] for text in handler.texts + warned if 'NaN' in text]
    assert sorted(said) == ['fid', 'lpips_alex']
    best = [path.name for path in tmp_path.glob('best_*')]
    assert len(best) == 1
    assert best[0].startswith('best_fidelity_PSNR_iter_')
