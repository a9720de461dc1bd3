"""Tables say what evaluation.json holds, in three formats, and no more."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from mea_plugin.evaluation.table import Cell, Column, Table
from mea_plugin.evaluation.tables import all_tables, differences, image_table, table, to_csv, to_latex, to_markdown
from tests.evaluation import scores


@pytest.fixture
def values():
    """Two surrogates on eight images: one is better in PSNR and spectrum, SSIM is a draw."""
    generator = np.random.default_rng(5)
    images = generator.normal(30, 2, 8)
    return {
        'bicubic': {'psnr_y': images + 9, 'ssim_y': np.full(8, 0.99), 'spectrum_error': np.full(8, 0.1)},
        'base': {
            'psnr_y': images,
            'ssim_y': generator.normal(0.9, 0.01, 8),
            'spectrum_error': generator.normal(2, 0.1, 8),
        },
        'ours': {
            'psnr_y': images + generator.normal(1, 0.2, 8),
            'ssim_y': generator.normal(0.9, 0.01, 8),
            'spectrum_error': generator.normal(1, 0.1, 8),
        },
    }


@pytest.fixture
def study(values):
    return scores.evaluation(values, roles={'bicubic': 'baseline'}, pairs=[('ours', 'base')], missing=['lpips_alex'])


def cells(text, row):
    """The cells of the row of that name in a Markdown table."""
    (line,) = [line for line in text.splitlines() if line.startswith(f'| {row} ')]
    return [cell.strip() for cell in line.strip('|').split('|')]


def parse(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_parses_back_to_the_same_numbers(study, values):
    rows = parse(to_csv(table(study, 'Set5', 'fidelity')))
    assert [row['model'] for row in rows] == ['bicubic', 'base', 'ours']
    for row in rows:
        one = study['test_sets'][0]['fidelity'][row['model']]
        for metric in ('psnr_y', 'ssim_y', 'spectrum_error'):
            assert float(row[metric]) == one['mean'][metric] == pytest.approx(values[row['model']][metric].mean())
            bounds = [row[f'{metric}_low'], row[f'{metric}_high']]
            assert bounds == (
                [str(bound) for bound in one['interval'][metric]] if one['interval'][metric] else ['', '']
            )
        assert row['lpips_alex'] == ''


def test_markdown_shows_means_intervals_and_directions(study):
    text = to_markdown(table(study, 'Set5', 'fidelity'))
    head = '**Set5, fidelity (how close to the victim).** 8 images, x4; 4 pixels cropped at each edge.'
    assert text.startswith(f'{head}\n\n| model ')
    titles = ['Y-PSNR (dB) ↑', 'Y-SSIM ↑', 'Spectrum error (dB) ↓', 'LPIPS (AlexNet) ↓']
    assert cells(text, 'model') == ['model', *titles]
    one = study['test_sets'][0]['fidelity']['base']
    low, high = one['interval']['psnr_y']
    assert cells(text, 'base')[1] == f'{one["mean"]["psnr_y"]:.2f} [{low:.2f}, {high:.2f}]'
    assert cells(text, 'bicubic')[2] == '0.9900'  # equal values have no interval
    assert '\n\nMean over images [95 % confidence interval]; ↑ higher is better, ↓ lower is.\n' in text
    assert len({len(line) for line in text.splitlines() if line.startswith('|')}) == 1


def test_a_missing_metric_reads_n_a_and_says_why(study):
    text = to_markdown(table(study, 'Set5', 'fidelity'))
    assert cells(text, 'base')[4] == 'n/a'
    assert 'LPIPS (AlexNet): n/a (weights: put alex_100%.pth into FOLDER_1)' in text


def test_bold_is_what_is_decided_and_nothing_else(study):
    text = to_markdown(table(study, 'Set5', 'fidelity'))
    bold = {row: ['**' in cell for cell in cells(text, row)[1:4]] for row in ('bicubic', 'base', 'ours')}
    assert bold == {'bicubic': [False] * 3, 'base': [False] * 3, 'ours': [True, False, True]}
    rule = (
        'Bold: better than every other surrogate: the 95 % confidence interval of each difference excludes 0, and its '
        'Holm-corrected p is at most 0.05.'
    )
    assert rule in text
    latex = to_latex(table(study, 'Set5', 'fidelity'))
    assert rule.replace('%', r'\%') in latex
    assert latex.count(r'\textbf{') == 2


def test_the_verdict_counts_whichever_of_two_comes_first(study):
    for one in study['test_sets'][0]['differences']:
        one['first'], one['second'] = one['second'], one['first']
        one['verdict'] = {'better': 'worse', 'worse': 'better'}.get(one['verdict'], one['verdict'])
    text = to_markdown(table(study, 'Set5', 'fidelity'))
    assert ['**' in cell for cell in cells(text, 'ours')[1:4]] == [True, False, True]
    assert '**' not in ''.join(cells(text, 'base'))


def test_one_undecided_rival_is_enough_for_none_to_be_bold(values):
    values['third'] = {metric: column + 1e-9 * np.arange(8) for metric, column in values['ours'].items()}
    pairs = [('ours', 'base'), ('third', 'base'), ('third', 'ours')]
    study = scores.evaluation(values, roles={'bicubic': 'baseline'}, pairs=pairs)
    for one in study['test_sets'][0]['differences']:
        if {one['first'], one['second']} == {'third', 'ours'}:
            one['verdict'] = 'undecided'
    text = to_markdown(table(study, 'Set5', 'fidelity'))
    assert '**' not in text.partition('\n')[2]


def test_a_single_surrogate_wins_nothing(values):
    del values['base']
    text = to_markdown(table(scores.evaluation(values, roles={'bicubic': 'baseline'}), 'Set5', 'fidelity'))
    assert '**' not in text.partition('\n')[2]
    assert 'bold' not in text.lower()


def test_equal_and_undefined_images_are_counted_below(values):
    values['ours']['psnr_y'][:2] = math.inf
    values['ours']['spectrum_error'][0] = math.nan
    values['base']['psnr_y'][:] = math.inf
    values['base']['spectrum_error'][:] = math.nan
    text = to_markdown(table(scores.evaluation(values), 'Set5', 'fidelity'))
    assert cells(text, 'base')[1::2] == ['inf', 'n/a']
    assert 'ours, Y-PSNR: 2 of 8 images equal their references (infinite); left out of the mean.' in text
    assert 'base, Y-PSNR: 8 of 8 images equal their references (infinite).' in text
    assert 'ours, Spectrum error: not defined on 1 of 8 images.' in text
    row = parse(to_csv(table(scores.evaluation(values), 'Set5', 'fidelity')))[1]
    assert (row['psnr_y'], row['spectrum_error']) == ('inf', '')


def test_metrics_of_whole_sets_have_no_interval(values):
    sets = {name: {'fid': 10.0 + index} for index, name in enumerate(values)}
    shown = table(scores.evaluation(values, sets=sets), 'Set5', 'fidelity')
    assert cells(to_markdown(shown), 'ours')[4] == '12.00'
    assert parse(to_csv(shown))[2]['fid'] == '12.0'
    assert 'fid_low' not in to_csv(shown)


def test_what_is_said_about_metrics_of_whole_sets_stands_where_they_do(values):
    study = scores.evaluation(values, sets={name: {'fid': 10.0} for name in values}, own={'ours': {'niqe': np.ones(8)}})
    study['test_sets'][0]['notes'] = ['8 are few']
    fidelity, own = all_tables(study)
    assert 'Set5: 8 are few.' in fidelity.remarks
    assert 'Set5: 8 are few.' not in [*own.remarks, *table(study, 'Set5', 'fidelity', metrics=['psnr_y']).remarks]


def test_quality_of_whole_sets_alone_is_about_the_target(values):
    study = scores.evaluation(values, sets={name: {'fid': 10.0} for name in values})
    blank = {'interval': {}, 'identical': {}, 'undefined': {}, 'images': {}}
    study['test_sets'][0]['quality'] = {name: {'mean': {'fid': 10.0}, **blank} for name in values}
    shown = table(study, 'Set5', 'quality')
    assert shown.title == 'Set5, task quality (how close to the images of the target folder)'
    assert [[cell.number for cell in row] for row in shown.rows] == [[name, '10.00'] for name in values]


def test_intervals_of_few_images_are_called_narrow(values):
    few = {name: {metric: column[:5] for metric, column in one.items()} for name, one in values.items()}
    note = 'Intervals of fewer than 6 images cover the mean less often than 95 % of the time.'
    assert note in table(scores.evaluation(few), 'Set5', 'fidelity').legend
    assert note not in table(scores.evaluation(values), 'Set5', 'fidelity').legend


def test_own_values_have_a_table_of_their_own(values):
    study = scores.evaluation(values, own={'ours': {'niqe': np.linspace(3, 5, 8)}})
    (fidelity, own) = all_tables(study)
    assert (fidelity.name, own.name) == ('Set5-fidelity', 'Set5-own')
    assert [column.name for column in fidelity.header] == ['model', 'psnr_y', 'ssim_y', 'spectrum_error']
    assert [column.name for column in own.header] == ['model', 'niqe']
    assert cells(to_markdown(own), 'ours')[1].startswith('4.000 [')


def test_seeds_have_a_row_together_and_compete_together():
    generator = np.random.default_rng(6)
    images = generator.normal(30, 2, 8)
    levels = {'base': 0, 'ours': 3}
    values = {
        f'{group}_{seed}': {'psnr_y': images + level + generator.normal(0, 0.2, 8)}
        for group, level in levels.items()
        for seed in range(3)
    }
    seeds = {group: [f'{group}_{seed}' for seed in range(3)] for group in levels}
    study = scores.evaluation(values, seeds=seeds, pairs=[('ours', 'base')])
    shown = table(study, 'Set5', 'fidelity')
    names = ['base_0', 'base_1', 'base_2', 'base (3 seeds)', 'ours_0', 'ours_1', 'ours_2', 'ours (3 seeds)']
    assert [row[0].text for row in shown.rows] == names
    bold = [row[0].text for row in shown.rows if row[1].is_best]
    assert bold == ['ours (3 seeds)']
    group = parse(to_csv(shown))[7]
    assert group['model'] == 'ours'
    assert float(group['psnr_y']) == pytest.approx(np.mean([values[name]['psnr_y'] for name in seeds['ours']]))
    assert float(group['psnr_y_low']) < float(group['psnr_y']) < float(group['psnr_y_high'])
    assert any('several seeds' in note for note in shown.legend)


def test_a_set_that_is_not_the_benchmark_says_so(values):
    benchmark = {'name': 'Set5', 'is_real': False, 'notes': ['8 images, not 5', 'sizes differ']}
    text = to_markdown(table(scores.evaluation(values, benchmark=benchmark), 'Set5', 'fidelity'))
    assert 'Set5 is not the published Set5: 8 images, not 5; sizes differ.' in text
    benchmark['is_real'] = True
    assert 'published' not in to_markdown(table(scores.evaluation(values, benchmark=benchmark), 'Set5', 'fidelity'))


def test_only_the_metrics_asked_for(study):
    shown = table(study, 'Set5', 'fidelity', metrics=['ssim_y'])
    assert [column.name for column in shown.header] == ['model', 'ssim_y']
    assert not any('LPIPS' in note for note in shown.remarks)


def test_an_unknown_test_set(study):
    with pytest.raises(KeyError, match='Set6'):
        table(study, 'Set6', 'fidelity')


def test_differences_as_they_stand_in_the_evaluation(study):
    shown = differences(study, 'Set5', 'fidelity')
    rows = parse(to_csv(shown))
    assert len(rows) == 3
    for row, one in zip(rows, study['test_sets'][0]['differences'], strict=True):
        assert (row['metric'], row['first'], row['second']) == (one['metric'], 'ours', 'base')
        numbers = [row[name] for name in ('difference', 'difference_low', 'difference_high', 'p', 'p_holm')]
        assert [float(number) for number in numbers] == [one['mean'], *one['interval'], one['p'], one['p_holm']]
        assert (row['images'], row['seeds'], row['verdict']) == ('8', '1', one['verdict'])
    assert [row['verdict'] for row in rows] == ['better', 'undecided', 'better']
    text = to_markdown(shown)
    assert 'Better or worse: the interval excludes 0, and the Holm-corrected p is at most 0.05.' in text
    first = study['test_sets'][0]['differences'][0]
    assert f' {first["mean"]:+.3f} [{first["interval"][0]:+.3f}, {first["interval"][1]:+.3f}] |' in text
    assert '0.0078' in text  # 2 / 2^8, the smallest p there is on eight images
    assert 'Fewer than 6 images' not in text


def test_differences_of_few_images_and_without_any(values):
    few = {name: {metric: column[:4] for metric, column in one.items()} for name, one in values.items()}
    few['ours']['ssim_y'] = few['base']['ssim_y'] = np.full(4, math.nan)
    shown = differences(scores.evaluation(few, pairs=[('ours', 'base')]), 'Set5', 'fidelity')
    assert {row[-1].text for row in shown.rows} == {'undecided'}
    assert 'Fewer than 6 images of one seed decide nothing' in to_markdown(shown)
    assert [cell.number for cell in shown.rows[1]][3:6] == ['n/a'] * 3


def test_a_tiny_p_is_not_written_as_zero():
    generator = np.random.default_rng(0)
    values = {name: {'psnr_y': level + generator.normal(0, 0.1, 40)} for name, level in (('a', 30), ('b', 40))}
    study = scores.evaluation(values, pairs=[('b', 'a')])
    study['test_sets'][0]['differences'][0]['p'] = 0.00001
    shown = differences(study, 'Set5', 'fidelity')
    assert '<0.0001' in to_markdown(shown)
    assert r'\textless{}0.0001' in to_latex(shown)
    assert parse(to_csv(shown))[0]['p'] == '1e-05'


AWKWARD = 'a|b_c & 50% #1 {x} ~^\\ $y$\n<z>'


def test_markdown_escapes_names():
    text = to_markdown(Table('t', 'title', [Column('model', 'model', is_number=False)], [[Cell(AWKWARD)]]))
    assert '| a\\|b_c & 50% #1 {x} ~^\\ $y$ <z> |' in text


def test_only_numbers_above_zero_have_a_sign_and_only_where_asked_for():
    assert [Cell(value=value, digits=1, is_signed=True).number for value in (1.0, 0.0, -1.0)] == ['+1.0', '0.0', '-1.0']
    assert Cell(value=1.0, low=-1.0, high=2.0, digits=1, is_signed=True).interval == '[-1.0, +2.0]'
    assert Cell(value=1.0, low=0.0, high=2.0, digits=1).interval == '[0.0, 2.0]'


def wide(columns, *, detail='', rows=('a', 'b')):
    header = [Column('model', 'model', is_number=False)]
    header += [Column(name, name, is_detail=name == detail) for name in columns]
    cells = [[Cell(row), *(Cell(value=10.0 * index) for index, _ in enumerate(columns))] for row in rows]
    return Table('t', 'title', header, cells, notes=['a note'], setting='on 2 images.', legend=['a legend'])


def grids(text):
    return [block.splitlines() for block in text.split('\n\n') if block.startswith('|')]


def test_a_table_too_wide_becomes_several_with_the_names_in_each():
    columns = [f'column {index}' for index in range(8)]
    shown = wide(columns)
    (whole,) = grids(to_markdown(shown))
    assert grids(to_markdown(shown, width=len(whole[0]))) == [whole]
    parts = grids(to_markdown(shown, width=len(whole[0]) - 1))
    assert len(parts) == 2
    assert all(len(line) < len(whole[0]) for part in parts for line in part)
    found = [[cell.strip() for cell in part[0].strip('|').split('|')] for part in parts]
    assert [line[0] for line in found] == ['model', 'model']
    assert [name for line in found for name in line[1:]] == columns
    numbers = [cell.strip() for part in parts for cell in part[3].strip('|').split('|')[1:]]
    assert numbers == [f'{10 * index}.00' for index in range(8)]
    text = to_markdown(shown, width=40)
    assert text.startswith('**title.** on 2 images.\n\n|')
    assert text.endswith('\n\na note\n\na legend\n')
    # One column each is the least that there is.
    assert len(grids(to_markdown(shown, width=1))) == 8


def test_details_go_before_a_table_is_split():
    columns = ['first column', 'second column', 'third column']
    (whole,) = grids(to_markdown(wide(columns, detail='second column')))
    assert 'second column' in whole[0]
    (rest,) = grids(to_markdown(wide(columns, detail='second column'), width=len(whole[0]) - 1))
    assert 'second column' not in rest[0]
    assert 'third column' in rest[0]
    assert 'second column' in to_csv(wide(columns, detail='second column'))


def test_the_table_per_image_has_a_row_per_image_and_model(values):
    values['ours']['psnr_y'][0] = math.inf
    values['base']['spectrum_error'][1] = math.nan
    values['bicubic']['psnr_y'][:2] = math.inf, math.nan
    study = scores.evaluation(values, roles={'bicubic': 'baseline'}, sets={name: {'fid': 10.0} for name in values})
    shown = image_table(study, 'Set5', 'fidelity')
    assert shown.title == 'Set5, fidelity (how close to the victim): per image'
    assert [column.name for column in shown.header] == ['image', 'model', 'psnr_y', 'ssim_y', 'spectrum_error']
    names = [(row[0].text, row[1].text) for row in shown.rows]
    assert names == [(f'image {index}', model) for index in range(8) for model in values]
    numbers = {name: [cell.number for cell in row[2:]] for name, row in zip(names, shown.rows, strict=True)}
    assert numbers['image 3', 'ours'] == [
        *(f'{values["ours"]["psnr_y"][3]:.2f}', f'{values["ours"]["ssim_y"][3]:.4f}'),
        f'{values["ours"]["spectrum_error"][3]:.3f}',
    ]
    assert numbers['image 0', 'ours'][0] == 'inf'
    assert numbers['image 1', 'base'][2] == 'n/a'
    # The file has one null for both.
    assert [numbers[f'image {index}', 'bicubic'][0] for index in (0, 1)] == ['inf or n/a'] * 2


def test_latex_escapes_names_and_has_booktabs_rules(study):
    shown = Table(
        'a set/1', 'x_y', [Column('m', 'm', is_number=False), Column('v', 'v ↑')], [[Cell(AWKWARD), Cell('n/a')]]
    )
    text = to_latex(shown)
    row = (
        r'a\textbar{}b\_c \& 50\% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \$y\$ '
        r'\textless{}z\textgreater{} & n/a \\'
    )
    assert row in text.splitlines()
    assert r'\label{tab:a-set-1}' in text
    assert r'\caption{x\_y}' in text
    assert r'\begin{tabular}{lr}' in text
    text = to_latex(table(study, 'Set5', 'fidelity'))
    assert [text.count(rule) for rule in (r'\toprule', r'\midrule', r'\bottomrule')] == [1, 1, 1]
    body = text[text.index(r'\toprule') : text.index(r'\bottomrule')]
    assert all(line.count(' & ') == 4 for line in body.splitlines() if line.endswith(r'\\'))
    assert r'FOLDER\_1' in text
    assert r'alex\_100\%.pth' in text
    assert text.count('{') == text.count('}')
    assert text.isascii()


def test_latex_rows_that_begin_like_an_argument_of_the_line_before():
    rows = [[Cell('one')], [Cell('[2pt]')], [Cell('*')]]
    text = to_latex(Table('t', 't', [Column('m', 'm', is_number=False)], rows))
    assert '{}[2pt] \\\\\n{}* \\\\' in text


@pytest.mark.skipif(shutil.which('pdflatex') is None, reason='pdflatex is not installed')
def test_latex_compiles(study, tmp_path):
    body = '\n'.join(to_latex(one) for one in all_tables(study))
    document = f'\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\\end{{document}}\n'
    (tmp_path / 'x.tex').write_text(document)
    command = ['pdflatex', '-interaction=nonstopmode', '-halt-on-error', 'x.tex']
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout


def test_names_of_tables_are_file_names(study):
    study['test_sets'][0]['name'] = '../my set'
    names = [one.name for one in all_tables(study)]
    assert names == ['my-set-fidelity', 'my-set-fidelity-differences']
    assert all(re.fullmatch(r'[\w.-]+', name) for name in names)
