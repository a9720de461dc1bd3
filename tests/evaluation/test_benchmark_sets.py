"""Which folders are the published benchmarks, and what is said of those that are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.images import list_images
from mea_plugin.core.options import load_options
from mea_plugin.evaluation import EvaluationSet, evaluate_from_options
from mea_plugin.evaluation.benchmark_sets import BENCHMARKS, check_benchmark, find_benchmark, hash_names
from mea_plugin.evaluation.sets import check_sets
from tests.helpers import refused


@pytest.mark.parametrize(
    ('name', 'benchmark'),
    [
        ('Set5', 'Set5'),
        ('set14', 'Set14'),
        ('B100', 'BSD100'),
        ('BSDS100 x4', 'BSD100'),
        ('urban100_x2', 'Urban100'),
        ('DIV2K_valid_HR', 'DIV2K validation'),
        ('DIV2K-val', 'DIV2K validation'),
        ('manga109', 'Manga109'),
        ('Set50', None),
        ('photographs', None),
    ],
)
def test_a_test_set_is_known_by_its_name(name, benchmark):
    found = find_benchmark(name)
    assert (found.name if found else None) == benchmark


def test_every_benchmark_has_its_published_count():
    assert {one.name: one.count for one in BENCHMARKS} == {
        'Set5': 5,
        'Set14': 14,
        'BSD100': 100,
        'Urban100': 100,
        'Manga109': 109,
        'DIV2K validation': 100,
    }


def test_names_are_equal_up_to_how_copies_write_them():
    assert hash_names(['img_001', 'b']) == hash_names(['B', 'IMG-001']) == hash_names(['b', 'img001'])
    assert hash_names(["That'sIzumiko"]) == hash_names(['ThatsIzumiko_000'])
    assert hash_names(['img_001']) != hash_names(['img_010']) != hash_names(['img_100'])


def check(name, names, sizes, tmp_path):
    return check_benchmark(find_benchmark(name), [tmp_path / f'{one}.png' for one in names], sizes).notes


SET5 = ['baby', 'bird', 'butterfly', 'head', 'woman']
SIZES5 = [(512, 512), (288, 288), (256, 256), (280, 280), (344, 228)]


def test_a_copy_by_any_of_its_names_is_the_real_set(tmp_path):
    for names in (SET5, [f'{one}x4' for one in SET5], [f'img_{index:03d}_SRF_4_HR' for index in range(1, 6)]):
        assert check('Set5', names, SIZES5, tmp_path) == ()
    assert check('Set5', SET5, [(h // 3 * 3, w // 3 * 3) for h, w in SIZES5], tmp_path) == ()
    assert check('Set5', SET5, [], tmp_path) == ()  # without a ground truth there is no size to check
    assert check('DIV2K', [f'{index:04d}' for index in range(801, 901)], [(1356, 2040)] * 100, tmp_path) == ()
    assert check('Urban100', [f'img{index:03d}' for index in range(1, 101)], [(1024, 681)] * 100, tmp_path) == ()


def test_what_is_different_is_said(tmp_path):
    assert check('Set5', SET5[1:], SIZES5[1:], tmp_path) == ('4 images instead of 5',)
    assert check('Set5', [*SET5[:4], 'man'], SIZES5, tmp_path) == ('other names of images than any known copy',)
    assert check('Set5', SET5, SIZES5[::-1], tmp_path) == ('other sizes of images',)
    (note,) = check('Urban100', [f'img_{index:03d}' for index in range(1, 101)], [(512, 340)] * 100, tmp_path)
    assert 'reduced copy' in note
    (note,) = check('DIV2K_valid_HR', [f'{index:04d}' for index in range(801, 901)], [(678, 1020)] * 100, tmp_path)
    assert '2040' in note


@pytest.mark.parametrize(
    ('name', 'folder', 'real'),
    [
        ('Set5', 'Set5', True),
        ('Set14', 'Set14', True),
        ('BSD100', 'BSD100', True),
        ('Urban100', 'Urban100_half', False),
    ],
)
def test_real_copies_are_told_from_others(shared_data, name, folder, real):
    paths = list_images(shared_data / folder / 'HR')
    sizes = [Image.open(path).size[::-1] for path in paths]
    assert check_benchmark(find_benchmark(name), paths, sizes).is_real == real


def write(folder, name, mode='RGB', size=(40, 48)):
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(image).convert(mode).save(folder / f'{name}.png')


def test_grey_images_among_colour_ones_are_refused_but_in_a_benchmark(tmp_path):
    write(tmp_path / 'gt', 'a')
    write(tmp_path / 'gt', 'b', 'L')
    with refused(tmp_path / 'gt' / 'b.png', ' 1 ', do='RGB'):
        check_sets([EvaluationSet('mine', gt=tmp_path / 'gt')], scale=2, border=2)
    (checked,) = check_sets([EvaluationSet('Set14', gt=tmp_path / 'gt')], scale=2, border=2)
    assert not checked.benchmark.is_real
    write(tmp_path / 'grey', 'a', 'L')
    check_sets([EvaluationSet('mine', gt=tmp_path / 'grey')], scale=2, border=2)
    with refused(tmp_path / 'gt' / 'b.png', ' 1 ', do='RGB'):
        check_sets([EvaluationSet('mine', tmp_path / 'grey', target=tmp_path / 'gt')], scale=1, border=0)


def test_another_folder_of_that_name_is_noted_and_measured(tmp_path):
    for name in SET5:
        write(tmp_path / 'gt', name)
    options = {'scale': 2, 'test_sets': [{'name': 'Set5', 'gt': str(tmp_path / 'gt')}]}
    done = evaluate_from_options(options, tmp_path / 'out')
    assert '- Set5 is not the published Set5: other sizes of images.' in done.table
    (found,) = json.loads(done.paths.json.read_text())['test_sets']
    assert found['benchmark'] == {'name': 'Set5', 'is_real': False, 'notes': ['other sizes of images']}


def test_low_resolution_images_are_made_where_there_are_none(tmp_path):
    from mea_plugin.core.images import read_rgb, write_png
    from mea_plugin.data.resize import downscale

    for size, name in (((40, 48), 'a'), ((43, 50), 'b')):
        write(tmp_path / 'gt', name, size=size)
        write_png(tmp_path / 'lq' / f'{name}.png', downscale(read_rgb(tmp_path / 'gt' / f'{name}.png'), 3))
    options = {'scale': 3, 'name': 'x', 'test_sets': [{'name': 'toy', 'gt': str(tmp_path / 'gt')}]}
    made = evaluate_from_options(options, tmp_path / 'made').result
    options['test_sets'][0]['lq'] = str(tmp_path / 'lq')
    given = evaluate_from_options(options, tmp_path / 'given').result
    assert made.sets == given.sets
    with refused('test_sets.toy', 'toy', 'lq', do='lq') as caught:
        evaluate_from_options(
            {'victim': {'type': 'bicubic', 'scale': 1}, 'test_sets': [{'name': 'toy', 'gt': str(tmp_path / 'gt')}]},
            tmp_path / 'none',
        )
    assert 'gt' not in caught.value.do  # as it would be enlarged by nothing


PUBLISHED = {
    'Set5': (28.42, 0.8104, 0.02, 1e-3),
    'Set14': (26.00, 0.7027, 0.10, 3e-3),
    'BSD100': (25.96, 0.6675, 0.02, 1e-3),
}


def test_bicubic_gives_the_published_figures(root, shared_data, tmp_path):
    options = load_options(root / 'options' / 'evaluate' / 'benchmarks_x4.yml')
    for one in options['test_sets']:
        one['gt'] = one['gt'].replace('datasets', str(shared_data))
    options['metrics'] = ['psnr_y', 'ssim_y']
    result = evaluate_from_options(options, tmp_path / 'out').result
    assert result.protocol.border == 4
    assert [one.name for one in result.sets] == list(PUBLISHED)
    for one in result.sets:
        means = one.quality['bicubic'].means
        psnr, ssim, psnr_off, ssim_off = PUBLISHED[one.name]
        assert means['psnr_y'].value == pytest.approx(psnr, abs=psnr_off)
        assert means['ssim_y'].value == pytest.approx(ssim, abs=ssim_off)
        assert one.benchmark.is_real
