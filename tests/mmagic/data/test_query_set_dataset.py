"""The data set that gives pairs, and the loader that keeps decoded images."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mea_plugin.core.images import read_rgb
from tests.helpers import photograph, refused, save

pytest.importorskip('mmagic')

KEYS = ('img_query', 'paired_response', 'img_response', 'paired_query')


@pytest.fixture
def folder(tmp_path):
    """Four pairs; a response is its query upside down, so that a pair can be told."""
    for index in range(4):
        image = photograph((40, 48), index)
        save(tmp_path / 'query' / f'{index:06d}.png', image)
        save(tmp_path / 'response' / f'{index:06d}.png', image[::-1].copy())
    return tmp_path


def build(folder, transforms=(), **options):
    from mmagic.registry import DATASETS

    return DATASETS.build(
        {'type': 'QuerySetDataset', 'data_root': str(folder), 'pipeline': list(transforms), **options}
    )


def test_pairs_in_order(folder):
    dataset = build(folder)
    assert len(dataset) == 4
    for index in range(4):
        item = dataset[index]
        assert item['img_query_path'] == str(folder / 'query' / f'{index:06d}.png')
        assert item['img_response_path'] == str(folder / 'response' / f'{index:06d}.png')
        assert 'paired_query_path' not in item


def test_unpaired_keeps_what_belongs_together(folder):
    dataset = build(folder, unpaired=True)
    others = set()
    for _ in range(20):
        for index in range(4):
            paths = dataset[index]
            name = f'{index:06d}.png'
            assert paths['img_query_path'] == str(folder / 'query' / name)
            assert paths['paired_response_path'] == str(folder / 'response' / name)
            other = paths['img_response_path'].rsplit('/', 1)[1]
            assert paths['paired_query_path'] == str(folder / 'query' / other)
            others.add((name, other))
    assert len(others) == 16


def test_in_test_mode_nothing_is_drawn(folder):
    dataset = build(folder, unpaired=True, test_mode=True)
    for index in range(4):
        assert dataset[index]['img_response_path'] == dataset[index]['paired_response_path']


@pytest.mark.parametrize('load', ['LoadImageFromFile', 'LoadCachedImageFromFile'])
def test_each_pair_under_one_augmentation(folder, load):
    """A flip left to right and a crop keep a response the query upside down only if both get the same."""
    transforms = [{'type': load, 'key': key, 'channel_order': 'rgb'} for key in KEYS]
    for pair in (list(KEYS[:2]), list(KEYS[2:])):
        transforms.append({'type': 'FixedCrop', 'keys': pair, 'crop_size': (40, 24)})
        transforms.append({'type': 'Flip', 'keys': pair, 'direction': 'horizontal'})
    dataset = build(folder, transforms, unpaired=True)
    crops = set()
    for index in [0, 1, 2, 3] * 5:
        item = dataset[index]
        assert np.array_equal(item['img_query'][::-1], item['paired_response'])
        assert np.array_equal(item['img_response'][::-1], item['paired_query'])
        crops.add(item['img_query'].tobytes())
    assert len(crops) > 8


def test_the_cache_holds_what_is_in_the_files(folder):
    """Though MMagic's Flip works in place."""
    load = {'type': 'LoadCachedImageFromFile', 'key': 'img_query', 'channel_order': 'rgb'}
    flip = {'type': 'Flip', 'keys': ['img_query'], 'direction': 'horizontal', 'flip_ratio': 1.0}
    dataset = build(folder, [load, flip])
    expected = read_rgb(folder / 'query' / '000001.png')[:, ::-1]
    for _ in range(3):
        assert np.array_equal(dataset[1]['img_query'], expected)
    (folder / 'query' / '000001.png').unlink()
    assert np.array_equal(dataset[1]['img_query'], expected)


def test_a_full_cache_reads_on(folder):
    load = {'type': 'LoadCachedImageFromFile', 'key': 'img_query', 'channel_order': 'rgb', 'cache_mb': 0}
    dataset = build(folder, [load])
    for index in (0, 0, 3):
        assert np.array_equal(dataset[index]['img_query'], read_rgb(folder / 'query' / f'{index:06d}.png'))


def remove_a_response(folder):
    (folder / 'response' / '000002.png').unlink()


def rename_a_response(folder):
    (folder / 'response' / '000002.png').rename(folder / 'response' / '000009.png')


def resize_a_response(folder):
    save(folder / 'response' / '000001.png', photograph((80, 96)))


def leave_it_incomplete(folder):
    (folder / 'manifest.json').write_text(json.dumps({'description': {}, 'names': [], 'complete': False}))


def empty_it(folder):
    for path in (folder / 'query').iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ('fault', 'where', 'quoted', 'do'),
    [
        (remove_a_response, '', "4 3 '000002.png'", ''),
        (rename_a_response, '', "4 '000002.png'", ''),
        (resize_a_response, 'response/000001.png', '1', 'tools/prepare_data.py'),
        (leave_it_incomplete, '', '', 'tools/query.py'),
        (empty_it, 'dataset.data_root', '/query', '.png'),
    ],
)
def test_bad_folders(folder, fault, where, quoted, do):
    fault(folder)
    with refused(where or folder, *quoted.split(), do=do):
        build(folder)


def test_no_folder(tmp_path):
    with refused('dataset.data_root', 'nowhere'):
        build(tmp_path / 'nowhere')


def test_one_random_order_of_channels_for_all_images(folder):
    steps = [{'type': 'LoadCachedImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in KEYS[:2]]
    dataset = build(folder, [*steps, {'type': 'RandomChannelOrder', 'keys': list(KEYS[:2])}], unpaired=True)
    image = read_rgb(folder / 'query' / '000001.png')
    orders = set()
    for _ in range(40):
        item = dataset[1]
        assert np.array_equal(item['img_query'][::-1], item['paired_response'])
        same = [[np.array_equal(item['img_query'][..., c], image[..., i]) for i in range(3)] for c in range(3)]
        orders.add(tuple(row.index(True) for row in same))
    assert len(orders) == 6
