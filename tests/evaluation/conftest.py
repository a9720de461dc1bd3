"""Small models and test sets whose scores are known."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mea_plugin.core.images import write_png
from mea_plugin.victims import register_victim, victim_types


class Enlarger:
    """Repeats pixels, adds a constant, and counts its questions."""

    def __init__(self, scale=2, offset=0, name='enlarger'):
        self.name, self.scale, self.offset = name, scale, offset
        self.fingerprint = f'{scale}/{offset}'
        self.asked = []

    def query(self, images):
        self.asked += [image.shape for image in images]
        return [image.repeat(self.scale, 0).repeat(self.scale, 1) + np.uint8(self.offset) for image in images]


if 'enlarger' not in victim_types():
    register_victim('enlarger', Enlarger)


@pytest.fixture(scope='session')
def enlarger():
    return Enlarger


@pytest.fixture(scope='session')
def basicsr():
    """BasicSR, importable; skips where it is not installed."""
    if importlib.util.find_spec('basicsr') is None:
        pytest.skip('BasicSR is not installed')
    from mea_plugin.toolboxes import basicsr_compat as compat

    compat.apply()


@pytest.fixture
def make_set(tmp_path):
    """Write a test set of ``scale`` with the given sizes (height, width); values stay low enough for offsets."""

    def make(name='toy', scale=2, sizes=((16, 20), (18, 16), (20, 24)), gt_more=(0, 0)):
        rng = np.random.default_rng(len(name))
        for index, (height, width) in enumerate(sizes):
            lq = rng.integers(20, 200, (height, width, 3), dtype=np.uint8)
            gt = rng.integers(20, 200, (height * scale + gt_more[0], width * scale + gt_more[1], 3), dtype=np.uint8)
            write_png(tmp_path / name / 'lq' / f'{index:02d}.png', lq)
            write_png(tmp_path / name / 'gt' / f'{index:02d}.png', gt)
        return tmp_path / name

    return make
