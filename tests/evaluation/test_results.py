"""Means, what they leave out, and how the JSON says so."""

from __future__ import annotations

import json
import math

import pytest

from mea_plugin.evaluation.results import Comparison, EvaluatedModel, EvaluationResult, Protocol, SetResult
from mea_plugin.evaluation.statistics import mean_interval
from mea_plugin.metrics.catalogue import DEFAULT, find_metrics

METRICS = tuple(find_metrics(DEFAULT))


def comparison(*scores):
    """Images named 0, 1, ...; RGB one dB and 0.1 below Y."""
    return Comparison(
        {
            str(index): {'psnr_y': psnr, 'ssim_y': ssim, 'psnr_rgb': psnr - 1, 'ssim_rgb': ssim - 0.1}
            for index, (psnr, ssim) in enumerate(scores)
        }
    )


def content(fidelity, *, scale=4):
    models = [EvaluatedModel(name, 'surrogate', name.title(), '0' * 64) for name in fidelity]
    sets = [SetResult('Set5', 2, 'f' * 64, fidelity=fidelity, notes=['a note'])]
    return EvaluationResult('study', Protocol(scale, METRICS), models, sets).to_json()


def test_the_mean_is_over_images_with_its_interval():
    scores = (30, 0.9), (34, 0.7), (33, 0.8)
    mean = comparison(*scores).means['psnr_y']
    expected = mean_interval([psnr for psnr, _ in scores])
    assert (mean.value, mean.interval, mean.identical) == (pytest.approx(97 / 3), expected.bounds, 0)


def test_equal_images_are_left_out_of_the_mean_psnr_and_counted():
    means = comparison((30, 0.9), (math.inf, 1.0)).means
    assert (means['psnr_y'].value, means['psnr_y'].identical) == (pytest.approx(30), 1)
    assert (means['ssim_y'].value, means['ssim_y'].identical) == (pytest.approx(0.95), 0)
    mean = comparison((math.inf, 1.0)).means['psnr_y']
    assert (mean.value, mean.interval, mean.identical) == (math.inf, None, 1)


def test_json_has_null_for_infinity_and_nothing_else_unusual():
    text = json.dumps(content({'ours': comparison((30, 0.9), (math.inf, 1.0))}), allow_nan=False)
    ours = json.loads(text)['test_sets'][0]['fidelity']['ours']
    assert ours['mean'] == {'psnr_y': 30, 'ssim_y': 0.95, 'psnr_rgb': 29, 'ssim_rgb': 0.85}
    assert ours['interval']['psnr_y'] is None
    assert ours['interval']['ssim_y'][0] < 0.95 < ours['interval']['ssim_y'][1]
    assert ours['identical'] == {'psnr_y': 1, 'ssim_y': 0, 'psnr_rgb': 1, 'ssim_rgb': 0}
    assert ours['undefined'] == dict.fromkeys(DEFAULT, 0)
    assert ours['images']['1']['psnr_y'] is None
    assert ours['images']['0'] == {'psnr_y': 30, 'ssim_y': 0.9, 'psnr_rgb': 29, 'ssim_rgb': 0.8}


def test_json_states_format_protocol_and_models():
    found = content({'ours': comparison((30, 0.9))}, scale=3)
    assert found['format'] == 3
    assert found['protocol']['scale'] == found['protocol']['border'] == 3
    assert found['models'] == [{'name': 'ours', 'role': 'surrogate', 'title': 'Ours', 'fingerprint': '0' * 64}]
    assert list(found['protocol']['metrics']) == list(DEFAULT)
    assert found['protocol']['metrics']['ssim_y'] == {
        **{'title': 'Y-SSIM', 'unit': '', 'digits': 4, 'better': 'higher', 'kind': 'pair', 'missing': ''},
        'protocol': METRICS[1].protocol,
    }
    assert found['test_sets'][0]['notes'] == ['a note']


@pytest.mark.parametrize(('scale', 'border'), [(4, 4), (1, 0)])
def test_the_border_is_the_scale_and_nothing_is_cut_where_the_size_stays(scale, border):
    assert Protocol(scale).border == border
