"""What a study writes: tables that say what study.json holds, figures, the README; and the comparison of two runs."""

from __future__ import annotations

import copy
import csv
import io

import pytest
from PIL import Image

from mea_plugin.evaluation.markup import to_csv, to_markdown
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.study.collect import compare
from mea_plugin.study.figures import forest, study_figures
from mea_plugin.study.finished import Results
from mea_plugin.study.reproduce import reproduction
from mea_plugin.study.results import write_document
from mea_plugin.study.tables import comparison_table, fidelity_table, queries_table, tuning_table, verdict_table
from tests.study.test_collect import COMPARISON, grid

METRICS = find_metrics(['psnr_rgb', 'ssim_rgb'])


@pytest.fixture(scope='module')
def study():
    results = grid(lambda victim, budget: 0.4 if victim == 'v' else -0.4)
    configurations = []
    for victim, surrogate, queries, budget, _ in results.configurations:
        methods = {
            method: {
                'seeds': [0, 1, 2],
                'seconds': seconds,
                'fidelity': {
                    'psnr_rgb': {'mean': mean, 'interval': [mean - 1, mean + 1]},
                    'ssim_rgb': {'mean': 0.5, 'interval': None},
                },
            }
            for method, mean, seconds in (('baseline', 30.0 + budget / 10, 10), ('both', 31.0 + budget / 10, 20))
        }
        configurations.append(
            {
                'victim': victim,
                'surrogate': surrogate,
                'queries': queries,
                'budget': budget,
                'distance': {'v': 0.5, 'w': 2.0}[victim],
                'trivial': {'name': 'bicubic', 'fidelity': {'psnr_rgb': 29.5, 'ssim_rgb': 0.4}},
                'methods': methods,
            }
        )
    return {
        'format': 1,
        'name': 'planted',
        'command': ['python', 'tools/study.py', '-opt', 'x.yml'],
        'options': {},
        'machines': [{'processor': 'p', 'cores': '2'}],
        'packages': [{'torch': '2'}],
        'cells': {'wanted': 40, 'finished': 36, 'trials': 2},
        'failures': [{'id': 'v.psnr.nature-5.both.s3', 'reason': 'it broke.'}],
        'metrics': {
            one.name: {'title': one.title, 'unit': one.unit, 'better': one.better, 'digits': one.digits, 'protocol': ''}
            for one in METRICS
        },
        'methods': ['baseline', 'both'],
        'test_sets': {'a': 8, 'b': 8},
        'distances': [{'victim': 'v', 'queries': 'nature', 'distance': 0.5, 'floor': 0.1}],
        'tuning': [{'surrogate': 'psnr', 'method': 'both', 'taken': 'x', 'means': {'x': 30.25, 'y': None}}],
        'configurations': configurations,
        'comparisons': compare(results, [COMPARISON], METRICS),
    }


def rows_of(table):
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def test_the_table_of_comparisons_says_who_wins(study):
    (row,) = rows_of(comparison_table(study))
    assert (row['won'], row['lost'], row['undecided']) == ('3', '3', '0')
    assert float(row['time']) == 2
    assert float(row['difference_low']) <= float(row['difference']) <= float(row['difference_high'])


def test_every_configuration_has_its_row(study):
    rows = rows_of(fidelity_table(study))
    assert len(rows) == 6
    assert (rows[0]['trivial'], rows[0]['baseline'], rows[0]['both_high']) == ('29.5', '30.5', '32.5')
    verdicts = {(row['victim'], row['verdict']) for row in rows_of(verdict_table(study))}
    assert verdicts == {('v', 'better'), ('w', 'worse')}
    assert 'more than all' in to_markdown(queries_table(study))
    assert 'x (taken)' in to_markdown(tuning_table(study))
    assert 'failed' in to_markdown(tuning_table(study))


@pytest.mark.slow
def test_files_are_written_and_are_the_same_twice(study, tmp_path):
    for folder in ('one', 'two'):
        write_document(study, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / 'one').iterdir())
    for stem in ('budget', 'comparisons', 'distance', 'time'):
        assert {f'{stem}.png', f'{stem}.pdf', f'{stem}.svg'} <= set(names)
    for name in names:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes(), name
    text = (tmp_path / 'one' / 'README.md').read_text()
    for part in ('36 of 40 cells', 'it broke.', 'tools/study.py -opt x.yml', '![Fidelity by domain distance.]'):
        assert part in text
    with Image.open(tmp_path / 'one' / 'comparisons.png') as image:
        assert image.width > 1000


def test_what_is_missing_is_said_where_the_mean_stands(study):
    results = grid(lambda *_: 0.4)
    gone = {cell for cell in results.wanted if cell.budget == 5 and cell.method == 'both' and cell.seed > 0}
    records = {cell: one for cell, one in results.records.items() if cell not in gone}
    part = {**study, 'comparisons': compare(Results(records, results.wanted), [COMPARISON], METRICS)}
    text = to_markdown(comparison_table(part))
    assert 'of 6 configurations 0 have no pair of cells and 2 lack seeds' in text
    assert 'over 4 of 6 configurations, those with seeds 0, 1, 2' in text
    assert '1 of 3' in to_markdown(verdict_table(part))
    assert 'lack seeds' not in to_markdown(comparison_table(study))


def test_every_panel_of_the_forest_has_numbers_and_an_undecided_mean_is_hollow(study):
    four = {**study, 'comparisons': [{**study['comparisons'][0], 'name': str(index)} for index in range(4)]}
    figure = forest(four)
    figure.draw_without_rendering()
    for axis in figure.axes:
        assert any(tick.label1.get_visible() and tick.label1.get_text() for tick in axis.xaxis.get_major_ticks())
        (diamond,) = [line for line in axis.lines if line.get_marker() == 'D']
        assert study['comparisons'][0]['pooled']['all']['metrics']['psnr_rgb']['verdict'] == 'undecided'
        assert diamond.get_markerfacecolor() == 'none'


def test_a_study_of_one_point_has_only_the_figures_that_it_can(study):
    small = copy.deepcopy(study)
    small['configurations'] = small['configurations'][:1]
    small['configurations'][0]['methods']['both']['seconds'] = None
    assert set(study_figures(small)) == {'comparisons', 'time'}


def test_a_run_reproduces_what_lies_in_the_stated_interval(study):
    table, is_reproduced = reproduction(study, study)
    assert is_reproduced
    moved = copy.deepcopy(study)
    moved['comparisons'][0]['pooled']['all']['metrics']['psnr_rgb']['mean'] += 5
    table, is_reproduced = reproduction(moved, study)
    assert not is_reproduced
    assert table.rows[0][-1].text == 'no'
    moved['comparisons'][0]['name'] = 'another'
    assert not reproduction(moved, study)[1]
    moved['comparisons'] = []
    assert not reproduction(study, moved)[1]


def test_what_defences_take_is_reproduced_too(study):
    axes = {'victim': 'v', 'surrogate': 'psnr', 'queries': 'nature', 'budget': 5, 'defence': 'jpeg', 'method': 'both'}
    loss = {**axes, 'metrics': {'psnr_rgb': {'mean': -0.5, 'interval': [-0.8, -0.1]}}}
    stated = {**study, 'defences': {'attackers': [loss]}}
    table, is_reproduced = reproduction(stated, stated)
    assert is_reproduced
    assert table.rows[-1][0].text == 'jpeg, both (v, psnr, nature 5)'
    other = copy.deepcopy(stated)
    other['defences']['attackers'][0]['metrics']['psnr_rgb']['mean'] = 0.0
    assert not reproduction(other, stated)[1]
    assert not reproduction(study, stated)[1]
