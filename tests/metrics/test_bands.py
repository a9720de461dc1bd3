"""Band PSNR against PyWavelets on the whole image, and against what white noise must give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.metrics.bands import BANDS, DETAILS, band_psnr, bands_of, decompose
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.planes import to_y
from mea_plugin.metrics.psnr_ssim import psnr
from tests.metrics.pictures import cut, planes, related, related_pairs

METRICS = ['psnr_h1', 'psnr_v1', 'psnr_d1', 'psnr_h2', 'psnr_v2', 'psnr_d2', 'psnr_a2']


def inside(size, level):
    """The coefficients of a level that read samples inside ``size`` only, by trying: those that an edge cannot move."""
    signals = [np.pad(np.random.default_rng(0).normal(size=size), 40, constant_values=c) for c in (0, 1)]
    # 40 samples on the left are 20 coefficients at level 1 and 10 at level 2
    ends = [pywt.wavedec(signal, 'db3', 'zero', level)[0][40 >> level :] for signal in signals]
    moved = np.abs(ends[0] - ends[1])[: (size + 5) // 2 if level == 1 else ((size + 5) // 2 + 5) // 2] > 1e-9
    return np.flatnonzero(~moved)


def whole(y):
    """By band, what ``pywt.wavedec2`` gives, at the positions of :func:`inside`."""
    low, second, first = pywt.wavedec2(y, 'db3', mode='symmetric', level=2)
    found = {'a2': low, **dict(zip(('h2', 'v2', 'd2', 'h1', 'v1', 'd1'), (*second, *first), strict=True))}
    return {
        name: band[np.ix_(inside(y.shape[0], int(name[1])), inside(y.shape[1], int(name[1])))]
        for name, band in found.items()
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 50), st.integers(20, 50), st.integers(0, 100))
def test_bands_are_pywavelets_where_the_filters_fit_inside(height, width, seed):
    y = np.random.default_rng(seed).uniform(16, 235, (height, width))
    found, expected = decompose(y), whole(y)
    assert tuple(found) == BANDS
    for name in BANDS:
        assert found[name].size > 0
        np.testing.assert_allclose(found[name], expected[name], atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(related_pairs(), st.integers(0, 3))
def test_metrics_are_psnr_of_pywavelets_bands(images, border):
    pair = planes(*images, border=border)
    first, second = (whole(to_y(cut(image, border))) for image in images)
    errors = {name: ((first[name] - second[name]) ** 2).ravel() for name in BANDS}
    for metric in find_metrics(METRICS):
        expected = 10 * math.log10(255**2 / errors[metric.name[-2:]].mean())
        assert metric.measure(*pair) == pytest.approx(expected, abs=1e-8)
    pooled = np.concatenate([errors[name] for name in DETAILS]).mean()
    (metric,) = find_metrics(['hf_psnr'])
    assert metric.measure(*pair) == pytest.approx(10 * math.log10(255**2 / pooled), abs=1e-8)


def test_white_noise_has_the_psnr_of_the_pixels_in_every_band():
    image = np.full((700, 701, 3), 128, np.uint8)
    noise = np.random.default_rng(0).normal(0, 6, (700, 701, 1)).round()
    noisy = (image + noise).astype(np.uint8)
    pair = planes(image, noisy)
    expected = psnr(image, noisy, border=0)
    # relative deviation of a variance estimated from N values: sqrt(2 / N), four times that in dB
    for name in BANDS:
        allowed = 4 * 10 / math.log(10) * math.sqrt(2 / decompose(pair[0].y)[name].size)
        assert band_psnr(*pair, [name]) == pytest.approx(expected, abs=allowed)


@pytest.mark.parametrize(
    ('wave', 'loudest'),
    [
        (lambda y, x: (-1.0) ** y, 'h1'),  # changes from row to row
        (lambda y, x: (-1.0) ** x, 'v1'),
        (lambda y, x: (-1.0) ** (x + y), 'd1'),
        (lambda y, x: np.cos(0.75 * np.pi / 2 * y), 'h2'),
        (lambda y, x: np.cos(0.75 * np.pi / 2 * x), 'v2'),
        (lambda y, x: np.cos(0.75 * np.pi / 2 * y) * np.cos(0.75 * np.pi / 2 * x), 'd2'),
        (lambda y, x: np.ones_like(x, float), 'a2'),
    ],
)
def test_a_band_sees_its_scale_and_direction(wave, loudest):
    y, x = np.mgrid[:64, :72]
    image = np.full((64, 72, 3), 100, np.uint8)
    other = (image + (20 * wave(y, x)).round()[..., None]).astype(np.uint8)
    values = {name: band_psnr(*planes(image, other), [name]) for name in BANDS}
    assert min(values, key=values.get) == loudest
    assert sorted(values.values())[1] > values[loudest] + 3


def test_a_difference_in_brightness_and_a_ramp_are_no_detail():
    y, x = np.mgrid[:60, :50]
    image = np.full((60, 50, 3), 40, np.uint8)
    ramp = (image + (2 * x + y)[..., None]).astype(np.uint8)
    # db3 has three vanishing moments, and no edge has a share
    assert band_psnr(*planes(image, ramp), DETAILS) > 200
    assert band_psnr(*planes(image, ramp), ['a2']) < 20


def test_equal_images_are_infinite_and_small_ones_have_no_value():
    image, noisy = related(0, 20, 33)
    assert band_psnr(*planes(image, image), BANDS) == math.inf
    assert 0 < band_psnr(*planes(image, noisy), ['d2']) < 60
    assert math.isnan(band_psnr(*planes(image[1:], noisy[1:]), ['h1']))
    assert pywt.dwt_max_level(20, 'db3') == 2
    assert pywt.dwt_max_level(19, 'db3') == 1


def test_each_image_is_transformed_once(monkeypatch):
    pair = planes(*related(0))
    for metric in find_metrics(METRICS):
        metric.measure(*pair)
    monkeypatch.setattr(pywt, 'dwt2', None)
    for metric in find_metrics([*METRICS, 'hf_psnr']):
        assert metric.measure(*pair) > 0
    assert pair[0].once(bands_of) is pair[0].once(bands_of)
