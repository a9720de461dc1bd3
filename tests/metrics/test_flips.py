"""Flip consistency of models that are known to have it, or to lack it by a known amount."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.flips import flip_psnr
from tests.metrics.pictures import related


def measure(ask, query):
    return flip_psnr(ask, query, ask(query))


def enlarge(image):
    return image.repeat(3, 0).repeat(3, 1)


def test_a_model_that_commutes_with_flips_is_infinite():
    query, _ = related(0, 17, 22)
    assert measure(enlarge, query) == math.inf
    assert measure(lambda image: 255 - image, query) == math.inf


@pytest.mark.parametrize('axes', [(0,), (1,), (0, 1)])
def test_a_model_that_moves_the_image_is_measured_per_direction(axes):
    query, _ = related(1, 20, 24)

    def ask(image):
        return np.roll(enlarge(image), [1] * len(axes), axes)

    # flipped back, what was moved forward is moved backward
    answer = ask(query).astype(float)
    error = 0.0
    for flip in (0, 1):
        shift = [-1 if axis == flip else 1 for axis in axes]
        error += ((np.roll(enlarge(query), shift, axes) - answer) ** 2).mean()
    assert measure(ask, query) == pytest.approx(10 * math.log10(255**2 / (error / 2)), abs=1e-9)
    assert error > 0


def test_the_error_of_both_flips_is_pooled():
    query = np.full((12, 14, 3), 100, np.uint8)
    query[0] = 50  # tells up from down

    def ask(image):
        return image + np.uint8(6) if image[0, 0, 0] == 50 else image

    # left to right changes nothing; upside down, the answer is 6 levels lower everywhere
    assert measure(ask, query) == pytest.approx(10 * math.log10(255**2 / (36 / 2)), abs=1e-9)


def test_the_model_is_asked_contiguous_images_of_the_querys_size():
    query, _ = related(2, 11, 13)
    asked = []

    def ask(image):
        asked.append(image)
        return enlarge(image)

    (metric,) = find_metrics(['flip_psnr'])
    assert metric.kind == 'model'
    assert metric.measure(ask, query, enlarge(query)) == math.inf
    assert len(asked) == 2
    assert all(image.flags.c_contiguous and image.shape == query.shape and image.dtype == np.uint8 for image in asked)


def test_an_answer_of_another_size_is_an_error():
    query, _ = related(2, 11, 13)
    with pytest.raises(ValueError, match=r'\(11, 13, 3\).*\(33'):
        flip_psnr(lambda image: image, query, enlarge(query))
