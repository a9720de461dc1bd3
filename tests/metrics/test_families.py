"""Families of metrics, and one that is added to the catalogue alone: both toolboxes get it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from mea_plugin.metrics import catalogue
from mea_plugin.metrics.families import families
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.registry import METRICS
from tests.helpers import refused


@pytest.fixture
def added(monkeypatch):
    """A family ``mean_error`` on Y and on RGB."""

    def make(name, sources):
        channel = name.rpartition('_')[2]

        def measure(image, reference):
            return float(np.abs(np.subtract(image.channel(channel), reference.channel(channel), dtype=float)).mean())

        return Metric(name, f'{channel} mean error', '', 2, 'lower', 'pair', 'the mean', measure, channel=channel)

    makers = {'mean_error_y': make, 'mean_error_rgb': make}
    monkeypatch.setattr(METRICS, '_registered', {**METRICS._registered, **makers})
    families.cache_clear()
    yield families()['mean_error']
    families.cache_clear()


def test_every_metric_belongs_to_one_family():
    found = [member.name for family in families().values() for member in family.members]
    assert sorted(found) == sorted(catalogue.metric_names())
    for name, family in families().items():
        assert family.name == name
        assert len({(member.kind, member.better) for member in family.members}) == 1


@pytest.mark.parametrize(
    ('name', 'label', 'channels', 'backbones', 'default'),
    [
        ('psnr', 'PSNR', ('rgb', 'y'), (), 'psnr_rgb'),
        ('ms_ssim', 'MSSSIM', ('rgb', 'y'), (), 'ms_ssim_rgb'),
        ('hf_psnr', 'HFPSNR', ('y',), (), 'hf_psnr'),
        ('worst_patch_psnr', 'WorstPatchPSNR', ('y',), (), 'worst_patch_psnr'),
        ('lpips', 'LPIPS', ('rgb',), ('alex', 'vgg', 'squeeze'), 'lpips_alex'),
        ('fid', 'FID', ('rgb',), (), 'fid'),
    ],
)
def test_what_a_family_is_made_of(name, label, channels, backbones, default):
    family = families()[name]
    assert (family.label, family.channels, family.backbones, family.find()) == (label, channels, backbones, default)
    assert family.takes_weights == (name in ('lpips', 'fid'))


def test_members_are_found_by_channel_and_backbone():
    assert families()['ssim'].find('y') == 'ssim_y'
    assert families()['lpips'].find('rgb', 'vgg') == 'lpips_vgg'
    with refused('x.yml', "'vgg16'", do="'vgg'"):
        families()['lpips'].find(backbone='vgg16', where='x.yml')


def test_an_added_metric_is_basicsr_s(added):
    pytest.importorskip('mea_plugin.basicsr')  # which works around the toolbox first
    from mea_plugin.basicsr.metrics import _function

    metric = _function(added)
    images = [np.full((20, 20, 3), value, np.uint8) for value in (10, 14)]
    assert metric.__name__ == 'calculate_mean_error'
    assert metric(*images, crop_border=1) == 4
    assert metric(*images, crop_border=1, test_y_channel=True) == pytest.approx(4 * 219 / 255, rel=1e-3)
    assert list(inspect.signature(metric).parameters)[2:] == ['crop_border', 'input_order', 'test_y_channel', 'options']


def test_an_added_metric_is_mmagic_s(added):
    pytest.importorskip('mea_plugin.mmagic')
    from mea_plugin.mmagic.metrics.pair_metrics import _metric

    metric = _metric(added)
    assert (metric.__name__, metric.metric, metric.better) == ('MeanError', 'MeanError', 'lower')
    assert metric._source({}) == ('mean_error_rgb', None)
    assert metric._source({'convert_to': 'y'}) == ('mean_error_y', None)
    assert metric(prefix='fidelity')._logged.metric.name == 'mean_error_rgb'
