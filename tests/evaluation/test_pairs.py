"""Which ground truth belongs to which image, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.images import read_rgb, write_png
from mea_plugin.evaluation.pairs import EvaluationSet, check_pairs, list_pairs, load_pair
from tests.helpers import refused


def folders(tmp_path, lq, gt):
    for folder, names in (('lq', lq), ('gt', gt)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b'')
    return EvaluationSet('toy', tmp_path / 'lq', tmp_path / 'gt')


@pytest.mark.parametrize(
    ('lq', 'gt', 'names'),
    [
        (['b.png', 'a.png'], ['a.bmp', 'b.png'], ['a', 'b']),
        (['babyx4.png', 'birdx4.png'], ['baby.png', 'bird.png'], ['baby', 'bird']),
        (['img_001_SRF_4_LR.png', 'img_002_SRF_4_LR.png'], ['img_001_SRF_4_HR.png', 'img_002_SRF_4_HR.png'],
         ['img_001', 'img_002']),
        (['0801_LR_bicubic_x2.png'], ['0801_HR.png'], ['0801']),
        (['comic_lq.png'], ['comic_GT.jpg'], ['comic']),
        # equal names are taken as they are, suffix or not
        (['a_x2.png', 'a_x3.png'], ['a_x2.png', 'a_x3.png'], ['a_x2', 'a_x3']),
        # the suffix must be one: 'color' does not end in _lr, 'x4' alone is a name
        (['color.png', 'x4.png'], ['color_HR.png', 'x4_HR.png'], ['color', 'x4']),
    ],
)  # fmt: skip
def test_files_are_paired_by_name(tmp_path, lq, gt, names):
    test_set = folders(tmp_path, lq, gt)
    pairs = list_pairs(test_set)
    assert [pair.name for pair in pairs] == names
    assert sorted(pair.lq.name for pair in pairs) == sorted(lq)
    for pair in pairs:
        assert pair.lq.name.startswith(pair.name)
        assert pair.gt.name.startswith(pair.name)


def test_without_ground_truth_every_image_stands_alone(tmp_path):
    test_set = folders(tmp_path, ['b_LR.png', 'a_LR.png'], [])
    pairs = list_pairs(EvaluationSet('toy', test_set.lq))
    assert [(pair.name, pair.gt) for pair in pairs] == [('a_LR', None), ('b_LR', None)]


@pytest.mark.parametrize(
    ('lq', 'gt', 'where', 'quoted'),
    [
        (['a.png', 'b.png'], ['a.png'], '{folder}/lq/b.png', ('{folder}/gt', ' 1 ', ' 2')),
        (['a.png'], ['a.png', 'b.png'], '{folder}/gt/b.png', ('{folder}/lq', ' 1 ', ' 2')),
        (['1.png'], ['2.png'], '{folder}/lq/1.png', ('{folder}/gt',)),
        (['a.png', 'a.jpg'], ['a.png'], '{folder}/lq', ("'a.jpg'", "'a.png'", "'a'")),
        (['a_x2.png', 'a_x4.png'], ['a.png', 'b.png'], '{folder}/lq', ("'a_x2.png'", "'a_x4.png'", "'a'")),
        ([], ['a.png'], 'test_sets.toy.lq', ('{folder}/lq',)),
        (['a.png'], [], 'test_sets.toy.gt', ('{folder}/gt',)),
    ],
)
def test_what_has_no_partner_is_refused(tmp_path, lq, gt, where, quoted):
    with refused(where.format(folder=tmp_path), *(name.format(folder=tmp_path) for name in quoted)):
        list_pairs(folders(tmp_path, lq, gt), where='test_sets.toy')


def test_a_missing_folder_is_refused(tmp_path):
    with refused('toy.lq', str(tmp_path / 'nowhere')):
        list_pairs(EvaluationSet('toy', tmp_path / 'nowhere'), where='toy')


@pytest.mark.parametrize('more', [(0, 0), (1, 0), (0, 2), (2, 2)])
def test_a_slightly_larger_ground_truth_is_cut(make_set, more):
    folder = make_set(scale=3, gt_more=more)
    for pair in list_pairs(EvaluationSet('toy', folder / 'lq', folder / 'gt')):
        check_pairs([pair], scale=3, border=3)
        lq, gt = load_pair(pair, 3)
        assert gt.shape == (3 * lq.shape[0], 3 * lq.shape[1], 3)
        np.testing.assert_array_equal(gt, read_rgb(pair.gt)[: gt.shape[0], : gt.shape[1]])


@pytest.mark.parametrize('more', [(3, 0), (0, 3), (-1, 0), (0, -1)])
def test_any_other_size_is_refused_by_header_and_by_content(make_set, more):
    folder = make_set(scale=3, gt_more=more)
    pairs = list_pairs(EvaluationSet('toy', folder / 'lq', folder / 'gt'))
    sizes = f'{60 + more[1]}x{48 + more[0]}', ' 3 ', '20x16'
    with refused(pairs[0].gt, *sizes):
        check_pairs(pairs, scale=3, border=3)
    with refused(pairs[0].gt, *sizes):
        load_pair(pairs[0], 3)


def test_an_image_too_small_for_ssim_is_named(make_set):
    folder = make_set(sizes=((16, 16), (7, 30)))
    with refused(folder / 'lq' / '01.png', '60x14', do='15x15'):
        check_pairs(list_pairs(EvaluationSet('toy', folder / 'lq')), scale=2, border=2)


@pytest.mark.parametrize('mode', ['I;16', 'P', 'RGBA'])
def test_other_kinds_of_images_are_refused(make_set, mode):
    folder = make_set()
    path = folder / 'gt' / '01.png'
    size = Image.open(path).size
    Image.new(mode, size).save(path)
    with refused(path, do='8-bit RGB'):
        check_pairs(list_pairs(EvaluationSet('toy', folder / 'lq', folder / 'gt')), scale=2, border=2)


def test_a_truncated_image_is_refused(make_set):
    folder = make_set()
    path = folder / 'lq' / '02.png'
    path.write_bytes(path.read_bytes()[:-40])
    with refused(path):
        check_pairs(list_pairs(EvaluationSet('toy', folder / 'lq')), scale=2, border=2)


def test_no_ground_truth_loads_as_none(make_set):
    folder = make_set()
    (pair, *_) = list_pairs(EvaluationSet('toy', folder / 'lq'))
    lq, gt = load_pair(pair, 2)
    assert gt is None
    write_png(folder / 'again.png', lq)
    np.testing.assert_array_equal(read_rgb(folder / 'again.png'), lq)
