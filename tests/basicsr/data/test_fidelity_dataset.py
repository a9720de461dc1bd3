"""Validation images with two references, and a training that logs fidelity and task quality side by side."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.core import cli
from mea_plugin.core.images import read_rgb
from tests import learned
from tests.helpers import pair_folders, photograph, refused, save, training_options, write_yaml
from tests.query_sets.sets import make_set


@pytest.fixture
def folders(tmp_path):
    """Three queries, a ground truth that is a little too large, and a query set of the same queries."""
    names = ('bird', 'ant', 'cat')
    sizes = {name: (12 + index, 14) for index, name in enumerate(names)}
    queries = make_set(tmp_path / 'queries', sizes, scale=4)
    for index, (name, (height, width)) in enumerate(sizes.items()):
        save(tmp_path / 'lq' / f'{name}.png', photograph((height, width), index))
        save(tmp_path / 'gt' / f'{name}.png', photograph((4 * height + 1, 4 * width + 3), 10 + index))
    return {'lq': tmp_path / 'lq', 'gt': tmp_path / 'gt', 'victim': queries / 'response'}


def section(folders, **changes):
    roots = {f'dataroot_{key}': str(folder) for key, folder in folders.items()}
    return {'name': 'Both', 'type': 'FidelityDataset', **roots, **changes}


@pytest.mark.parametrize('queries', ['folder', 'query set'])
def test_images_belong_together_by_the_names_that_queries_had(folders, queries):
    from basicsr.data import build_dataset

    images = dict(folders)
    if queries == 'query set':
        folders['lq'] = folders['victim'].parent / 'query'
    dataset = build_dataset({**section(folders), 'scale': 4, 'phase': 'val'})
    assert len(dataset) == 3
    for index, (name, number) in enumerate((('ant', 1), ('bird', 0), ('cat', 2))):
        item = dataset[index]
        lq, gt = (read_rgb(images[key] / f'{name}.png') for key in ('lq', 'gt'))
        victim = read_rgb(folders['victim'] / f'{number:06d}.png')
        assert item['lq_path'].endswith(f'/{name}.png')
        for key, image in (('lq', lq), ('victim', victim), ('gt', gt[: 4 * len(lq), : 4 * 14])):
            assert np.array_equal((item[key] * 255).round().numpy().astype(np.uint8), image.transpose(2, 0, 1)), key


def test_without_a_ground_truth_there_is_none(folders):
    from basicsr.data import build_dataset

    del folders['gt']
    assert sorted(build_dataset({**section(folders), 'scale': 4, 'phase': 'val'})[0]) == [
        *('lq', 'lq_path', 'victim', 'victim_path'),
    ]


def options_of(tmp_path, folders, **metrics):
    options = training_options(*pair_folders(tmp_path / 'training'))
    options['datasets']['val'] = section(folders)
    options['val'] = {'val_freq': 2, 'save_img': True, 'metrics': metrics}
    return options


FIDELITY = {
    'fidelity_psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'reference': 'victim'},
    'fidelity_lpips': {'type': 'calculate_lpips', 'crop_border': 0, 'reference': 'victim'},
    'quality_psnr': {'type': 'calculate_psnr', 'crop_border': 4},
    'quality_lpips': {'type': 'calculate_lpips', 'crop_border': 0},
    'quality_hf_psnr': {'type': 'calculate_hf_psnr', 'crop_border': 4},
}


def test_a_training_logs_fidelity_and_quality(tmp_path, folders, monkeypatch, log):
    from mea_plugin.basicsr.run.train import main

    learned.hide(monkeypatch, tmp_path)
    file = write_yaml(tmp_path / 'tiny.yml', options_of(tmp_path, folders, **FIDELITY))
    assert cli.run_tool(main, ['-opt', str(file), '--root', str(tmp_path)]) == 0
    run = tmp_path / 'experiments' / 'tiny'
    text = log()
    assert text.count('Validation Both') == 2
    for name in ('fidelity_psnr', 'quality_psnr', 'quality_hf_psnr'):
        assert len(re.findall(rf'# {name}: \d+\.\d+\tBest: \d+\.\d+ @ [24] iter', text)) == 2, name
    assert text.count('lpips: nan\tBest: inf @ -1 iter') == 4
    assert text.count('WARNING') == text.count('lpips_alex is NaN in this log') == 1
    assert text.index('WARNING') < text.index('Start training')
    assert (run / 'visualization' / 'bird' / 'bird_4.png').is_file()


BAD = [
    ({'dataroot_victim': None}, 'x.yml: val.metrics.fidelity_psnr', '', 'dataroot_victim'),
    ({'dataroot_victim': 'nowhere'}, 'victim', 'nowhere', ''),
    ({'dataroot_victim': 5}, 'x.yml: datasets.val.dataroot_victim', '5', ''),
    ({'dataroot_victims': 'x'}, 'x.yml: datasets.val', "'dataroot_victims'", "'dataroot_victim'"),
]


@pytest.mark.parametrize(('changes', 'where', 'quoted', 'do'), BAD)
def test_sections_that_cannot_work(tmp_path, folders, changes, where, quoted, do):
    options = options_of(tmp_path, folders, **FIDELITY)
    options['datasets']['val'] |= changes
    options['datasets']['val'] = {key: value for key, value in options['datasets']['val'].items() if value is not None}
    with refused(where, quoted, do=do):
        check_options(options, where='x.yml')


def test_folders_that_do_not_pair(tmp_path, folders):
    options = options_of(tmp_path, folders, **FIDELITY)
    check_options(options, where='x.yml')
    save(folders['gt'] / 'dog.png', photograph((48, 56)))
    with refused('x.yml: datasets.val', '3', '4', 'gt', "'dog'"):
        check_options(options, where='x.yml')
    (folders['gt'] / 'dog.png').unlink()
    save(folders['gt'] / 'cat.png', photograph((40, 56)))
    with refused('gt/cat.png', '56x40', '4'):
        check_options(options, where='x.yml')


def test_an_incomplete_query_set_is_refused(tmp_path, folders):
    manifest = folders['victim'].parent / 'manifest.json'
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'complete': False}))
    with refused(manifest.parent, do='tools/query.py'):
        check_options(options_of(tmp_path, folders, **FIDELITY), where='x.yml')


def test_it_is_not_for_training(tmp_path, folders):
    options = options_of(tmp_path, folders)
    train = options['datasets']['train']
    options['datasets']['train'] = {
        **{key: train[key] for key in ('batch_size_per_gpu', 'num_worker_per_gpu')},
        **section(folders),
    }
    with refused('x.yml: datasets.train.type', do='CachedPairedImageDataset'):
        check_options(options, where='x.yml')
