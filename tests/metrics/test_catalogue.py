"""The catalogue: what must hold for every metric, of whatever module."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mea_plugin.metrics.catalogue import _MAKERS, DEFAULT, find_metrics, metric_names
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource
from tests.helpers import refused
from tests.metrics.pictures import planes, related

PIXEL_METRICS = [
    *('psnr_y', 'ssim_y', 'psnr_rgb', 'ssim_rgb', 'ms_ssim_y', 'ms_ssim_rgb'),
    *('hf_psnr', 'psnr_h1', 'psnr_v1', 'psnr_d1', 'psnr_h2', 'psnr_v2', 'psnr_d2', 'psnr_a2'),
    *('spectrum_error', 'worst_patch_psnr', 'flip_psnr', 'ceiling_gap'),
]


@pytest.fixture(scope='module')
def metrics(tmp_path_factory):
    """Every metric, with no weights at hand."""
    return find_metrics(metric_names(), sources=WeightSource(folder=tmp_path_factory.mktemp('no_weights')))


def test_every_metric_says_what_it_is(metrics):
    assert [metric.name for metric in metrics] == metric_names()
    assert len({metric.title for metric in metrics}) == len(metrics)
    assert set(PIXEL_METRICS) <= set(metric_names())
    for metric in metrics:
        assert len(metric.protocol) > 20
        assert '\n' not in metric.protocol
        assert metric.better in ('higher', 'lower')
        assert metric.kind in ('pair', 'single', 'model', 'set')
        assert 0 <= metric.digits <= 6
    assert not any(metric.missing for metric in metrics if metric.name in PIXEL_METRICS)


def test_names_of_the_modules_do_not_hide_one_another():
    from mea_plugin.metrics import bands, ceiling, flips, ms_ssim, patches, psnr_ssim, spectrum

    modules = (psnr_ssim, ms_ssim, bands, spectrum, patches, flips, ceiling)
    assert sum(len(module.METRICS) for module in modules) == len(PIXEL_METRICS)
    for module in modules:
        assert all(_MAKERS[name] is maker for name, maker in module.METRICS.items())


def test_equal_images_are_best_and_noise_is_worse(metrics):
    image, slightly = related(0, 180, 190, noise=4)
    _, strongly = related(0, 180, 190, noise=20)
    for metric in metrics:
        if metric.kind == 'pair' and not metric.missing:
            best, near, far = (metric.measure(*planes(other, image, border=2)) for other in (image, slightly, strongly))
            assert (best > near > far) if metric.better == 'higher' else (best < near < far), metric.name


def test_threads_that_share_images_measure_what_one_does(metrics):
    images = related(1, 180, 190)
    pairs = [metric for metric in metrics if metric.kind == 'pair' and not metric.missing]
    expected = [metric.measure(*planes(*images, border=2)) for metric in pairs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            shared = planes(*images, border=2)
            assert list(pool.map(lambda metric, pair=shared: metric.measure(*pair), pairs * 2)) == expected * 2


def test_images_of_two_sizes_are_refused_by_every_pair_metric(metrics):
    first, second = (Planes(np.zeros((180, width, 3), np.uint8), border=0) for width in (180, 181))
    for metric in metrics:
        if metric.kind == 'pair' and not metric.missing:
            with pytest.raises(ValueError, match=r'180x180\b.*\b181x180'):
                metric.measure(first, second)


@pytest.mark.parametrize(
    ('names', 'wrong', 'nearest'),
    [
        (['psnr_y', 'ssim_Y'], "'ssim_Y'", "'ssim_y'"),
        (['ms_sim_rgb'], "'ms_sim_rgb'", "'ms_ssim_rgb'"),
        (['worst_patch'], "'worst_patch'", "'worst_patch_psnr'"),
        ([{'psnr_y': 1}], "'{'psnr_y': 1}'", "'psnr_y'"),
    ],
)
def test_the_name_nearest_to_a_wrong_one_is_given(names, wrong, nearest):
    with refused('quality.metrics', wrong, do=nearest):
        find_metrics(names, where='quality.metrics')


def test_a_name_given_twice_is_refused():
    with refused('quality.metrics', "'psnr_y'") as caught:
        find_metrics(['psnr_y', 'ssim_y', 'psnr_y'], where='quality.metrics')
    assert 'psnr_y' not in caught.value.do


def test_nothing_near_lists_all():
    with refused('', "'zzz'", do=('psnr_y', 'ssim_y')):
        find_metrics(['zzz'])


def test_the_order_is_the_callers_and_the_default_is_in_it():
    names = ['hf_psnr', *reversed(DEFAULT)]
    assert [metric.name for metric in find_metrics(names)] == names
    assert find_metrics([]) == []


@pytest.mark.every_environment
def test_importing_the_catalogue_is_light():
    code = "import sys, mea_plugin.metrics; print([m for m in ('torch', 'skimage', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'
