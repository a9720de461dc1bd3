"""MS-SSIM against its formula written out with scipy, and against pytorch-msssim where the two define the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import convolve2d

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.ms_ssim import halve, plane_ms_ssim, scales_of
from mea_plugin.metrics.planes import to_y
from tests.metrics.pictures import cut, planes, related

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def written_out(first, second):
    """MS-SSIM of two grey float images from the published definition, one step after the other."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def mean(image):
        return convolve2d(image, window, mode='valid')

    value = 1.0
    for scale, weight in enumerate(WEIGHTS):
        m1, m2 = mean(first), mean(second)
        v1, v2, cov = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
        factor = (2 * cov + c2) / (v1 + v2 + c2)
        if scale == 4:
            factor = factor * (2 * m1 * m2 + c1) / (m1**2 + m2**2 + c1)
        value *= max(factor.mean(), 0.0) ** weight
        first, second = (smaller(image) for image in (first, second))
    return value


def smaller(image):
    """As MATLAB: filter with a 2 x 2 box that reaches to the next pixel, mirrored at the end, then every other one."""
    image = np.pad(image, ((0, 1), (0, 1)), mode='symmetric')
    return convolve2d(image, np.full((2, 2), 0.25), mode='valid')[::2, ::2]


@pytest.mark.parametrize('size', [(176, 176), (177, 200), (181, 190), (203, 179)])
@pytest.mark.parametrize('noise', [2.0, 40.0])
def test_it_equals_the_published_formula(size, noise):
    first, second = related(sum(size), *size, noise)
    pair = planes(first, second)
    lumas = [to_y(image) for image in (first, second)]
    assert plane_ms_ssim(*pair, 'y') == pytest.approx(written_out(*lumas), abs=1e-10)
    channels = [written_out(first[..., c].astype(float), second[..., c].astype(float)) for c in range(3)]
    assert plane_ms_ssim(*pair, 'rgb') == pytest.approx(np.mean(channels), abs=1e-10)


@pytest.mark.parametrize('size', [(176, 192), (208, 176)])
def test_it_equals_pytorch_msssim_where_every_scale_is_even(size):
    msssim = pytest.importorskip('pytorch_msssim')
    torch = pytest.importorskip('torch')
    first, second = related(1, *size, 25)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float64)) for image in (first, second)]
    window = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (window / window.sum()).expand(3, 1, 1, 11)
    expected = msssim.ms_ssim(*tensors, data_range=255, win=window).item()
    assert plane_ms_ssim(*planes(first, second), 'rgb') == pytest.approx(expected, abs=1e-10)


def test_an_odd_last_row_is_repeated_and_no_black_comes_in():
    values = np.arange(15, dtype=np.uint8).reshape(1, 3, 5)
    expected = [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2], [(10 + 11) / 2, (12 + 13) / 2, 14]]
    np.testing.assert_array_equal(halve(values)[0], expected)
    assert (halve(np.full((3, 7, 9), 255, np.uint8)) == 255).all()


def test_equal_images_have_exactly_1_and_opposite_ones_0():
    image, _ = related(4, 190, 177)
    for channel in ('y', 'rgb'):
        assert plane_ms_ssim(*planes(image, image), channel) == 1
        # negative at the finer scales: without the clipping a power of it would be no number
        assert plane_ms_ssim(*planes(image, 255 - image), channel) == 0


def test_images_too_small_for_five_scales_have_no_value():
    image, noisy = related(0, 176, 180)
    assert 0 < plane_ms_ssim(*planes(image, noisy), 'y') < 1
    assert math.isnan(plane_ms_ssim(*planes(image[1:], noisy[1:]), 'y'))
    assert math.isnan(plane_ms_ssim(*planes(image, noisy, border=1), 'rgb'))


def test_the_border_is_cut_and_scales_are_kept():
    first, second = related(7, 190, 191)
    pair = planes(first, second, border=4)
    assert plane_ms_ssim(*pair, 'y') == plane_ms_ssim(*planes(cut(first, 4), cut(second, 4)), 'y')
    assert pair[0].once(scales_of, 'y') is pair[0].once(scales_of, 'y')
    assert [scale.values.shape[1] for scale in pair[0].once(scales_of, 'y')] == [182, 91, 46, 23, 12]
    assert [metric.measure(*pair) for metric in find_metrics(['ms_ssim_y', 'ms_ssim_rgb'])] == [
        plane_ms_ssim(*pair, channel) for channel in ('y', 'rgb')
    ]
