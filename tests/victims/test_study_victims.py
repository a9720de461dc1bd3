"""The victims that were trained for studies: each weight file fits its option file's network, and is worth asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from mea_plugin.data.embedded import photographs
from mea_plugin.data.resize import downscale
from mea_plugin.images import read_rgb
from mea_plugin.metrics import psnr
from mea_plugin.options import load_options
from mea_plugin.victims import build_victim
from tests.helpers import ROOT

OPTIONS = ROOT / 'options' / 'study' / 'victims'
FILES = sorted((ROOT / 'docs' / 'results' / 'victims').glob('*.pth'))
STYLES = [file for file in FILES if (OPTIONS / f'{file.stem}.py').is_file()]
SCALES = [file for file in FILES if file not in STYLES]


def photograph() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[:256, :256])


@pytest.mark.parametrize('file', SCALES, ids=lambda path: path.stem)
def test_a_victim_is_better_than_bicubic(file: Path) -> None:
    pytest.importorskip('mea_plugin.basicsr')
    options = load_options(OPTIONS / f'{file.stem}.yml')
    victim = build_victim({'type': 'basicsr', 'network_g': options['network_g'], 'weights': str(file)})
    truth = photograph()
    query = downscale(truth, 4)
    (answer,) = victim.query([query])
    (bicubic,) = build_victim({'type': 'bicubic', 'scale': 4}).query([query])
    assert victim.scale == 4
    assert psnr(answer, truth, border=4) > psnr(bicubic, truth, border=4) + 1


@pytest.mark.parametrize('file', STYLES, ids=lambda path: path.stem)
def test_a_victim_has_learnt_its_style(file: Path) -> None:
    pytest.importorskip('mmagic')
    taught: dict[str, Any] = load_options(OPTIONS / f'{file.stem}_data.yml')['victim']
    config = str(OPTIONS / f'{file.stem}.py')
    victim = build_victim({'type': 'mmagic', 'config': config, 'checkpoint': str(file), 'trusted': True})
    sketch = build_victim(taught)
    gains = []
    for path in photographs('test').values():
        query = downscale(read_rgb(path), 2)
        (answer,), (truth,) = victim.query([query]), sketch.query([query])
        constant = np.full_like(truth, truth.mean((0, 1)).round())
        own, *trivial = (psnr(image, truth, border=0, channel='rgb') for image in (answer, query, constant))
        gains.append([own - other for other in trivial])
    assert victim.scale == 1
    assert np.mean(gains, axis=0).min() > 1


def test_the_style_study_asks_the_network_of_its_option_file() -> None:
    pytest.importorskip('mmagic')
    for name, entry in load_options(ROOT / 'options' / 'study' / 'style.yml')['victims'].items():
        asked: dict[str, Any] = entry['victim']
        if asked['type'] != 'mmagic':
            continue
        file = ROOT / asked['checkpoint']
        config = str(OPTIONS / f'{name}.py')
        trained = build_victim({'type': 'mmagic', 'config': config, 'checkpoint': str(file), 'trusted': True})
        query = photograph()[:64, :72]
        (expected,) = trained.query([query])
        (answer,) = build_victim({**asked, 'checkpoint': str(file)}).query([query])
        assert np.array_equal(answer, expected)


@pytest.mark.parametrize('file', FILES, ids=lambda path: path.stem)
def test_a_file_is_small(file: Path) -> None:
    assert file.stat().st_size <= 3 * 2**20


def test_there_are_some_of_each_kind() -> None:
    assert SCALES
    assert STYLES
