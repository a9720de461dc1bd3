"""Bicubic resizing against dense matrices in float64, against MATLAB's own images, and in the corners."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.core.packages import lacking
from mea_plugin.data.resize import bicubic, check_scale, downscale, mod_crop
from tests.helpers import photograph, refused

FACTORS = [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), 2, 3, 4]


def keys(x):
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def matrix(length, factor):
    """The dense (output, input) matrix of the docstring's equation, with the mirrored pixels summed up one by one."""
    shrink = min(1, factor)
    result = np.zeros((math.ceil(length * factor), length))
    for i in range(len(result)):
        u = float((Fraction(2 * i + 1, 2)) / factor - Fraction(1, 2))
        reach = math.ceil(2 / shrink) + 1
        for k in range(math.floor(u) - reach, math.ceil(u) + reach + 1):
            mirrored = k % (2 * length)
            result[i, min(mirrored, 2 * length - 1 - mirrored)] += keys(float(shrink) * (u - k))
    return result / result.sum(1, keepdims=True)


def reference(image, factor, *, between):
    """Rows, ``between``, then columns; not rounded at the end."""
    factor = Fraction(factor)
    rows = between(np.einsum('ih,hwc->iwc', matrix(image.shape[0], factor), image.astype(float)))
    return np.einsum('jw,iwc->ijc', matrix(image.shape[1], factor), rows)


def matlab_functions():
    """The toolbox's own functions."""
    if lacking('basicsr'):
        pytest.skip('BasicSR is not installed')
    from mea_plugin.toolboxes import basicsr_compat

    basicsr_compat.apply()
    from basicsr.utils import matlab_functions as module

    return module


def imresize(image, factor):
    """What BasicSR makes of an image."""
    resized = matlab_functions().imresize(image.astype(np.float32) / 255, float(factor))
    return (resized * 255).round().clip(0, 255).astype(np.uint8)


def to_uint8(values):
    return np.floor(values + 0.5).clip(0, 255)


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (4, 4), (5, 7), (6, 13), (17, 12), (24, 36), (31, 50)])
def test_every_size_and_factor_is_what_the_equation_says(size, factor):
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    for like, between, slack in (('matlab', to_uint8, 0.002), ('basicsr', lambda rows: rows, 0.002)):
        expected = reference(image, factor, between=between).clip(0, 255)
        found = bicubic(image, factor, like=like)
        assert found.dtype == np.uint8
        assert found.shape == (math.ceil(size[0] * factor), math.ceil(size[1] * factor), 3)
        # Half a level of rounding; where a row of 'matlab' is a tie, float32 weights may round it the other way.
        off = np.abs(found - expected) > 0.5 + slack
        assert off.mean() <= (0.01 if like == 'matlab' else 0)
        assert np.abs(found - expected).max() <= 1.6


@pytest.mark.parametrize('factor', FACTORS)
def test_basicsr_is_the_toolboxs_own_function(factor):
    image = photograph((48, 36), 3)
    np.testing.assert_array_equal(bicubic(image, factor, like='basicsr'), imresize(image, factor))


@pytest.mark.parametrize('factor', [*FACTORS, Fraction(1, 8), 5])
@pytest.mark.parametrize('size', [(35, 48), (64, 64), (101, 57)])
def test_generated_images_are_basicsrs_but_for_ties(size, factor):
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    differences = np.abs(bicubic(image, factor, like='basicsr').astype(int) - imresize(image, factor))
    assert differences.max() <= 1  # a sum may end beside a tie, as BLAS adds up what lies otherwise in memory
    assert (differences > 0).mean() < 1e-3


@pytest.mark.shared_data
@pytest.mark.parametrize('factor', FACTORS)
def test_photographs_are_basicsrs_to_the_bit(shared_data, factor):
    for path in list_images(shared_data / 'Set5' / 'HR')[:3]:
        image = mod_crop(read_rgb(path)[:156, :180], 12)
        np.testing.assert_array_equal(bicubic(image, factor, like='basicsr'), imresize(image, factor))


@pytest.mark.parametrize('factor', FACTORS)
def test_rows_of_matlab_are_sums_with_basicsrs_weights(factor):
    """What earlier versions computed, tap by tap: query sets and their hashes stay as they are."""
    functions = matlab_functions()
    image = photograph((60, 36), 4)
    for _ in ('rows', 'columns'):
        length, scale = image.shape[0], float(factor)
        count = math.ceil(length * Fraction(factor))
        weights, indices, before, _ = functions.calculate_weights_indices(length, count, scale, 'cubic', 4, True)
        period = (indices.numpy().astype(int) - before) % (2 * length)
        sources = np.minimum(period, 2 * length - 1 - period)
        taps = weights.numpy().astype(float).T
        sums = sum(tap[:, None, None] * image[source] for tap, source in zip(taps, sources.T, strict=True))
        image = to_uint8(sums).astype(np.uint8).transpose(1, 0, 2)
    np.testing.assert_array_equal(bicubic(photograph((60, 36), 4), factor), image)


@pytest.mark.shared_data
@pytest.mark.parametrize('name', ['Set5', 'Set14'])
def test_matlabs_own_low_resolution_images(shared_data, name):
    if not (shared_data / name / 'LRx4').is_dir():
        pytest.skip(f'no {name}/LRx4')
    paths = list_images(shared_data / name / 'HR')
    assert len(paths) == {'Set5': 5, 'Set14': 14}[name]
    differences = []
    for path in paths:
        lr = read_rgb(shared_data / name / 'LRx4' / path.name)
        found = downscale(read_rgb(path), 4)
        assert found.shape == lr.shape, path
        differences.append(np.abs(found.astype(int) - lr)[4:-4, 4:-4].ravel())
        assert (differences[-1] <= 1).mean() >= 0.999, path
    assert (np.concatenate(differences) == 0).mean() > 0.9999


@pytest.mark.parametrize('value', [0, 7, 128, 255])
@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('like', ['matlab', 'basicsr'])
def test_a_flat_image_stays_flat(value, factor, like):
    assert (bicubic(np.full((13, 9, 3), value, np.uint8), factor, like=like) == value).all()


@pytest.mark.parametrize('like', ['matlab', 'basicsr'])
@pytest.mark.parametrize('scale', [2, 3, 4, 5, 7, 8])
def test_sizes_are_exact_where_floats_are_not(scale, like):
    for count in (1, 3, 7):  # 35 * 0.2 > 7
        image = photograph((count * scale, 2 * scale), 1)
        assert downscale(image, scale, like=like).shape == (count, 2, 3)
        np.testing.assert_array_equal(bicubic(image, 1 / scale, like=like), downscale(image, scale, like=like))


def test_factor_one_is_the_image():
    image = photograph((9, 11))
    np.testing.assert_array_equal(bicubic(image, 1), image)
    assert bicubic(image[:, ::-1], 2).flags.c_contiguous


@pytest.mark.parametrize(
    ('image', 'factor', 'like', 'message'),
    [
        (np.zeros((4, 4), np.uint8), 2, 'matlab', r'uint8 \(4, 4\)'),
        (np.zeros((4, 4, 3)), 2, 'matlab', 'float64'),
        (np.zeros((0, 4, 3), np.uint8), 2, 'matlab', r'uint8 \(0, 4, 3\)'),
        (np.zeros((4, 4, 3), np.uint8), 0, 'matlab', 'factor .*0'),
        (np.zeros((4, 4, 3), np.uint8), -1, 'matlab', 'factor .*-1'),
        (np.zeros((4, 4, 3), np.uint8), 2, 'opencv', "like .*'opencv'.*'matlab'.*'basicsr'"),
    ],
)
def test_what_bicubic_refuses(image, factor, like, message):
    with pytest.raises(ValueError, match=message):
        bicubic(image, factor, like=like)


def test_mod_crop_keeps_the_top_left():
    image = photograph((11, 13))
    np.testing.assert_array_equal(mod_crop(image, 4), image[:8, :12])
    np.testing.assert_array_equal(mod_crop(image, 1), image)
    assert mod_crop(image, 12).shape == (0, 12, 3)


@pytest.mark.parametrize('scale', [0, -2, 2.0, '4', True, None])
def test_a_scale_that_is_none(scale):
    assert check_scale(3) == 3
    with refused('victim.scale', repr(scale), do='1'):
        check_scale(scale, where='victim.scale')
