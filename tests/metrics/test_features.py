"""Features of sets of images: their statistics against numpy, memory, and the cache's hits, misses and damages."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.metrics.feature_cache import FeatureCache
from mea_plugin.metrics.features import ImageFeatures
from tests.helpers import refused


class Counted:
    """Random features that depend on the pixels, and how often they were computed."""

    def __init__(self, size: int = 5, fingerprint: str = 'a'):
        self.size, self.fingerprint, self.calls = size, fingerprint, 0

    def extract(self, image: np.ndarray) -> np.ndarray:
        self.calls += 1
        seed = hashlib.sha256(self.fingerprint.encode() + image.tobytes()).digest()
        return (100 + np.random.default_rng(list(seed)).normal(size=self.size)).astype(np.float32)


def distinct(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 4, 3, 3), dtype=np.uint8))


def collected(pictures: list[np.ndarray], cache: Path | None = None, extractor: Counted | None = None) -> ImageFeatures:
    features = ImageFeatures(extractor or Counted(), cache)
    for picture in pictures:
        features.add(picture)
    return features


def test_mean_covariance_and_rows_are_numpys():
    pictures = distinct(600)  # more than two blocks
    features = collected(pictures)
    extractor = Counted()
    rows = np.stack([extractor.extract(picture) for picture in sorted(pictures, key=hash_array)])
    assert features.count == 600
    np.testing.assert_array_equal(features.rows(range(600)), rows)
    np.testing.assert_array_equal(features.rows([599, 3, 3]), rows[[599, 3, 3]])
    assert features.rows([1]).dtype == np.float32
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(features.mean(), wide.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(features.covariance(), np.cov(wide, rowvar=False), rtol=1e-10, atol=1e-12)


def test_statistics_follow_images_that_are_added_later():
    pictures = distinct(20)
    features = collected(pictures[:10])
    before = features.mean(), features.covariance(), features.rows(range(10))
    for picture in pictures[10:]:
        features.add(picture)
    whole = collected(pictures)
    assert not np.array_equal(features.mean(), before[0])
    np.testing.assert_array_equal(features.mean(), whole.mean())
    np.testing.assert_array_equal(features.covariance(), whole.covariance())
    np.testing.assert_array_equal(features.rows(range(20)), whole.rows(range(20)))


def test_neither_order_nor_threads_matter():
    pictures = distinct(300)
    first, second = collected(pictures), ImageFeatures(Counted())
    parts = [pictures[::-1][number::4] for number in range(4)]

    def work(part: list[np.ndarray]) -> None:
        for picture in part:
            second.add(picture)

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert second.count == 300
    np.testing.assert_array_equal(first.rows(range(300)), second.rows(range(300)))
    np.testing.assert_array_equal(first.mean(), second.mean())
    np.testing.assert_array_equal(first.covariance(), second.covariance())


def test_too_few_images_have_no_statistics():
    assert np.isnan(collected([]).mean()).all()
    assert np.isfinite(collected(distinct(1)).mean()).all()
    assert np.isnan(collected(distinct(1)).covariance()).all()
    assert collected([]).rows([]).shape == (0, 5)


def test_memory_does_not_grow_with_the_set(tmp_path: Path):
    features = ImageFeatures(Counted(size=512), tmp_path)
    pictures = distinct(700)
    for picture in pictures[:50]:
        features.add(picture)
    tracemalloc.start()
    try:
        for picture in pictures[50:]:
            features.add(picture)
        features.mean()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000  # the 650 rows have 1.3 million bytes
    assert peak < 256 * 512 * 30  # of one block of rows, in several precisions


def test_grey_images_are_refused():
    with pytest.raises(ValueError, match=r'uint8 \(4, 4\)'):
        ImageFeatures(Counted()).add(np.zeros((4, 4), np.uint8))


def test_a_second_run_computes_nothing(tmp_path: Path):
    pictures = distinct(8)
    first = collected([*pictures, pictures[0]], tmp_path / 'cache')
    assert first.extractor.calls == 8
    first.close()
    second = collected(pictures, tmp_path / 'cache')
    assert second.extractor.calls == 0
    np.testing.assert_array_equal(first_rows(pictures), second.rows(range(8)))


def first_rows(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([Counted().extract(picture) for picture in sorted(pictures, key=hash_array)])


def test_what_differs_is_computed_again(tmp_path: Path):
    pictures = distinct(8)
    collected(pictures, tmp_path)
    pictures[3][0, 0, 0] ^= 1
    assert collected(pictures, tmp_path).extractor.calls == 1
    assert collected(pictures, tmp_path, Counted(fingerprint='b')).extractor.calls == 8
    # The same bytes in another shape are another image.
    assert collected([pictures[0].reshape(3, 4, 3)], tmp_path).extractor.calls == 1
    assert collected(pictures, tmp_path, Counted(size=6)).extractor.calls == 8


@pytest.mark.parametrize('damage', ['no database', 'cut', 'overwritten'])
def test_a_damaged_cache_is_set_aside(damage: str, tmp_path: Path):
    pictures = distinct(60)
    collected(pictures, tmp_path, Counted(size=300)).close()
    path = tmp_path / 'features.sqlite'
    content = path.read_bytes()
    if damage == 'no database':
        path.write_bytes(b'something else entirely' * 100)
    elif damage == 'cut':
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:4096] + b'\xff' * (len(content) - 4096))
    with pytest.warns(UserWarning, match=r'features\.sqlite\.damaged-'):
        features = collected(pictures, tmp_path, Counted(size=300))
    assert features.extractor.calls == 60
    assert len(list(tmp_path.glob('features.sqlite.damaged-*'))) == 1
    assert collected(pictures, tmp_path, Counted(size=300)).extractor.calls == 0


def test_who_finds_the_damage_second_leaves_the_new_file_alone(tmp_path: Path):
    row = np.arange(600, dtype=np.float32)
    first, second = FeatureCache(tmp_path), FeatureCache(tmp_path)
    first.put('image 1', 'x', row)
    size = (tmp_path / 'features.sqlite').stat().st_size
    (tmp_path / 'features.sqlite').write_bytes(b'?' * size)
    with pytest.warns(UserWarning, match=r'features\.sqlite\.damaged-'):
        assert first.get('image 1', 'x') is None
    first.put('new', 'x', row)
    assert second.get('image 1', 'x') is None  # reads the damaged file, which has another name by now
    np.testing.assert_array_equal(second.get('new', 'x'), row)
    assert len(list(tmp_path.iterdir())) == 2
    first.close()
    second.close()


def test_a_damaged_row_is_computed_again(tmp_path: Path):
    pictures = distinct(4)
    collected(pictures, tmp_path).close()
    with sqlite3.connect(tmp_path / 'features.sqlite') as database:
        database.execute('UPDATE features SET row = zeroblob(20) WHERE image = ?', (hash_array(pictures[2]),))
    database.close()
    features = collected(pictures, tmp_path)
    assert features.extractor.calls == 1
    np.testing.assert_array_equal(features.rows(range(4)), first_rows(pictures))
    assert collected(pictures, tmp_path).extractor.calls == 0


def test_a_cache_that_cannot_be_used_warns_once_and_the_run_goes_on(tmp_path: Path):
    (tmp_path / 'features.sqlite').mkdir()
    pictures = distinct(4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        features = collected(pictures, tmp_path)
    (warning,) = caught
    assert str(warning.message).startswith(f'{tmp_path / "features.sqlite"}: ')
    np.testing.assert_array_equal(features.rows(range(4)), first_rows(pictures))


def test_two_runs_at_once_share_a_cache(tmp_path: Path):
    pictures = distinct(40)
    runs = [ImageFeatures(Counted(), tmp_path) for _ in range(2)]

    def work(run: ImageFeatures) -> None:
        for picture in pictures:
            run.add(picture)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        np.testing.assert_array_equal(run.rows(range(40)), first_rows(pictures))
    assert collected(pictures, tmp_path).extractor.calls == 0


def test_a_cache_that_is_a_file(tmp_path: Path):
    (tmp_path / 'cache').touch()
    with refused(tmp_path / 'cache'):
        ImageFeatures(Counted(), tmp_path / 'cache')
