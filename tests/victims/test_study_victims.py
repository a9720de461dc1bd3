"""The victims that were trained for studies: each weight file fits its option file's network, and is worth asking."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from mea_plugin.data.resize import downscale
from mea_plugin.metrics import psnr
from mea_plugin.options import load_options
from mea_plugin.victims import build_victim
from tests.helpers import ROOT

pytest.importorskip('mea_plugin.basicsr')

FILES = sorted((ROOT / 'docs' / 'results' / 'victims').glob('*.pth'))


@pytest.mark.parametrize('file', FILES, ids=lambda path: path.stem)
def test_a_victim_is_better_than_bicubic(file):
    assert file.stat().st_size <= 3 * 2**20
    options = load_options(ROOT / 'options' / 'study' / 'victims' / f'{file.stem}.yml')
    victim = build_victim({'type': 'basicsr', 'network_g': options['network_g'], 'weights': str(file)})
    truth = np.ascontiguousarray(data.astronaut()[:256, :256])
    query = downscale(truth, 4)
    (answer,) = victim.query([query])
    (bicubic,) = build_victim({'type': 'bicubic', 'scale': 4}).query([query])
    assert victim.scale == 4
    assert psnr(answer, truth, border=4) > psnr(bicubic, truth, border=4) + 1


def test_there_is_one():
    assert FILES
