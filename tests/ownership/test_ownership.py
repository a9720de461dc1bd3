"""The test of ownership: its false alarms, and what it finds in networks that carry part of the mark."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from mea_plugin.defences.invisible import InvisibleWatermark, KeyedMark
from mea_plugin.ownership.job import ownership_from_options
from mea_plugin.ownership.verify import verify, verify_all
from mea_plugin.victims import build_victim
from tests.helpers import call_tool, photograph, refused, write_yaml

IMAGES = [photograph((48, 64), seed=seed) for seed in range(3)]


class Suspect:
    """Like the victim, but blurred and noisy, with a share of a mark."""

    name, scale, fingerprint = 'suspect', 2, 'suspect'

    def __init__(self, mark=None, share=0.0, seed=0):
        self._victim = build_victim({'type': 'bicubic', 'scale': 2})
        self._mark, self._share, self._seed = mark, share, seed

    def query(self, images):
        generator = np.random.default_rng(self._seed)
        answers = []
        for image, answer in zip(images, self._victim.query(images), strict=True):
            blurred = cv2.GaussianBlur(answer, (0, 0), 1).astype(np.float32)
            blurred += generator.normal(0, 3, blurred.shape)
            if self._mark is not None:
                blurred += self._share * self._mark.draw(image, 2)
            answers.append(np.clip(np.rint(blurred), 0, 255).astype(np.uint8))
        return answers


VICTIM = build_victim({'type': 'bicubic', 'scale': 2})


def test_a_quarter_of_the_mark_is_enough():
    watermark = InvisibleWatermark(amplitude=2, key='the key of an owner')
    found = verify(Suspect(watermark.mark, share=0.5), VICTIM, watermark, IMAGES, decoys=99)
    assert found.p == 0.01
    assert found.z > 3
    assert found.p_normal < 0.002
    assert (found.images, found.decoys) == (3, 99)


@pytest.mark.slow
def test_false_alarms_are_as_many_as_p_says():
    """Suspects with somebody else's mark, many keys: p is uniform, so that p <= 0.2 in about a fifth of 60 cases."""
    suspect = Suspect(KeyedMark(np.random.default_rng(1)), share=2)
    ps = [
        verify(suspect, VICTIM, InvisibleWatermark(key=f'key number {number}'), IMAGES[:1], decoys=99, seed=number).p
        for number in range(60)
    ]
    assert 4 <= sum(p <= 0.2 for p in ps) <= 21  # P < 0.002 beyond
    assert np.mean(ps) == pytest.approx(0.5, abs=0.13)


@pytest.mark.slow
def test_many_suspects_are_each_tested_as_if_alone():
    watermark = InvisibleWatermark(amplitude=2, key='the key of an owner')
    suspects = {'thief': Suspect(watermark.mark, share=1), 'innocent': Suspect(seed=1), 'bicubic': VICTIM}
    found = verify_all(suspects, VICTIM, watermark, iter(IMAGES), decoys=99, seed=5)
    assert list(found) == list(suspects)
    for name, suspect in suspects.items():
        alone = verify(suspect, VICTIM, watermark, IMAGES, decoys=99, seed=5)
        assert (found[name].p, found[name].images) == (alone.p, 3)
        assert found[name].z == pytest.approx(alone.z, rel=1e-5)
    assert found['bicubic'].p == 1  # it differs in nothing


def test_the_mark_cannot_be_told_by_a_linear_filter():
    """What surrogates do wrong most, blurring and sharpening, has nothing to do with it."""
    mark = KeyedMark(np.random.default_rng(0))
    image = IMAGES[0]
    drawn = mark.draw(image, 1) - mark.draw(image, 1).mean(axis=(0, 1))
    sharp = image - cv2.GaussianBlur(image, (0, 0), 1).astype(np.float32)
    assert abs(np.corrcoef(drawn.mean(axis=2).ravel(), sharp.mean(axis=2).ravel())[0, 1]) < 0.35


def test_what_is_refused():
    watermark = InvisibleWatermark(key='the key of an owner')
    with refused('images'):
        verify(Suspect(), VICTIM, watermark, [])
    with refused('decoys', '10', do='99'):
        verify(Suspect(), VICTIM, watermark, IMAGES, decoys=10)
    with refused('', 'scale', '4', '2'):
        verify(build_victim({'type': 'bicubic', 'scale': 4}), VICTIM, watermark, IMAGES)


def test_the_tool(tmp_path, capsys):
    options = {
        'name': 'whose',
        'victim': {'type': 'bicubic', 'scale': 2},
        'watermark': {'key': 'the key of an owner'},
        'images': 'embedded:test',
        'shrink': 8,
        'decoys': 99,
        'suspects': {
            'stranger': {'type': 'opencv', 'style': 'stylization'},
        },
    }
    file = write_yaml(tmp_path / 'whose.yml', options)
    assert call_tool('ownership', '-opt', file, '--output', tmp_path / 'out') == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(name in line for name in ('stranger', 'scale 1', '2'))
    marked = {'type': 'invisible_watermark', 'key': 'the key of an owner'}
    compressed = {'type': 'jpeg', 'quality': 90}
    options['suspects'] = {
        name: {'type': 'defended', 'victim': options['victim'], 'defences': defences}
        for name, defences in (('thief', [marked, compressed]), ('innocent', [compressed]))
    }
    file = write_yaml(tmp_path / 'whose.yml', options)
    assert call_tool('ownership', '-opt', file, '--output', tmp_path / 'out') == 0
    assert '| thief ' in capsys.readouterr().out
    found = json.loads((tmp_path / 'out/ownership.json').read_text())
    assert found['suspects']['thief']['p'] == 0.01
    assert found['suspects']['innocent']['p'] > 0.01
    assert 'the key of an owner' not in json.dumps(found['watermark'])


@pytest.mark.parametrize(
    ('changes', 'where', 'quoted', 'do'),
    [
        ({'decoys': 5}, ': decoys', '5', '99'),
        ({'suspects': {}}, ': suspects', '', 'NAME'),
        ({'suspects': {'a': 5}}, ': suspects.a', '5', ''),
        ({'watermark': {}}, 'watermark', '', 'key_file'),
        ({'watermark': {'key': 'short'}}, ': watermark[0].key', '8', 'openssl'),
        ({'suspect': {}}, '', "'suspect'", "'suspects'"),
    ],
)
def test_options_that_are_refused(tmp_path, changes, where, quoted, do):
    options = {
        'name': 'whose',
        'victim': {'type': 'bicubic', 'scale': 2},
        'watermark': {'key': 'the key of an owner'},
        'images': 'embedded:test',
        'suspects': {'one': {'type': 'bicubic', 'scale': 2}},
        **changes,
    }
    with refused(where, quoted, do=do):
        ownership_from_options(options, tmp_path / 'out', where='whose.yml')
    assert not (tmp_path / 'out' / 'ownership.json').exists()
