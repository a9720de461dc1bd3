"""The victim that ships: small, loadable, trained by the option file beside it, and worth extracting."""

import numpy as np
import pytest

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.core.options import load_options
from mea_plugin.metrics.psnr_ssim import psnr
from mea_plugin.toolboxes.basicsr_networks import build_network
from mea_plugin.victims import build_victim
from mea_plugin.victims.embedded import EMBEDDED
from tests.helpers import photograph


def test_it_is_small_and_its_option_file_is_valid():
    assert EMBEDDED.stat().st_size <= 1_000_000
    options = load_options(EMBEDDED.with_suffix('.yml'))
    check_options(options, where='embedded_x4.yml', data=False)
    assert sum(p.numel() for p in build_network(options['network_g']).parameters()) == 230_496


def test_the_same_image_gets_the_same_answer():
    first, second = build_victim({'type': 'embedded'}), build_victim({'type': 'embedded', 'name': 'other'})
    image = photograph((20, 30))
    assert first.scale == 4
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.query([image])[0], second.query([image])[0])


@pytest.mark.parametrize(('name', 'gain'), [('Set5', 1.0), ('Set14', 0.6)])
@pytest.mark.slow
def test_it_is_better_than_bicubic(shared_data, name, gain):
    victim, bicubic = build_victim({'type': 'embedded'}), build_victim({'type': 'bicubic', 'scale': 4})
    gains = []
    folders = (list_images(shared_data / name / part) for part in ('LRx4', 'HR'))
    for lq_path, gt_path in zip(*folders, strict=True):
        lq, gt = read_rgb(lq_path), read_rgb(gt_path)
        gt = gt[: 4 * lq.shape[0], : 4 * lq.shape[1]]
        ours, theirs = (psnr(model.query([lq])[0], gt, border=4, channel='y') for model in (victim, bicubic))
        gains.append(ours - theirs)
    assert np.mean(gains) >= gain
