"""Radial spectra against a loop over all frequencies, and against signals whose spectrum is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.planes import to_y
from mea_plugin.metrics.spectrum import FLOOR, plane_spectrum_error, radial_spectrum
from tests.metrics.pictures import cut, grey, planes, related, related_pairs


def by_loop(image, rings=None):
    """Mean power of each ring in dB, frequency after frequency of the full transform."""
    y = to_y(image)
    height, width = y.shape
    rings = rings or min(height, width) // 2
    power = np.abs(np.fft.fft2(y)) ** 2 / y.size
    sums, counts = np.zeros(rings + 1), np.zeros(rings + 1)
    for row in range(height):
        for column in range(width):
            v, u = min(row, height - row) / height, min(column, width - column) / width
            ring = round(math.hypot(u, v) * 2 * rings)
            if ring <= rings:
                sums[ring] += power[row, column]
                counts[ring] += 1
    assert counts.all()
    return 10 * np.log10(np.maximum(sums / counts, FLOOR))


@settings(max_examples=10, deadline=None)
@given(related_pairs(17, 34), st.integers(0, 3))
def test_spectrum_and_error_are_those_of_the_loop(images, border):
    expected = [by_loop(cut(image, border)) for image in images]
    found = [radial_spectrum(cut(image, border))[1] for image in images]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    error = np.mean(np.abs(expected[0] - expected[1]))
    (metric,) = find_metrics(['spectrum_error'])
    assert metric.measure(*planes(*images, border=border)) == pytest.approx(error, abs=1e-9)


def test_fewer_rings_are_coarser_and_the_same_for_all_sizes():
    spectra = [radial_spectrum(related(0, *size)[1], rings=9) for size in ((31, 40), (44, 23))]
    for radii, decibels in spectra:
        np.testing.assert_allclose(radii, np.arange(10) / 18)
        assert decibels.shape == (10,)
    np.testing.assert_allclose(spectra[0][1], by_loop(related(0, 31, 40)[1], 9), atol=1e-9)
    for rings in (0, 16):
        with pytest.raises(ValueError, match=rf'\b{rings}\b.*\b15\b'):
            radial_spectrum(related(0, 31, 40)[0], rings=rings)


def test_white_noise_has_its_variance_at_every_frequency():
    image = grey(0, 256, 200, 9)
    _, decibels = radial_spectrum(image, rings=16)
    variance = to_y(image).var()
    assert decibels[2:] == pytest.approx(np.full(15, 10 * math.log10(variance)), abs=0.6)


def test_a_wave_is_a_peak_at_its_frequency():
    _, x = np.mgrid[:120, :88]
    wave = 128 + 60 * np.cos(2 * np.pi * 0.25 * x)
    radii, decibels = radial_spectrum(wave.round().astype(np.uint8)[..., None].repeat(3, 2))
    peak = 1 + np.argmax(decibels[1:])
    assert radii[peak] == pytest.approx(0.25, abs=1e-9)
    assert decibels[peak] > np.delete(decibels[1:], peak - 1).max() + 10


def test_twice_the_contrast_is_6_db():
    first = grey(1, 64, 64, 8, mean=120)
    second = (120 + 2 * (first.astype(int) - 120)).astype(np.uint8)
    (_, a), (_, b) = radial_spectrum(first), radial_spectrum(second)
    assert b[1:] - a[1:] == pytest.approx(np.full(32, 20 * math.log10(2)), abs=1e-9)


def test_place_does_not_matter_and_a_blur_does():
    image, _ = related(3, 50, 60)
    moved = np.roll(image, (7, -11), (0, 1))
    assert plane_spectrum_error(*planes(image, moved)) < 1e-9
    assert plane_spectrum_error(*planes(image, image)) == 0
    sharp = grey(0, 50, 60, 30)
    blurred = ((sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) // 3).astype(np.uint8)
    assert plane_spectrum_error(*planes(sharp, blurred)) > 3


def test_flat_images_have_a_spectrum():
    dark, bright = (np.full((40, 30, 3), level, np.uint8) for level in (0, 255))
    radii, decibels = radial_spectrum(dark)
    assert radii[-1] == 0.5
    assert decibels[1:] == pytest.approx(np.full(15, 10 * math.log10(FLOOR)))
    # only the mean differs: 16 and 235, in one ring of 16
    assert plane_spectrum_error(*planes(dark, bright)) == pytest.approx(20 * math.log10(235 / 16) / 16)


def test_the_floor_is_what_rounding_gives():
    exact = np.random.default_rng(0).uniform(50, 200, (200, 200, 3))
    errors = (exact.round() - exact) @ np.array([65.481, 128.553, 24.966]) / 255
    assert errors.var() == pytest.approx(FLOOR, rel=0.03)
