"""A victim behind defences: order, fingerprint, repeats, and the service."""

from __future__ import annotations

import numpy as np
import pytest

from mea_plugin.victims import build_victim
from mea_plugin.victims.defended import DefendedVictim
from tests.helpers import photograph, refused

BICUBIC = {'type': 'bicubic', 'scale': 2}
KEY = 'a key of the tests'
IMAGES = [photograph((24, 32)), photograph((20, 20), seed=1)]


def defended(*defences, **options):
    return build_victim({'type': 'defended', 'victim': BICUBIC, 'defences': list(defences), **options})


def test_defences_are_applied_in_order():
    coarse, small = {'type': 'levels', 'levels': 3}, {'type': 'resize', 'factor': 2}
    one, other = defended(coarse, small).query(IMAGES), defended(small, coarse).query(IMAGES)
    assert len(np.unique(other[0])) <= 3 < len(np.unique(one[0]))


def test_without_defences_it_is_the_victim_with_a_fingerprint_of_its_own():
    plain = build_victim(BICUBIC)
    for found, expected in zip(defended().query(IMAGES), plain.query(IMAGES), strict=True):
        np.testing.assert_array_equal(found, expected)
    fingerprints = {
        plain.fingerprint,
        *(
            defended(*defences).fingerprint
            for defences in (
                [],
                [{'type': 'jpeg', 'quality': 50}],
                [{'type': 'jpeg', 'quality': 51}],
                [{'type': 'noise', 'key': KEY}],
                [{'type': 'noise', 'key': KEY + '!'}],
                [{'type': 'noise', 'key': KEY, 'repeat': 'fresh'}],
            )
        ),
    }
    assert len(fingerprints) == 7
    assert defended({'type': 'jpeg'}).fingerprint == defended({'type': 'jpeg'}).fingerprint
    assert (defended(name='x').name, defended().name, defended().scale) == ('x', plain.name, 2)


def test_fresh_noise_follows_the_count_of_answers():
    fresh = {'type': 'noise', 'key': KEY, 'repeat': 'fresh'}
    image = IMAGES[0]
    together, apart = defended(fresh), defended(fresh)
    first, second = together.query([image, image])
    assert np.any(first != second)
    np.testing.assert_array_equal(apart.query([image])[0], first)
    np.testing.assert_array_equal(apart.query([image])[0], second)


def test_a_victim_made_in_python():
    victim = DefendedVictim(build_victim(BICUBIC), [{'type': 'levels', 'levels': 2}])
    assert set(np.unique(victim.query(IMAGES)[0])) <= {0, 255}


@pytest.mark.parametrize(
    ('changes', 'where', 'quoted'),
    [
        ({'defences': [{'type': 'jpeg', 'quality': 0}]}, 'victim.defences[0].quality', '0'),
        ({'defences': {'type': 'jpeg'}}, 'victim.defences', "{'type': 'jpeg'}"),
        ({'victim': {'type': 'nobody'}}, 'victim.victim.type', "'nobody'"),
        ({'victim': 'embedded'}, 'victim.victim', "'embedded'"),
    ],
)
def test_what_is_refused(changes, where, quoted):
    with refused(where, quoted):
        build_victim({'type': 'defended', 'victim': BICUBIC, 'defences': [], **changes})
