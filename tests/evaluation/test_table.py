"""Means, what they leave out, and how tables say so."""

from __future__ import annotations

import json
import math

import pytest

from mea_plugin.evaluation.metrics import Score
from mea_plugin.evaluation.results import Comparison, EvaluatedModel, EvaluationResult, Protocol, SetResult
from mea_plugin.evaluation.table import image_tables, mean_tables


def comparison(*scores):
    """Images named 0, 1, ...; RGB one dB and 0.1 below Y."""
    return Comparison(
        {
            str(index): {'y': Score(psnr, ssim), 'rgb': Score(psnr - 1, ssim - 0.1)}
            for index, (psnr, ssim) in enumerate(scores)
        }
    )


def result(fidelity, quality=None, surrogates=('base', 'ours'), scale=4, count=2):
    names = list(dict.fromkeys([*fidelity, *(quality or {})]))
    roles = {name: 'surrogate' if name in surrogates else 'baseline' for name in names}
    models = [EvaluatedModel(name, role, name.title(), '0' * 64) for name, role in roles.items()]
    sets = [SetResult('Set5', count, 'f' * 64, fidelity, quality or {})]
    return EvaluationResult('study', Protocol(scale), models, sets)


def cells(text, row, table=0):
    """The cells of the row of that name in the nth table."""
    rows = [line for line in text.splitlines() if line.startswith(f'| {row} ')]
    return [cell.strip() for cell in rows[table].strip('|').split('|')]


def test_the_mean_is_over_images():
    mean = comparison((30, 0.9), (34, 0.7)).mean('y')
    assert (mean.psnr, mean.ssim, mean.identical) == (pytest.approx(32), pytest.approx(0.8), 0)


def test_equal_images_are_left_out_of_the_mean_psnr_and_counted():
    mean = comparison((30, 0.9), (math.inf, 1.0)).mean('y')
    assert (mean.psnr, mean.ssim, mean.identical) == (pytest.approx(30), pytest.approx(0.95), 1)
    mean = comparison((math.inf, 1.0)).mean('y')
    assert (mean.psnr, mean.identical) == (math.inf, 1)


def test_json_has_null_for_infinity_and_nothing_else_unusual():
    text = json.dumps(result({'ours': comparison((30, 0.9), (math.inf, 1.0))}).to_json(), allow_nan=False)
    ours = json.loads(text)['test_sets'][0]['fidelity']['ours']
    assert ours['mean']['y'] == {'psnr': 30, 'ssim': 0.95, 'identical': 1}
    assert ours['images']['1']['y'] == {'psnr': None, 'ssim': 1.0}
    assert ours['images']['0']['rgb'] == {'psnr': 29, 'ssim': 0.8}


def test_json_states_protocol_models_and_versions():
    content = result({'ours': comparison((30, 0.9))}, scale=3).to_json()
    assert content['protocol']['scale'] == content['protocol']['border'] == 3
    assert content['models'] == [{'name': 'ours', 'role': 'surrogate', 'title': 'Ours', 'fingerprint': '0' * 64}]
    assert {'mea_plugin', 'python', 'numpy', 'Pillow'} <= set(content['packages'])


@pytest.mark.parametrize(('scale', 'border', 'text'), [(4, 4, '4 pixels cropped'), (1, 0, 'nothing cropped')])
def test_the_border_is_the_scale_and_the_table_says_so(scale, border, text):
    assert Protocol(scale).border == border
    assert text in mean_tables(result({'ours': comparison((30, 0.9))}, scale=scale))


def test_each_table_states_its_protocol():
    scores = comparison((30, 0.9), (34, 0.7))
    text = mean_tables(result({'ours': scores}, {'ours': scores}))
    intro = [line for line in text.splitlines() if line.startswith('**Set5')]
    assert len(intro) == 2
    assert 'fidelity' in intro[0]
    assert 'task quality' in intro[1]
    for line in intro:
        assert '2 images, x4; PSNR in dB and SSIM on Y (BT.601, as MATLAB) and on RGB' in line
        assert '4 pixels cropped at each edge; mean over images' in line


def test_without_ground_truth_there_is_no_table_of_quality():
    assert 'task quality' not in mean_tables(result({'ours': comparison((30, 0.9))}))


def test_numbers_stand_in_their_columns():
    text = mean_tables(result({'ours': comparison((30.004, 0.9), (34, 0.7))}))
    assert cells(text, 'model') == ['model', 'Y-PSNR', 'Y-SSIM', 'RGB-PSNR', 'RGB-SSIM']
    assert cells(text, 'ours') == ['ours', '32.00', '0.8000', '31.00', '0.7000']


def test_bold_is_for_the_best_surrogate_only():
    text = mean_tables(
        result({'bicubic': comparison((40, 0.99)), 'base': comparison((30, 0.91)), 'ours': comparison((31, 0.90))})
    )
    assert cells(text, 'bicubic') == ['bicubic', '40.00', '0.9900', '39.00', '0.8900']
    assert cells(text, 'base') == ['base', '30.00', '**0.9100**', '29.00', '**0.8100**']
    assert cells(text, 'ours') == ['ours', '**31.00**', '0.9000', '**30.00**', '0.8000']


def test_what_prints_equal_is_equally_bold():
    text = mean_tables(result({'base': comparison((30.001, 0.9)), 'ours': comparison((30.002, 0.9))}))
    assert cells(text, 'base')[1:] == cells(text, 'ours')[1:] == ['**30.00**', '**0.9000**', '**29.00**', '**0.8000**']


def test_a_single_surrogate_wins_nothing():
    table = [line for line in mean_tables(result({'ours': comparison((30, 0.9))})).splitlines() if line[0:1] == '|']
    assert '**' not in ''.join(table)


def test_equal_images_are_mentioned_below_the_table():
    text = mean_tables(result({'ours': comparison((30, 0.9), (math.inf, 1.0))}))
    assert 'ours: 1 of 2 images equal their reference on Y (infinite PSNR) and are left out of the mean PSNR.' in text
    text = mean_tables(result({'ours': comparison((math.inf, 1.0))}, count=1))
    assert cells(text, 'ours')[1] == 'inf'
    assert 'left out' not in text


def test_the_lines_of_a_table_are_equally_long():
    text = mean_tables(
        result({'a|b': comparison((3, 0.9)), 'base': comparison((30, 0.91)), 'ours': comparison((131, 0.90))})
    )
    lines = [line for line in text.splitlines() if line.startswith('|')]
    assert len({len(line) for line in lines}) == 1
    assert any(line.startswith('| a\\|b ') for line in lines)


def test_per_image_tables_have_a_row_per_image_and_model():
    text = image_tables(result({'base': comparison((30, 0.9), (31, 0.8)), 'ours': comparison((32, 0.9), (33, 0.8))}))
    assert 'per image.' in text
    rows = [line.split() for line in text.splitlines() if line.startswith('| 0') or line.startswith('| 1')]
    assert [(row[1], row[3], row[5]) for row in rows] == [
        ('0', 'base', '30.00'),
        ('0', 'ours', '32.00'),
        ('1', 'base', '31.00'),
        ('1', 'ours', '33.00'),
    ]
