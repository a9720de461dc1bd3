"""MMagic's own data sets and loaders read what tools/prepare_data.py makes of a query set."""

from __future__ import annotations

import numpy as np
import pytest

from mea_plugin.core.images import read_rgb
from mea_plugin.query_sets.lmdb import export_lmdb
from mea_plugin.query_sets.mmagic_folders import export_mmagic
from tests.helpers import call_tool, photograph, refused
from tests.query_sets.sets import make_set

pytest.importorskip('mmagic')

SIZES = {'a': (12, 16), 'b': (14, 10), 'c': (9, 9)}


@pytest.fixture
def queries(tmp_path):
    return make_set(tmp_path / 'set', SIZES, scale=1)


def build(kind, **options):
    from mmagic.registry import DATASETS

    return DATASETS.build({'type': kind, 'test_mode': True, **options})


def test_pairs_for_pix2pix(queries, tmp_path):
    assert export_mmagic({'train': queries, 'test': queries}, tmp_path / 'out').made == 6
    load = {'type': 'LoadPairedImageFromFile', 'key': 'pair', 'domain_a': 'query', 'domain_b': 'response'}
    load |= {'color_type': 'color', 'channel_order': 'rgb'}
    for phase in ('train', 'test'):
        dataset = build('PairedImageDataset', data_root=str(tmp_path / 'out'), test_dir=phase, pipeline=[load])
        assert len(dataset) == 3
        for index, size in enumerate(SIZES.values()):
            np.testing.assert_array_equal(dataset[index]['img_query'], photograph(size, index))
            np.testing.assert_array_equal(dataset[index]['img_response'], photograph(size, index))


def test_left_is_the_query(tmp_path, queries):
    from mea_plugin.core.files import hash_array, read_json, write_json
    from mea_plugin.core.images import write_png

    manifest = read_json(queries / 'manifest.json')
    other = photograph(SIZES['a'], 9)
    write_png(queries / 'response' / '000000.png', other)
    manifest['pairs'][0]['response'] = hash_array(other)
    write_json(queries / 'manifest.json', manifest)
    export_mmagic({'train': queries}, tmp_path / 'out')
    found = read_rgb(tmp_path / 'out' / 'train' / '000000.png')
    np.testing.assert_array_equal(found, np.hstack([photograph(SIZES['a'], 0), other]))


def test_domains_for_cyclegan(queries, tmp_path):
    output = tmp_path / 'out'
    options = ('--train', queries, '--test', queries, '--layout', 'unpaired', '--jobs', 1, '--output', output)
    assert call_tool('prepare_data', 'mmagic', *options) == 0
    assert {path.name for path in output.iterdir()} == {'manifest.json', 'trainA', 'trainB', 'testA', 'testB'}
    loads = [
        {'type': 'LoadImageFromFile', 'key': f'img_{key}', 'color_type': 'color', 'channel_order': 'rgb'}
        for key in 'AB'
    ]
    dataset = build('UnpairedImageDataset', data_root=str(output), pipeline=loads)
    for index, size in enumerate(SIZES.values()):
        for key in 'AB':
            np.testing.assert_array_equal(dataset[index][f'img_{key}'], photograph(size, index))


def test_an_lmdb_through_mmagics_loader(queries, tmp_path):
    from mmagic.registry import TRANSFORMS

    export_lmdb(queries, tmp_path / 'out')
    backend = {'backend': 'lmdb', 'db_path': str(tmp_path / 'out' / 'response.lmdb')}
    load = TRANSFORMS.build({'type': 'LoadImageFromFile', 'key': 'gt', 'channel_order': 'rgb', 'backend_args': backend})
    for index, size in enumerate(SIZES.values()):
        np.testing.assert_array_equal(load({'gt_path': f'{index:06d}.png'})['gt'], photograph(size, index))


def test_what_mmagic_cannot_read_is_refused(tmp_path):
    queries = make_set(tmp_path / 'set', SIZES, scale=2)
    with refused('--test', '2', do='1'):
        export_mmagic({'test': queries}, tmp_path / 'out')
    (queries / 'query' / '000000.png').unlink()
    with refused('query/000000.png', do='tools/query.py'):
        export_mmagic({'train': queries}, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
