"""The bicubic victim: the reference row of tables."""

import numpy as np
import pytest

from mea_plugin.data.resize import bicubic
from mea_plugin.victims import Victim, build_victim
from mea_plugin.victims.bicubic import BicubicVictim
from tests.helpers import photograph, refused


def test_it_speaks_the_protocol():
    victim = build_victim({'type': 'bicubic', 'scale': 3})
    assert isinstance(victim, Victim)
    assert (victim.name, victim.scale) == ('bicubic', 3)
    images = [photograph((5, 8), 1), photograph((1, 1), 2), photograph((12, 7), 3)]
    answers = victim.query(images)
    assert [answer.shape for answer in answers] == [(15, 24, 3), (3, 3, 3), (36, 21, 3)]
    for image, answer, again in zip(images, answers, victim.query(images[::-1])[::-1], strict=True):
        assert answer.dtype == np.uint8
        np.testing.assert_array_equal(answer, bicubic(image, 3))
        np.testing.assert_array_equal(answer, again)
    assert victim.query([]) == []


def test_the_fingerprint_is_of_what_answers():
    four = build_victim({'type': 'bicubic', 'scale': 4})
    assert four.fingerprint == build_victim({'type': 'bicubic', 'scale': 4, 'name': 'other'}).fingerprint
    assert four.fingerprint != build_victim({'type': 'bicubic', 'scale': 2}).fingerprint
    # As published: another value makes every query set of it another victim's.
    assert four.fingerprint == '275ea7620a0f5662397c556550ae9a611620a7e69d05b4cfee32f248ad8667c7'


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({}, 'opt', "'scale'", 'scale'),
        ({'scale': 0}, 'opt.scale', '0', '1'),
        ({'scale': 2.5}, 'opt.scale', '2.5', '1'),
        ({'scale': 4, 'sclae': 4}, 'opt', "'sclae'", "'scale'"),
    ],
)
def test_bad_options(options, where, quoted, do):
    with refused(where, quoted, do=do):
        build_victim({'type': 'bicubic', **options}, where='opt')


def test_a_mistake_in_python_is_one_too():
    with refused('victim.scale', '0'):
        BicubicVictim(0)
