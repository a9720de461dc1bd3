"""The domain distance: Frechet's formula, and how it behaves on images."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.linalg
from skimage import data
from skimage.filters import gaussian

from mea_plugin.data.texture import patch_features
from mea_plugin.study.distance import PATCH, domain_distance, frechet_distance, image_features
from tests.helpers import refused


def test_the_formula_with_scipys_matrix_root():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 1
    second = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    means = first.mean(0) - second.mean(0)
    squared = means @ means + np.trace(one + other - 2 * np.real(scipy.linalg.sqrtm(one @ other)))
    assert frechet_distance(first, second) == pytest.approx(np.sqrt(squared), rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(first, first + np.array([3, 4, 0, 0, 0])) == pytest.approx(5, rel=1e-6)


def test_features_are_energies_of_bands():
    stripes = np.zeros((1, 24, 24, 3))
    stripes[:, ::2] = 100.0
    features = patch_features(stripes)[0]
    luma = 100 * (65.481 + 128.553 + 24.966) / 255
    # Haar: the difference of two neighbouring rows, luma / sqrt(2), over both columns, once more sqrt(2).
    level_1 = features[3:6]
    assert sorted(np.exp(level_1) - 0.25)[-1] == pytest.approx(luma**2, rel=1e-9)
    assert sorted(np.exp(level_1) - 0.25)[:2] == pytest.approx([0, 0], abs=1e-9)
    assert features[6] == pytest.approx(luma / 2)
    assert features[7] == pytest.approx(np.log(luma / 2 + 1))


@pytest.fixture(scope='module')
def images():
    return [getattr(data, name)()[::2, ::2] for name in ('astronaut', 'coffee', 'chelsea', 'rocket')]


def blurred(images, sigma):
    return [(gaussian(image, sigma, channel_axis=2) * 255).astype(np.uint8) for image in images]


def test_it_is_zero_between_equal_sets_and_grows_with_blur(images):
    distances = [domain_distance(blurred(images, sigma) if sigma else images, images) for sigma in (0, 0.7, 1.5, 3)]
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert distances == sorted(distances)
    assert distances[-1] > 1
    assert domain_distance(blurred(images, 1.5), images) == distances[2]


def test_what_cannot_be_measured_is_refused(images):
    width = images[0].shape[1]
    for measure, where in ((lambda one: domain_distance(one, images), ''), (partial(image_features, where='x'), 'x')):
        with refused(where, f'{width}x20', str(PATCH), do='trained_on'):
            measure([images[0][:20]])
        with refused(where, '1', do='trained_on'):
            measure(images[:1])
