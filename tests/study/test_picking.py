"""Which images are asked about: the most detailed ones, as often as wanted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mea_plugin.study.options import QuerySource
from mea_plugin.study.picking import detail, source_images
from tests.helpers import photograph, refused, save


@pytest.fixture
def images(tmp_path):
    sharp = photograph((64, 64))
    for name, sigma in (('a', 1), ('b', 0), ('c', 4), ('d', 2)):
        save(tmp_path / f'{name}.png', cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp)
    return str(tmp_path)


def test_detail_is_the_mean_square_of_the_finest_bands():
    """On luma, whose weights sum to 219/255: a checkerboard has its energy in the diagonal band alone."""
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert detail(image) == pytest.approx(219**2 / 3, rel=1e-3)
    assert detail(np.full((8, 8, 3), 70, np.uint8)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, 'abcd'),
        ({'pick': 'busiest'}, 'b'),
        ({'pick': 'busiest', 'share': 0.5}, 'ab'),
        ({'pick': 'smoothest', 'share': 0.5}, 'cd'),
        ({'pick': 'smoothest', 'share': 1}, 'abcd'),
    ],
)
def test_picks(images, options, expected):
    assert list(source_images(QuerySource(images=images, **options), where='queries.x')) == list(expected)


def test_a_share_of_none_is_refused(images):
    with refused('queries.x', '0.1', '4'):
        source_images(QuerySource(images=images, pick='busiest', share=0.1), where='queries.x')
