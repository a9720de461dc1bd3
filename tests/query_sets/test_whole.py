"""A query set whose images are other ones than its manifest notes is not trained on."""

import pytest

from mea_plugin.core.images import write_png
from mea_plugin.query_sets.layout import check_complete, check_whole, list_pairs
from tests.helpers import photograph, refused
from tests.query.http_runs import make_images, run
from tests.victims.http.service import SCALE, Service


@pytest.fixture
def folder(tmp_path):
    with Service() as service:
        return run(service, make_images(tmp_path / 'images', 3), tmp_path).folder


def test_it_is_read_once_while_the_files_stay(folder, monkeypatch):
    from mea_plugin.query_sets import layout

    check_whole(folder)
    monkeypatch.setattr(layout, 'read_rgb', lambda path: pytest.fail(f'{path} was read again'))
    check_whole(folder)


@pytest.mark.parametrize('side', ['query', 'response'])
def test_another_image_of_the_same_size_is_seen(folder, side):
    check_whole(folder)
    file = folder / side / '000001.png'
    height, width = (9, 10) if side == 'query' else (9 * SCALE, 10 * SCALE)
    write_png(file, photograph((height, width), 77))
    check_complete(folder)
    with refused(file, 'manifest.json', do='--verify'):
        check_whole(folder)
    with refused(file, 'manifest.json'):
        list_pairs(folder / 'query', folder / 'response', scale=SCALE)
