"""Worst-patch PSNR against all patches, one after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.patches import plane_worst_patch_psnr
from mea_plugin.metrics.planes import to_y
from mea_plugin.metrics.psnr_ssim import psnr
from tests.metrics.pictures import cut, planes, related, related_pairs


def by_loop(first, second):
    first, second = to_y(first), to_y(second)
    return min(
        peak_signal_noise_ratio(
            first[top : top + 32, left : left + 32], second[top : top + 32, left : left + 32], data_range=255
        )
        for top in range(first.shape[0] - 31)
        for left in range(first.shape[1] - 31)
    )


@settings(max_examples=20, deadline=None)
@given(related_pairs(36, 48), st.integers(0, 2))
def test_it_is_the_lowest_of_all_patches(images, border):
    (metric,) = find_metrics(['worst_patch_psnr'])
    expected = by_loop(*(cut(image, border) for image in images))
    assert metric.measure(*planes(*images, border=border)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(('top', 'left'), [(0, 0), (0, 38), (29, 0), (29, 38), (13, 20)])
def test_a_patch_in_any_place_is_found_whole(top, left):
    image = np.full((61, 70, 3), 90, np.uint8)
    other = image.copy()
    other[top : top + 32, left : left + 32] += 10
    part = np.full((32, 32, 3), 90, np.uint8)
    assert plane_worst_patch_psnr(*planes(image, other)) == pytest.approx(psnr(part, part + 10, border=0), abs=1e-9)
    assert plane_worst_patch_psnr(*planes(image, other)) < psnr(image, other, border=0) - 5


def test_one_pixel_weighs_a_patch():
    image = np.zeros((50, 80, 3), np.uint8)
    other = image.copy()
    other[40, 70] = 255
    assert plane_worst_patch_psnr(*planes(image, other)) == pytest.approx(20 * math.log10(255 / (219 / 32)), abs=1e-9)


def test_equal_images_are_infinite_and_small_ones_have_no_value():
    image, noisy = related(0, 32, 40)
    assert plane_worst_patch_psnr(*planes(image, image)) == math.inf
    assert 20 < plane_worst_patch_psnr(*planes(image, noisy)) < 40
    assert math.isnan(plane_worst_patch_psnr(*planes(image, noisy, border=1)))
