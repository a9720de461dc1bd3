"""Means, what they leave out, and how tables say so."""

from __future__ import annotations

import json
import math

import pytest

from mea_plugin.evaluation.differences import compare_models, compared_pairs
from mea_plugin.evaluation.results import Comparison, EvaluatedModel, EvaluationResult, Protocol, SetResult
from mea_plugin.evaluation.table import image_tables, mean_tables, metric_notes
from mea_plugin.metrics import DEFAULT, find_metrics
from mea_plugin.statistics import mean_interval

METRICS = tuple(find_metrics(DEFAULT))


def comparison(*scores):
    """Images named 0, 1, ...; RGB one dB and 0.1 below Y."""
    return Comparison(
        {
            str(index): {'psnr_y': psnr, 'ssim_y': ssim, 'psnr_rgb': psnr - 1, 'ssim_rgb': ssim - 0.1}
            for index, (psnr, ssim) in enumerate(scores)
        }
    )


def result(fidelity, quality=None, surrogates=('base', 'ours'), scale=4, count=2, metrics=METRICS, differences=()):
    names = list(dict.fromkeys([*fidelity, *(quality or {})]))
    roles = {name: 'surrogate' if name in surrogates else 'baseline' for name in names}
    models = [EvaluatedModel(name, role, name.title(), '0' * 64) for name, role in roles.items()]
    sets = [SetResult('Set5', count, 'f' * 64, fidelity=fidelity, quality=quality or {}, differences=list(differences))]
    return EvaluationResult('study', Protocol(scale, metrics), models, sets)


def cells(text, row, table=0):
    """The cells of the row of that name in the nth table."""
    rows = [line for line in text.splitlines() if line.startswith(f'| {row} ')]
    return [cell.strip() for cell in rows[table].strip('|').split('|')]


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
    text = json.dumps(result({'ours': comparison((30, 0.9), (math.inf, 1.0))}).to_json(), allow_nan=False)
    ours = json.loads(text)['test_sets'][0]['fidelity']['ours']
    assert ours['mean'] == {'psnr_y': 30, 'ssim_y': 0.95, 'psnr_rgb': 29, 'ssim_rgb': 0.85}
    assert ours['interval']['psnr_y'] is None
    assert ours['interval']['ssim_y'][0] < 0.95 < ours['interval']['ssim_y'][1]
    assert ours['identical'] == {'psnr_y': 1, 'ssim_y': 0, 'psnr_rgb': 1, 'ssim_rgb': 0}
    assert ours['undefined'] == dict.fromkeys(DEFAULT, 0)
    assert ours['images']['1']['psnr_y'] is None
    assert ours['images']['0'] == {'psnr_y': 30, 'ssim_y': 0.9, 'psnr_rgb': 29, 'ssim_rgb': 0.8}


def test_json_states_format_protocol_models_and_versions():
    content = result({'ours': comparison((30, 0.9))}, scale=3).to_json()
    assert content['format'] == 2
    assert content['protocol']['scale'] == content['protocol']['border'] == 3
    assert content['models'] == [{'name': 'ours', 'role': 'surrogate', 'title': 'Ours', 'fingerprint': '0' * 64}]
    assert {'mea_plugin', 'python', 'numpy', 'Pillow'} <= set(content['packages'])
    assert list(content['protocol']['metrics']) == list(DEFAULT)
    assert content['protocol']['metrics']['ssim_y'] == {
        **{'title': 'Y-SSIM', 'unit': '', 'digits': 4, 'better': 'higher', 'kind': 'pair', 'missing': ''},
        'protocol': METRICS[1].protocol,
    }


@pytest.mark.parametrize(('scale', 'border', 'text'), [(4, 4, '4 pixels cropped'), (1, 0, 'nothing cropped')])
def test_the_border_is_the_scale_and_the_table_says_so(scale, border, text):
    assert Protocol(scale).border == border
    assert text in mean_tables(result({'ours': comparison((30, 0.9))}, scale=scale))


def test_each_table_states_its_protocol():
    scores = comparison((30, 0.9), (34, 0.7))
    found = result({'ours': scores}, {'ours': scores})
    intro = [line for line in mean_tables(found).splitlines() if line.startswith('**Set5')]
    assert len(intro) == 2
    assert 'fidelity' in intro[0]
    assert 'task quality' in intro[1]
    for line in intro:
        assert '2 images, x4; 4 pixels cropped at each edge; mean over images [95 % confidence interval]' in line
    assert f'- Y-PSNR (dB, higher is better): {METRICS[0].protocol}.' in metric_notes(found)


def test_without_ground_truth_there_is_no_table_of_quality():
    assert 'task quality' not in mean_tables(result({'ours': comparison((30, 0.9))}))


def test_numbers_stand_in_their_columns():
    text = mean_tables(result({'ours': comparison((30.004, 0.9))}))
    assert cells(text, 'model') == ['model', 'Y-PSNR', 'Y-SSIM', 'RGB-PSNR', 'RGB-SSIM']
    assert cells(text, 'ours') == ['ours', '30.00', '0.9000', '29.00', '0.8000']
    scores = comparison((30, 0.9), (34, 0.7), (33, 0.8))
    low, high = scores.means['psnr_y'].interval
    assert cells(mean_tables(result({'ours': scores})), 'ours')[1] == f'32.33 [{low:.2f}, {high:.2f}]'


def compared(rows, metrics=METRICS):
    """The result of some surrogates that are compared with each other."""
    values = {name: {metric: one.values(metric) for metric in one.means} for name, one in rows.items()}
    surrogates = [name for name in rows if name != 'bicubic']
    pairs = compared_pairs(surrogates, ['bicubic'], None, {})
    found = compare_models('fidelity', values, metrics, pairs, {})
    return result(rows, surrogates=surrogates, count=12, differences=found, metrics=metrics)


def bold(text, row):
    """For each cell of a row, whether it is bold."""
    return [cell.startswith('**') for cell in cells(text, row)[1:]]


def test_bold_is_a_surrogate_that_is_decidedly_better_than_every_other():
    def row(more, ssim):
        return comparison(*((30 + index + more * (1 + index % 3 / 10), ssim + index / 1000) for index in range(12)))

    rows = {'bicubic': row(9, 0.95), 'base': row(0, 0.91), 'ours': row(1, 0.9), 'third': row(-1, 0.9)}
    text = mean_tables(compared(rows))
    # in SSIM two are equal, and base is better than both; all of base's differences are equal, so nothing is decided
    assert bold(text, 'ours') == [True, False, True, False]
    assert bold(text, 'base') == bold(text, 'third') == bold(text, 'bicubic') == [False] * 4


def test_a_larger_mean_alone_is_not_bold():
    rows = {
        'base': comparison(*((30 + i, 0.9) for i in range(4))),
        'ours': comparison(*((31 + i, 0.9) for i in range(4))),
    }
    assert '**' not in ''.join(line for line in mean_tables(compared(rows)).splitlines() if line[:1] == '|')


def test_the_best_may_be_the_lowest():
    (metric,) = find_metrics(['spectrum_error'])
    rows = {
        name: Comparison({str(i): {'spectrum_error': value + i % 3 / 10 * value} for i in range(12)})
        for name, value in (('base', 1.0), ('ours', 2.0))
    }
    text = mean_tables(compared(rows, (metric,)))
    assert (bold(text, 'base'), bold(text, 'ours')) == ([True], [False])


def test_a_single_surrogate_wins_nothing():
    rows = {'bicubic': comparison(*((30 + i, 0.9) for i in range(12)))}
    rows['ours'] = comparison(*((33 + i + i % 3, 0.9) for i in range(12)))
    found = compared(rows)
    assert found.sets[0].differences[0].verdict == 'better'
    assert '**' not in ''.join(line for line in mean_tables(found).splitlines() if line[:1] == '|')


def test_equal_images_are_mentioned_below_the_table():
    text = mean_tables(result({'ours': comparison((30, 0.9), (math.inf, 1.0))}))
    assert 'ours: 1 of 2 images equal their reference on Y-PSNR and are left out of its mean.' in text
    text = mean_tables(result({'ours': comparison((math.inf, 1.0))}, count=1))
    assert cells(text, 'ours')[1] == 'identical'
    assert 'left out' not in text


def test_the_lines_of_a_table_are_equally_long():
    text = mean_tables(
        result({'a|b': comparison((3, 0.9)), 'base': comparison((30, 0.91)), 'ours': comparison((131, 0.90))})
    )
    lines = [line for line in text.splitlines() if line.startswith('|')]
    assert len({len(line) for line in lines}) == 1
    assert any(line.startswith('| a\\|b ') for line in lines)


def test_a_table_too_wide_for_a_terminal_becomes_several():
    names = ['psnr_y', *(f'psnr_{band}' for band in ('h1', 'v1', 'd1', 'h2', 'v2', 'd2', 'a2'))]
    rows = {'ours': Comparison({str(i): dict.fromkeys(names, 30.0 + i) for i in range(4)})}
    text = mean_tables(result(rows, metrics=tuple(find_metrics(names))))
    headers = [line for line in text.splitlines() if line.startswith('| model')]
    assert len(headers) == 2
    assert all(len(line) <= 120 for line in text.splitlines() if line.startswith('|'))
    assert [cell for row in (0, 1) for cell in cells(text, 'model', row)[1:]] == [
        *('Y-PSNR', 'H1-PSNR', 'V1-PSNR', 'D1-PSNR', 'H2-PSNR', 'V2-PSNR', 'D2-PSNR', 'A2-PSNR')
    ]


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


def test_differences_are_a_table_of_their_own():
    rows = {
        'base': comparison(*((30 + index, 0.9) for index in range(12))),
        'ours': comparison(*((31 + index + index % 3 / 10, 0.9) for index in range(12))),
    }
    values = {name: {metric: one.values(metric) for metric in one.means} for name, one in rows.items()}
    found = compare_models('fidelity', values, METRICS[:2], [('ours', 'base')], {})
    text = mean_tables(result(rows, differences=found)).partition('differences.')[2]
    assert 'corrected by Holm for 2 comparisons' in text
    assert cells(text, 'Y-PSNR')[:4] == ['Y-PSNR', 'ours', 'base', '12 images']
    low, high = found[0].found.bounds
    assert cells(text, 'Y-PSNR')[4:] == [f'+1.100 [{low:+.3f}, {high:+.3f}]', '< 0.001', 'better']
    assert cells(text, 'Y-SSIM')[4:] == ['+0.00000', '-', 'undecided']
