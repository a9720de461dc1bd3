"""PSNR, SSIM and Y against scikit-image, BasicSR, and the published formulas written out again."""

from __future__ import annotations

import importlib.util
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mea_plugin.core.images import read_rgb
from mea_plugin.metrics.planes import Planes, to_y
from mea_plugin.metrics.psnr_ssim import local_of, plane_psnr, plane_ssim, psnr, ssim
from mea_plugin.metrics.windows import blur, local, similarity, strips
from tests.helpers import refused
from tests.metrics.pictures import cut, planes, related, related_pairs


@pytest.fixture(scope='module')
def basicsr():
    """BasicSR, importable; skips where it is not installed."""
    if importlib.util.find_spec('basicsr') is None:
        pytest.skip('BasicSR is not installed')
    from mea_plugin.toolboxes import basicsr_compat as compat

    compat.apply()


@settings(max_examples=25, deadline=None)
@given(related_pairs(), st.integers(0, 8))
def test_psnr_equals_scikit_image(images, border):
    first, second = images
    expected = peak_signal_noise_ratio(cut(first, border), cut(second, border), data_range=255)
    assert psnr(first, second, border=border, channel='rgb') == pytest.approx(expected, abs=1e-9)
    lumas = [rgb2ycbcr(cut(image, border))[..., 0] for image in images]
    expected = peak_signal_noise_ratio(*lumas, data_range=255)
    assert psnr(first, second, border=border, channel='y') == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(related_pairs(), st.integers(0, 8))
def test_ssim_equals_scikit_image(images, border):
    settings_of_wang = {
        'gaussian_weights': True,
        'sigma': 1.5,
        'use_sample_covariance': False,
        'data_range': 255,
    }
    # in float64, for scikit-image computes uint8 images in single precision in some versions
    rgb = [cut(image, border).astype(np.float64) for image in images]
    expected = structural_similarity(*rgb, channel_axis=2, **settings_of_wang)
    assert ssim(*images, border=border, channel='rgb') == pytest.approx(expected, abs=1e-9)
    lumas = [rgb2ycbcr(cut(image, border))[..., 0] for image in images]
    expected = structural_similarity(*lumas, **settings_of_wang)
    assert ssim(*images, border=border, channel='y') == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('seed', range(3))
def test_ssim_equals_its_published_formula(seed):
    images = related(seed)
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    x, y = (np.lib.stride_tricks.sliding_window_view(to_y(image), (11, 11)) for image in images)
    mean_x, mean_y = ((window * part).sum((2, 3)) for part in (x, y))
    x, y = x - mean_x[..., None, None], y - mean_y[..., None, None]
    var_x, var_y, cov = ((window * a * b).sum((2, 3)) for a, b in ((x, x), (y, y), (x, y)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    quality = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    quality /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    assert ssim(*images, border=0) == pytest.approx(quality.mean(), abs=1e-9)


@pytest.mark.parametrize('border', [0, 4])
@pytest.mark.parametrize('channel', ['y', 'rgb'])
def test_both_equal_basicsr(basicsr, channel, border):
    from basicsr.metrics import psnr_ssim

    first, second = related(3, 64, 70)
    bgr = [np.ascontiguousarray(image[..., ::-1]) for image in (first, second)]
    options = {'crop_border': border, 'test_y_channel': channel == 'y'}
    # BasicSR converts to Y in single precision
    assert psnr(first, second, border=border, channel=channel) == pytest.approx(
        psnr_ssim.calculate_psnr(*bgr, **options), abs=1e-4
    )
    assert ssim(first, second, border=border, channel=channel) == pytest.approx(
        psnr_ssim.calculate_ssim(*bgr, **options), abs=1e-6
    )


def test_y_equals_scikit_image_and_has_matlabs_range():
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    np.testing.assert_allclose(to_y(image), rgb2ycbcr(image)[..., 0], atol=1e-9)
    extremes = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    np.testing.assert_allclose(to_y(extremes), [[16, 235]], atol=1e-9)


def test_one_grey_level_is_48_db_on_rgb():
    image = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(image, image + 1, border=0, channel='rgb') == pytest.approx(20 * math.log10(255))


def test_equal_images_are_infinitely_close():
    image, _ = related(1)
    for channel in ('y', 'rgb'):
        assert psnr(image, image, border=2, channel=channel) == math.inf
        assert ssim(image, image, border=2, channel=channel) == 1


def test_the_border_is_not_looked_at():
    image, _ = related(1)
    other = image.copy()
    other[:3] = other[:, -3:] = 0
    assert psnr(image, other, border=3) == math.inf
    assert psnr(image, other, border=2) < 40


def test_an_image_answers_several_questions_as_it_answers_one():
    first, second = related(5)
    kept = planes(first, second, border=3)
    for _ in range(2):
        for channel in ('y', 'rgb'):
            assert plane_psnr(*kept, channel) == psnr(first, second, border=3, channel=channel)
            assert plane_ssim(*kept, channel) == ssim(first, second, border=3, channel=channel)


def test_what_several_metrics_need_is_computed_once_for_each_argument():
    image = Planes(related(0)[0], border=2)
    calls = []

    def compute(planes, *arguments):
        calls.append(arguments)
        return planes, arguments

    for _ in range(2):
        assert image.once(compute) == (image, ())
        assert image.once(compute, 'y') == (image, ('y',))
    assert calls == [(), ('y',)]
    assert image.once(local_of, 'y') is image.once(local_of, 'y')
    assert image.once(local_of, 'rgb').values.shape[0] == 3


@pytest.mark.parametrize('height', [11, 12, 26, 27, 42, 45, 700])
@pytest.mark.parametrize('width', [11, 26, 37, 1000])
def test_the_window_slides_as_scipy_correlates(height, width):
    values = np.random.default_rng(height * width).uniform(0, 255, (height, width))
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    expected = correlate(values, np.outer(window, window) / window.sum() ** 2)[5:-5, 5:-5]
    np.testing.assert_allclose(blur(values), expected, atol=1e-10)
    # in several strips: SSIM on 1000 columns takes them 65 rows at a time
    image = np.stack([values, values.T]) if height == width else values[None]
    mean, variance = local(image)[1:]
    np.testing.assert_allclose(mean[0], expected, atol=1e-10)
    squares = correlate(values**2, np.outer(window, window) / window.sum() ** 2)[5:-5, 5:-5]
    np.testing.assert_allclose(variance[0], squares - expected**2, atol=1e-7)


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (7, 10**6), (100, 700), (4000, 30)])
def test_strips_are_all_rows_in_their_order(height, width):
    rows = [row for strip in strips(height, width) for row in range(height)[strip]]
    assert rows == list(range(height))


def test_ssim_without_its_luminance_does_not_see_brightness():
    first, _ = related(2, 50, 61)
    first = first // 2 + 20
    (brighter,) = planes(first + 30)
    (image,) = planes(first)
    ssim_of_planes, contrast = similarity(image.once(local_of, 'rgb'), brighter.once(local_of, 'rgb'))
    np.testing.assert_allclose(contrast, 1, atol=1e-12)
    assert (ssim_of_planes < 0.99).all()


def test_the_smallest_image_is_the_window_and_its_border():
    image = np.random.default_rng(0).integers(0, 256, (19, 30, 3), dtype=np.uint8)
    assert ssim(image, image, border=4) == pytest.approx(1)
    with refused('', '30x18', ' 4', do='19x19'):
        ssim(image[:18], image[:18], border=4)


@pytest.mark.parametrize(
    'image', [np.zeros((20, 20, 3)), np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8)]
)
def test_only_8_bit_rgb_is_measured(image):
    with pytest.raises(ValueError, match=re.escape(f'{image.dtype} {image.shape}')):
        psnr(image, image, border=0)


@pytest.mark.parametrize('metric', [psnr, ssim])
def test_images_of_two_sizes_are_refused(metric):
    first, second = (np.zeros((20, width, 3), np.uint8) for width in (20, 21))
    with pytest.raises(ValueError, match=r'18x18\b.*\b19x18'):
        metric(first, second, border=1)


@pytest.mark.shared_data
def test_bicubic_on_set5_is_what_papers_report(basicsr, shared_data):
    from basicsr.utils.matlab_functions import imresize

    scores = []
    for path in sorted((shared_data / 'Set5' / 'LRx4').iterdir()):
        enlarged = imresize(read_rgb(path) / 255, 4)
        answer = (enlarged * 255).round().clip(0, 255).astype(np.uint8)
        truth = read_rgb(shared_data / 'Set5' / 'HR' / path.name)[: answer.shape[0], : answer.shape[1]]
        scores.append((psnr(answer, truth, border=4), ssim(answer, truth, border=4)))
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(28.42, abs=0.02)
    assert mean_ssim == pytest.approx(0.8104, abs=0.001)
