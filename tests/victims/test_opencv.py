"""OpenCV's filters as victims."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest

from mea_plugin.victims import Victim, build_victim
from mea_plugin.victims.opencv import STYLES, StyleName
from tests.helpers import photograph, refused


def build(style='stylization', **options):
    return build_victim({'type': 'opencv', 'style': style, **options})


@pytest.mark.parametrize('style', STYLES)
def test_speaks_the_protocol(style):
    victim = build(style)
    assert isinstance(victim, Victim)
    assert (victim.scale, victim.name) == (1, style)
    images = [photograph((40, 56), 1), photograph((33, 31), 2)]
    before = [image.copy() for image in images]
    answers = victim.query(images)
    assert [answer.shape for answer in answers] == [image.shape for image in images]
    assert all(answer.dtype == np.uint8 for answer in answers)
    assert all(np.array_equal(*pair) for pair in zip(images, before, strict=True))
    assert any((answer != image).any() for answer, image in zip(answers, images, strict=True))


@pytest.mark.parametrize('style', STYLES)
def test_the_same_image_gets_the_same_answer(style):
    victim, image, other = build(style), photograph((48, 64), 1), photograph((48, 64), 2)
    alone = victim.query([image])[0]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert np.array_equal(victim.query([other, image])[1], alone)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(build(style).query([image, other])[0], alone)


def test_is_opencvs_own_answer_in_rgb():
    image = photograph((40, 48))
    expected = cv2.stylization(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), sigma_s=30, sigma_r=0.2)
    answer = build(sigma_s=30, sigma_r=0.2).query([image])[0]
    assert np.array_equal(answer, cv2.cvtColor(expected, cv2.COLOR_BGR2RGB))


def test_a_pencil_sketch_is_grey():
    answer = build('pencil_sketch').query([photograph((40, 48))])[0]
    assert np.array_equal(answer[..., 0], answer[..., 1])
    assert np.array_equal(answer[..., 0], answer[..., 2])


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_tiny_images(style, size):
    victim, image = build(style), photograph(size)
    answers = [victim.query([image])[0] for _ in range(3)]
    assert answers[0].shape == image.shape
    assert all(np.array_equal(answers[0], answer) for answer in answers)


def test_the_fingerprint_is_that_of_what_answers():
    assert build().fingerprint == build(name='other').fingerprint
    assert build().fingerprint == build(sigma_s=60, sigma_r=0.45).fingerprint  # OpenCV's defaults
    prints = {build(style, **options).fingerprint for style in STYLES for options in ({}, {'sigma_s': 20})}
    assert len(prints) == 2 * len(STYLES)


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'style': 'stylisation'}, 'victim.style', "'stylisation'", "'stylization'"),
        ({'style': 'stylization', 'shade_factor': 0.05}, 'victim.shade_factor', 'stylization', 'sigma_s, sigma_r'),
        ({'style': 'stylization', 'sigma_s': 500}, 'victim.sigma_s', '500', '200'),
        ({'style': 'stylization', 'sigma_s': 0}, 'victim.sigma_s', '0', '0'),
        ({'style': 'stylization', 'sigma_r': '1'}, 'victim.sigma_r', "'1'", '1'),
        ({'style': 'pencil_sketch', 'shade_factor': 0.2}, 'victim.shade_factor', '0.2', '0.1'),
        ({'style': 'stylization', 'sigma': 3}, 'victim', "'sigma'", 'sigma_'),
        ({}, 'victim', "'style'", 'style'),
    ],
)
def test_bad_options(options, where, quoted, do):
    with refused(where, quoted, do=do) as caught:
        build_victim({'type': 'opencv', **options})
    assert caught.value.where == where
    assert '\n' not in str(caught.value)


def test_every_style_has_a_name_in_the_schema():
    assert set(get_args(StyleName)) == set(STYLES)
