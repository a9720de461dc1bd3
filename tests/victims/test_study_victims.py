"""The victims that were trained for studies: each weight file fits its option file's network, and is worth asking."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from mea_plugin.core.images import read_rgb
from mea_plugin.core.options import load_options
from mea_plugin.data.embedded import photographs
from mea_plugin.data.resize import downscale
from mea_plugin.metrics.psnr_ssim import psnr
from mea_plugin.victims import build_victim
from tests.helpers import ROOT

FOLDER = ROOT / 'docs' / 'results' / 'victims'
STYLES = ('urban_pencil',)
FILES = sorted(FOLDER.glob('*.pth'))


@pytest.mark.parametrize('file', [file for file in FILES if file.stem not in STYLES], ids=lambda path: path.stem)
def test_a_victim_is_better_than_bicubic(file):
    pytest.importorskip('mea_plugin.basicsr')
    options = load_options(ROOT / 'options' / 'study' / 'victims' / f'{file.stem}.yml')
    victim = build_victim({'type': 'basicsr', 'network_g': options['network_g'], 'weights': str(file)})
    truth = np.ascontiguousarray(data.astronaut()[:256, :256])
    query = downscale(truth, 4)
    (answer,) = victim.query([query])
    (bicubic,) = build_victim({'type': 'bicubic', 'scale': 4}).query([query])
    assert victim.scale == 4
    assert psnr(answer, truth, border=4) > psnr(bicubic, truth, border=4) + 1


def style_victim():
    asked = load_options(ROOT / 'options' / 'study' / 'style.yml')['victims']['urban_pencil']['victim']
    return build_victim({**asked, 'checkpoint': str(FOLDER / 'urban_pencil.pth')})


def test_the_style_victim_draws_as_its_teacher_does():
    pytest.importorskip('mea_plugin.mmagic')
    taught = load_options(ROOT / 'options' / 'study' / 'victims' / 'urban_pencil_data.yml')['victim']
    victim, teacher = style_victim(), build_victim(taught)
    gains = []
    for path in photographs('test').values():
        query = downscale(read_rgb(path), 2)
        (answer,), (sketch,) = victim.query([query]), teacher.query([query])
        constant = np.full_like(sketch, sketch.mean((0, 1)).round())
        own, *trivial = (psnr(image, sketch, border=0, channel='rgb') for image in (answer, query, constant))
        gains.append([own - other for other in trivial])
    assert victim.scale == 1
    assert np.mean(gains, axis=0).min() > 1


def test_the_study_asks_the_network_that_the_option_file_trains():
    pytest.importorskip('mea_plugin.mmagic')
    config = str(ROOT / 'options' / 'study' / 'victims' / 'urban_pencil.py')
    checkpoint = str(FOLDER / 'urban_pencil.pth')
    trained = build_victim({'type': 'mmagic', 'config': config, 'checkpoint': checkpoint, 'trusted': True})
    query = np.ascontiguousarray(data.astronaut()[:64, :72])
    (expected,), (answer,) = trained.query([query]), style_victim().query([query])
    assert np.array_equal(answer, expected)


def test_there_are_several_and_they_are_small():
    assert len(FILES) >= 3
    assert all(file.stat().st_size <= 3 * 2**20 for file in FILES)
