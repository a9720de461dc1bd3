"""Where images come from: folders and the embedded photographs."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from mea_plugin.data.embedded import SPLITS, photographs
from mea_plugin.data.sources import image_source, merge_sources
from tests.helpers import photograph, refused, save

# First digits of the content's hash: results are comparable only where these are the photographs.
HASHES = {
    'astronaut': 'cc13a7e7',
    'brick': 'f92ccc06',
    'camera': '1ede58f7',
    'chelsea': 'e1b0b0f5',
    'coffee': 'ec4931bd',
    'coins': 'e0677db8',
    'grass': '351163c0',
    'gravel': 'fdd2a1a7',
    'hubble_deep_field': '10380e0d',
    'ihc': 'a7dc44bb',
    'moon': 'f74be478',
    'motorcycle_left': '035fa6a7',
    'motorcycle_right': '46518f2c',
    'retina': '3eb9932c',
    'rocket': 'e1da8815',
}


def test_the_split_is_what_it_was_when_results_were_published():
    assert {split: len(names) for split, names in SPLITS.items()} == {'query': 11, 'test': 4}
    assert not set(SPLITS['query']) & set(SPLITS['test'])
    assert {'motorcycle_left.png', 'motorcycle_right.png'} <= set(SPLITS['query'])
    found = {name: hash_array(read_rgb(path))[:8] for split in SPLITS for name, path in photographs(split).items()}
    assert found == HASHES


@pytest.mark.parametrize('split', SPLITS)
def test_embedded_photographs_are_sorted_and_usable(split):
    found = image_source(f'embedded:{split}', where='queries.images')
    assert list(found) == sorted(found)
    assert {path.name for path in found.values()} == set(SPLITS[split])


def test_test_photographs_are_in_colour():
    for path in photographs('test').values():
        image = read_rgb(path).astype(int)
        assert np.abs(image[..., 0] - image[..., 2]).mean() > 1, path


def test_an_unknown_split_is_refused():
    with refused('queries.images', "'tests'", do="'test'"):
        image_source('embedded:tests', where='queries.images')
    with refused('', "''", do=('query', 'test')):
        image_source('embedded:')


def test_a_scikit_image_without_a_photograph(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)
    with refused('opt', 'scikit-image', 'astronaut.png'):
        photographs('test', where='opt')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with refused('', 'skimage', do='pip install scikit-image'):
        photographs('test')


def test_a_folder_by_name_without_extension(tmp_path):
    for name in ('b.x.png', 'a.jpg', 'C.png'):
        save(tmp_path / name, photograph((4, 4)))
    assert {name: path.name for name, path in image_source(tmp_path).items()} == {
        'C': 'C.png', 'a': 'a.jpg', 'b.x': 'b.x.png',
    }  # fmt: skip
    assert list(image_source(str(tmp_path))) == ['C', 'a', 'b.x']
    save(tmp_path / 'a.png', photograph((4, 4)))
    with refused('opt', '/a.jpg', '/a.png', "'a'"):
        image_source(tmp_path, where='opt')


def test_a_missing_folder_is_named(tmp_path):
    with refused('opt', str(tmp_path / 'none')):
        image_source(tmp_path / 'none', where='opt')


def test_sources_together(tmp_path):
    save(tmp_path / 'one' / 'a.png', photograph((4, 4)))
    save(tmp_path / 'two' / 'b.png', photograph((4, 4)))
    assert list(merge_sources([tmp_path / 'two', tmp_path / 'one', 'embedded:test'])) == [
        'a', 'astronaut', 'b', 'chelsea', 'coffee', 'rocket',
    ]  # fmt: skip
    save(tmp_path / 'two' / 'a.bmp', photograph((4, 4)))
    with refused('', 'one/a.png', 'two/a.bmp', "'a'"):
        merge_sources([tmp_path / 'one', tmp_path / 'two'])
