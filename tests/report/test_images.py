"""Which pictures are embedded, that their pixels are kept, and which are refused."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.images import read_rgb
from mea_plugin.report.images import embed, evenly, list_pictures
from mea_plugin.report.sources import Source, read_results
from tests.helpers import refused
from tests.report.results import make_evaluation, paint


def source_of(folder: Path) -> Source:
    return read_results([folder]).sources[0]


@pytest.mark.parametrize(
    ('count', 'limit', 'expected'),
    [(10, 3, [1, 5, 8]), (10, 1, [5]), (3, 3, [0, 1, 2]), (3, 9, [0, 1, 2]), (3, None, [0, 1, 2]), (5, 0, [])],
)
def test_images_are_picked_evenly(count: int, limit: int | None, expected: list[int]):
    assert evenly(range(count), limit) == expected


def test_the_limit_is_for_each_set(tmp_path: Path):
    folder = make_evaluation(tmp_path, count=5, size=(8, 8), sets=('a', 'b'))
    chosen = list_pictures(source_of(folder), 2)
    assert [(one.set_name, one.image) for one in chosen] == [
        *(('a', 'img_001'), ('a', 'img_003'), ('b', 'img_001'), ('b', 'img_003')),
    ]
    assert list(chosen[0].files) == [
        *('query', 'truth', 'model:bicubic', 'model:victim', 'model:baseline', 'model:proposed'),
    ]


def test_embedded_pixels_are_those_of_the_files_and_equal_pictures_are_there_once(tmp_path: Path):
    folder = make_evaluation(tmp_path, count=2, size=(20, 26))
    paint(folder, {'bicubic': (1, 2, 3)})
    pictures = list_pictures(source_of(folder), None)
    seen: list[Any] = []
    described, blobs = embed(pictures, lambda picture, arrays: seen.append((picture.image, set(arrays))))
    assert [image for image, _ in seen] == ['img_000', 'img_001']
    by_key = {blob.key: blob for blob in blobs}
    assert len(blobs) == len(by_key) == 2 * 5 + 1
    assert described[0]['blobs']['model:bicubic'] == described[1]['blobs']['model:bicubic']
    for picture, found in zip(pictures, described, strict=True):
        assert (found['image'], found['width'], found['height']) == (picture.image, 26, 20)
        for name, path in picture.files.items():
            blob = by_key[found['blobs'][name]]
            with Image.open(io.BytesIO(base64.b64decode(blob.text))) as image:
                assert Image.MIME[image.format] == blob.kind == 'image/webp'
                assert np.array_equal(np.array(image), read_rgb(path))


def test_a_picture_too_large_for_webp_is_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('mea_plugin.report.images._WEBP_SIDE', 19)
    _, blobs = embed(list_pictures(source_of(make_evaluation(tmp_path, count=1, size=(20, 20))), None))
    assert {blob.kind for blob in blobs} == {'image/png', 'image/webp'}, 'the query is smaller'


def broken(folder: Path, how: str) -> None:
    path = folder / 'images' / 'toys' / 'img_000' / 'victim.png'
    if how == 'missing':
        path.unlink()
    elif how == 'damaged':
        path.write_bytes(path.read_bytes()[:100])
    elif how == 'size':
        Image.new('RGB', (10, 8)).save(path)
    else:
        Image.new('RGB', (5, 8)).save(path.with_name('query.png'))


@pytest.mark.parametrize(
    ('how', 'where', 'quoted'),
    [
        ('missing', 'evaluation.json', ['images/toys/img_000/victim.png']),
        ('damaged', 'images/toys/img_000/victim.png', []),
        ('size', 'images/toys/img_000/victim.png', ['10x8', '20x16']),
        ('query', 'images/toys/img_000/query.png', ['5x8', '20x16']),
    ],
)
def test_a_picture_that_cannot_be_used_is_named(tmp_path: Path, how: str, where: str, quoted: list[str]):
    folder = make_evaluation(tmp_path, count=1, size=(16, 20))
    broken(folder, how)
    with refused(folder / where, *quoted):
        embed(list_pictures(source_of(folder), None))


@pytest.mark.parametrize(
    'path', ['{folder}/secret.png', '../secret.png', 'images/../../secret.png', 'images\\..\\secret.png']
)
def test_pictures_outside_the_folder_are_not_published(tmp_path: Path, capsys: pytest.CaptureFixture, path: str):
    path = path.format(folder=tmp_path)

    def change(content: dict) -> None:
        content['pictures'][0]['truth'] = path

    folder = make_evaluation(tmp_path / 'evaluation', count=2, change=change)
    Image.new('RGB', (8, 8)).save(folder / path)  # so it is not refused for being missing
    (shown,) = list_pictures(source_of(folder), None)
    assert shown.image == 'img_001'
    (said,) = capsys.readouterr().err.splitlines()
    assert str(folder / 'evaluation.json') in said
    assert path in said


@pytest.mark.parametrize('part', ['images', 'images/toys', 'images/toys/img_000', 'images/toys/img_000/victim.png'])
def test_no_link_leads_outside_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture, part: str):
    folder = make_evaluation(tmp_path / 'evaluation', count=1)
    (folder / part).rename(tmp_path / 'private')
    (folder / part).symlink_to(tmp_path / 'private')
    assert list_pictures(source_of(folder), None) == []
    (said,) = capsys.readouterr().err.splitlines()
    assert 'link' in said


def test_a_link_inside_the_folder_is_followed(tmp_path: Path):
    folder = make_evaluation(tmp_path / 'evaluation', count=1)
    path = folder / 'images' / 'toys' / 'img_000' / 'victim.png'
    path.rename(folder / 'v.png')
    path.symlink_to('../../../v.png')
    (tmp_path / 'other').symlink_to(folder)  # which the user has given
    for one in (folder, tmp_path / 'other'):
        (picture,) = list_pictures(source_of(one), None)
        assert picture.files['model:victim'].samefile(folder / 'v.png')
