"""The ceiling: noise of one grey level, the same in every run, and what it gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mea_plugin.core.files import hash_array
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.ceiling import noisy, plane_ceiling_gap
from mea_plugin.metrics.psnr_ssim import psnr
from tests.metrics.pictures import planes, related


def test_the_noise_is_gaussian_of_one_grey_level_and_rounded():
    image = np.full((300, 400, 3), 77, np.uint8)
    noise = noisy(image).astype(int) - 77
    share = [math.erf((k + 0.5) / math.sqrt(2)) - math.erf((k - 0.5) / math.sqrt(2)) for k in range(5)]
    for level in range(-4, 5):
        assert (noise == level).mean() == pytest.approx(share[abs(level)] / 2, abs=0.004)
    # independent in each channel and place
    flat = noise.reshape(-1, 3) / noise.std()
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(3), atol=0.015)
    assert np.mean(noise[1:] * noise[:-1]) == pytest.approx(0, abs=0.015)
    # PSNR of variance 1 + 1/12
    assert psnr(image, image + noise.astype(np.uint8), border=0, channel='rgb') == pytest.approx(47.78, abs=0.05)


def test_it_stays_within_8_bits():
    for level in (0, 255):
        image = np.full((40, 50, 3), level, np.uint8)
        changed = np.abs(noisy(image).astype(int) - level)
        assert 0.2 < (changed > 0).mean() < 0.4
        assert changed.max() < 7


def test_the_seed_is_the_content():
    image, other = related(0)
    assert (noisy(image) == noisy(image.copy())).all()
    assert (noisy(np.asfortranarray(image)) == noisy(image)).all()
    difference = noisy(image).astype(int) - image, noisy(other).astype(int) - other
    assert (difference[0] != difference[1]).mean() > 0.5


def test_the_noise_is_the_same_in_every_environment():
    image = np.arange(20 * 20 * 3, dtype=np.uint32).reshape(20, 20, 3).astype(np.uint8)
    assert hash_array(noisy(image))[:16] == '181f970d6f88805f'


def test_the_gap_is_the_difference_of_two_psnrs():
    victim, surrogate = related(3, 60, 70, noise=5)
    (metric,) = find_metrics(['ceiling_gap'])
    expected = psnr(noisy(victim), victim, border=4) - psnr(surrogate, victim, border=4)
    assert metric.measure(*planes(surrogate, victim, border=4)) == pytest.approx(expected, abs=1e-12)
    assert metric.fidelity_only
    assert not any(other.fidelity_only for other in find_metrics(['psnr_y', 'hf_psnr']))


def test_noise_itself_has_no_gap_and_equality_is_beyond_it():
    victim, _ = related(3, 60, 70)
    assert plane_ceiling_gap(*planes(noisy(victim), victim, border=2)) == 0
    assert plane_ceiling_gap(*planes(victim, victim, border=2)) == -math.inf
