"""Defences on the answer: what each does to pixels, by the equation or another library."""

from __future__ import annotations

import io

import numpy as np
import pytest
import pywt
from PIL import Image

from mea_plugin.defences import build_defences, defence_types, register_defence
from mea_plugin.defences.noise import DetailNoise
from tests.helpers import photograph, refused

KEY = 'a key of the tests'
EXAMPLES = {
    'detail_noise': {'key': KEY},
    'invisible_watermark': {'key': KEY},
    'jpeg': {'quality': 30},
    'levels': {'levels': 8},
    'noise': {'key': KEY},
    'resize': {'factor': 3},
    'visible_watermark': {'text': 'mea', 'tiled': True},
}
QUERY = photograph((40, 56))
ANSWER = photograph((160, 224), seed=1)


def build(kind, **options):
    return build_defences([{'type': kind, **options}])[0]


def test_every_type_has_an_example():
    assert sorted(EXAMPLES) == defence_types()


@pytest.mark.parametrize('kind', EXAMPLES)
@pytest.mark.parametrize('size', [(40, 56), (1, 1), (1, 7), (33, 5)])
def test_answers_keep_size_and_type_and_inputs_stay(kind, size):
    query = photograph((64, 64))[: size[0], : size[1]]
    answer = np.repeat(np.repeat(query, 4, axis=0), 4, axis=1)
    query_before, answer_before = query.copy(), answer.copy()
    found = build(kind, **EXAMPLES[kind]).apply(query, answer, 0)
    assert (found.shape, found.dtype) == (answer.shape, np.uint8)
    np.testing.assert_array_equal(query, query_before)
    np.testing.assert_array_equal(answer, answer_before)


@pytest.mark.parametrize('kind', EXAMPLES)
def test_deterministic_and_not_the_answer_itself(kind):
    first, second = (build(kind, **EXAMPLES[kind]).apply(QUERY, ANSWER, 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.mean(first != ANSWER) > 0.01
    assert build(kind, **EXAMPLES[kind]).describe() == build(kind, **EXAMPLES[kind]).describe()


def test_jpeg_is_what_pillow_makes():
    buffer = io.BytesIO()
    Image.fromarray(ANSWER).save(buffer, 'JPEG', quality=30)
    expected = np.asarray(Image.open(buffer), np.int16)
    found = build('jpeg', quality=30).apply(QUERY, ANSWER, 0)
    assert np.abs(found - expected).mean() < 0.5


@pytest.mark.parametrize('levels', [2, 3, 8, 255, 256])
def test_levels_are_so_many_and_the_nearest(levels):
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    found = build('levels', levels=levels).apply(ramp, ramp, 0)
    assert len(np.unique(found)) == levels
    assert {0, 255} <= set(found.ravel().tolist())
    assert np.abs(found.astype(int) - ramp).max() <= 255 / (levels - 1) / 2 + 1
    if levels == 256:
        np.testing.assert_array_equal(found, ramp)


def test_resize_takes_the_finest_detail_alone():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 200
    answer = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert np.ptp(build('resize', factor=2).apply(answer, answer, 0)[8:-8, 8:-8]) <= 2
    smooth = np.full((64, 64, 3), 90, np.uint8)
    np.testing.assert_array_equal(build('resize', factor=2.5).apply(smooth, smooth, 0), smooth)


@pytest.mark.parametrize('kind', ['noise', 'detail_noise'])
def test_noise_has_its_sigma_and_depends_on_key_image_and_count(kind):
    grey = np.full((256, 256, 3), 128, np.uint8)
    keyed = build(kind, sigma=6, key=KEY)
    noise = keyed.apply(QUERY, grey, 0).astype(float) - grey
    assert noise.std() == pytest.approx(6, rel=0.03)
    assert abs(noise.mean()) < 0.1
    np.testing.assert_array_equal(keyed.apply(QUERY, grey, 7), keyed.apply(QUERY, grey, 0))
    other_query = QUERY.copy()
    other_query[0, 0, 0] ^= 1
    fresh = build(kind, sigma=6, key=KEY, repeat='fresh')
    others = [
        keyed.apply(other_query, grey, 0),
        build(kind, sigma=6, key='another key').apply(QUERY, grey, 0),
        fresh.apply(QUERY, grey, 0),
        fresh.apply(QUERY, grey, 1),
    ]
    for other in others:
        assert abs(np.corrcoef(noise.ravel(), (other.astype(float) - grey).ravel())[0, 1]) < 0.05


def test_the_mean_of_repeated_queries_gains_only_where_noise_is_fresh():
    def error(repeat):
        defence = build('noise', sigma=8, key=KEY, repeat=repeat)
        mean = np.mean([defence.apply(QUERY, ANSWER, count).astype(float) for count in range(16)], axis=0)
        return np.sqrt(((mean - ANSWER) ** 2).mean())

    once = np.sqrt(((build('noise', sigma=8, key=KEY).apply(QUERY, ANSWER, 0).astype(float) - ANSWER) ** 2).mean())
    assert error('keyed') == pytest.approx(once)
    assert error('fresh') < once / 3


@pytest.mark.parametrize('wave', ['haar', 'db3', 'sym4'])
@pytest.mark.parametrize('level', [1, 2, 3])
def test_detail_noise_has_nothing_in_the_approximation(wave, level):
    """`_details` is a projection; for Haar, PyWavelets finds no approximation in what it leaves."""
    white = np.random.default_rng(0).standard_normal((192, 256), dtype=np.float32)
    defence = DetailNoise(level=level, wave=wave, key=KEY)
    once = defence._details(white)
    inner = (slice(64, -64),) * 2
    np.testing.assert_allclose(defence._details(once)[inner], once[inner], atol=2e-5)
    assert once[inner].var() == pytest.approx(1 - 4.0**-level, abs=0.05)
    if wave == 'haar':
        assert np.abs(pywt.wavedec2(once, wave, level=level)[0]).max() < 1e-4


def test_the_visible_watermark_is_seen_and_where_it_should_be():
    grey = np.full((120, 200, 3), 100, np.uint8)
    changed = np.any(build('visible_watermark', text='sample').apply(grey, grey, 0) != grey, axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 60
    assert 0.3 * 200 < np.ptp(columns) < 0.5 * 200
    tiled = np.any(build('visible_watermark', text='sample', tiled=True).apply(grey, grey, 0) != grey, axis=2)
    quarters = [tiled[:60, :100], tiled[:60, 100:], tiled[60:, :100], tiled[60:, 100:]]
    assert all(quarter.mean() > 0.02 for quarter in quarters)


@pytest.mark.parametrize('scale', [1, 4])
def test_the_invisible_watermark_is_weak_follows_the_query_and_turns_with_it(scale):
    defence = build('invisible_watermark', amplitude=2, key=KEY)
    grey = np.full((40 * scale, 56 * scale, 3), 128, np.uint8)
    mark = defence.apply(QUERY, grey, 0).astype(float) - grey
    assert 0.3 < mark.std() < 3
    flat = np.full_like(QUERY, 77)
    np.testing.assert_array_equal(defence.apply(flat, grey, 0), grey)
    turned = defence.mark.draw(np.ascontiguousarray(np.rot90(QUERY)[:, ::-1]), scale)
    np.testing.assert_allclose(np.rot90(turned[:, ::-1], -1), defence.mark.draw(QUERY, scale), atol=1e-4)


@pytest.mark.parametrize(
    ('entry', 'where', 'quoted', 'do'),
    [
        ({'type': 'jpeg', 'quality': 0}, '[0].quality', '0', '100'),
        ({'type': 'jpeg', 'quality': 101}, '[0].quality', '101', '100'),
        ({'type': 'jpg'}, '[0].type', "'jpg'", "'jpeg'"),
        ({'quality': 3}, '[0]', '', 'jpeg'),
        ({'type': 'levels', 'levels': 1}, '[0].levels', '1', '256'),
        ({'type': 'levels', 'level': 8}, '[0]', "'level'", "'levels'"),
        ({'type': 'resize', 'factor': 1}, '[0].factor', '1', '16'),
        ({'type': 'noise', 'sigma': 0, 'key': KEY}, '[0].sigma', '0', '64'),
        ({'type': 'noise', 'key': 'short'}, '[0].key', '8', 'openssl'),
        ({'type': 'noise', 'key': 27182818}, '[0].key', '8', 'openssl'),
        ({'type': 'noise', 'key': KEY, 'repeat': 'often'}, '[0].repeat', "'often'", 'fresh, keyed'),
        ({'type': 'detail_noise', 'key': KEY, 'wave': 'db99'}, '[0].wave', "'db99'", 'db9'),
        ({'type': 'detail_noise', 'key': KEY, 'wave': 'bior2.2'}, '[0].wave', "'bior2.2'", ''),
        ({'type': 'visible_watermark', 'text': ''}, '[0].text', "''", '64'),
        ({'type': 'visible_watermark', 'text': 'x', 'width': 1.2}, '[0].width', '1.2', '1'),
        ({'type': 'visible_watermark'}, '[0]', "'text'", 'text'),
        ({'type': 'invisible_watermark', 'key': KEY, 'amplitude': 99}, '[0].amplitude', '99', '16'),
        ('jpeg', '[0]', "'jpeg'", ''),
    ],
)
def test_what_is_refused(entry, where, quoted, do):
    with refused(f'defences{where}', quoted, do=do) as caught:
        build_defences([entry])
    assert '\n' not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ('short', '27182818'))


@pytest.mark.parametrize(
    ('options', 'where', 'quoted'),
    [
        ({}, 'noise', ''),
        ({'key': KEY, 'key_file': 'x'}, 'noise', ''),
        ({'key_file': 'no/such.key'}, 'noise.key_file', 'no/such.key'),
    ],
)
def test_a_key_is_needed_once(options, where, quoted):
    with refused(where, quoted, do='key_file' if where == 'noise' else 'openssl'):
        build('noise', **options)


def test_a_mistake_in_python_is_one_too():
    with refused('defence detail_noise.level', '9', do='6'):
        DetailNoise(level=9, key=KEY)
    assert DetailNoise(level=2.0, key=KEY).describe() == build('detail_noise', key=KEY).describe()


def test_a_list_is_needed_and_a_type_of_ones_own_is_taken(monkeypatch):
    with refused('defences', "{'type': 'jpeg'}", do='- {type: ...}'):
        build_defences({'type': 'jpeg'})
    from mea_plugin.defences import registry

    monkeypatch.setattr(registry.DEFENCES, '_registered', {})

    class Black:
        def describe(self):
            return {}

        def apply(self, query, answer, count):
            return np.zeros_like(answer)

    register_defence('black', Black)
    assert not build('black').apply(QUERY, ANSWER, 0).any()
    with refused('', "'jpeg'"):
        register_defence('jpeg', Black)


def test_a_key_in_a_file_is_the_key(tmp_path):
    (tmp_path / 'key').write_text(f'{KEY}\n')
    one, other = build('noise', key=KEY), build('noise', key_file=str(tmp_path / 'key'))
    assert one.describe() == other.describe()
    assert KEY not in str(one.describe())
    np.testing.assert_array_equal(one.apply(QUERY, ANSWER, 0), other.apply(QUERY, ANSWER, 0))
