"""From option file to files; what the tool prints and what it refuses."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mea_plugin.core.cli import run_tool
from mea_plugin.core.images import read_rgb
from mea_plugin.core.options import load_options
from mea_plugin.evaluation import evaluate_from_options, job
from mea_plugin.victims import build_victim
from tests import helpers
from tests.helpers import refused


@pytest.fixture
def options(make_set):
    """A complete evaluation of pixel repeaters."""
    folder = make_set()
    return {
        'name': 'study',
        'victim': {'type': 'enlarger'},
        'surrogates': {'base': {'type': 'enlarger', 'offset': 9}, 'ours': {'type': 'enlarger', 'offset': 3}},
        'baselines': {'nearest': {'type': 'enlarger', 'offset': 1}},
        'test_sets': [{'name': 'toy', 'lq': str(folder / 'lq'), 'gt': str(folder / 'gt')}],
        'panel': {'images': 2},
    }


@pytest.fixture
def tool(root, tmp_path, capsys, monkeypatch):
    """Run ``tools/evaluate.py`` on options in this process, where the fake models are known."""
    spec = importlib.util.spec_from_file_location('tools_evaluate', root / 'tools' / 'evaluate.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(options, *arguments):
        helpers.write_yaml(tmp_path / 'study.yml', options)
        code = run_tool(module.main, ['-opt', 'study.yml', *arguments])
        return code, *capsys.readouterr()

    return run


def set_option(options, path, value):
    *sections, key = path
    for section in sections:
        options = options[section]
    options[key] = value


def test_three_files_are_written_and_agree(options, tmp_path):
    done = evaluate_from_options(options, tmp_path / 'out')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'evaluation.json',
        'evaluation.md',
        'evaluation.png',
    ]

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')

    content = json.loads(done.paths.json.read_text(), parse_constant=refuse)
    assert content['name'] == 'study'
    assert {key: content[key] for key in done.result.to_json()} == done.result.to_json()
    assert content['options'] == options
    assert set(content) - set(done.result.to_json()) == {'command', 'options', 'packages', 'machine', 'sha256'}
    mean = content['test_sets'][0]['fidelity']['ours']['mean']
    (line,) = [line for line in done.table.split('task quality')[0].splitlines() if line.startswith('| ours ')]
    expected = [mean[name] for name in ('psnr_y', 'ssim_y', 'psnr_rgb', 'ssim_rgb')]
    printed = [float(cell.split('[')[0].strip(' *')) for cell in line.split('|')[2:-1]]
    assert printed == pytest.approx(expected, abs=0.005)
    report = done.paths.markdown.read_text()
    assert done.table in report
    assert '(evaluation.png)' in report
    assert len(re.findall(r'^\| 0[012] ', report, flags=re.MULTILINE)) == 3 * 3 + 3 * 4
    assert read_rgb(done.paths.panel).shape[0] > 2 * 544


def test_nothing_written_depends_on_the_folder_or_the_run(options, tmp_path):
    first, second = (evaluate_from_options(options, tmp_path / name).paths for name in ('one', 'two'))
    for kind in ('json', 'markdown', 'panel'):
        assert getattr(first, kind).read_bytes() == getattr(second, kind).read_bytes()
    assert str(tmp_path) not in first.markdown.read_text()


def test_names_of_images_choose_the_rows(options, tmp_path):
    options['panel'] = {'images': ['02']}
    named = read_rgb(evaluate_from_options(options, tmp_path / 'named').paths.panel)
    options['panel'] = {'images': 3}
    three = read_rgb(evaluate_from_options(options, tmp_path / 'three').paths.panel)
    row = (three.shape[0] - named.shape[0]) // 2
    np.testing.assert_array_equal(three[2 * row + 64 : 3 * row, :560], named[64:row, :560])  # the overview of 02


def test_bicubic_is_the_baseline_where_none_is_named(options, tmp_path):
    pytest.importorskip('mea_plugin.victims.bicubic', exc_type=ImportError)
    del options['baselines']
    result = evaluate_from_options(options, tmp_path / 'out').result
    assert (result.models[0].name, result.models[0].role) == ('bicubic', 'baseline')
    # random pixels: interpolation comes closer to the truth than repetition
    quality = result.sets[0].quality
    assert quality['bicubic'].means['psnr_y'].value > quality['victim'].means['psnr_y'].value
    options['baselines'] = {}
    result = evaluate_from_options(options, tmp_path / 'out').result
    assert [model.role for model in result.models] == ['victim', 'surrogate', 'surrogate']


def test_the_tool_prints_the_table_and_the_paths(tool, options, tmp_path):
    code, out, err = tool(options)
    assert (code, err) == (0, '')
    assert out.startswith('**toy, fidelity')
    assert out.split()[-3:] == [f'results/study/evaluation.{kind}' for kind in ('json', 'md', 'png')]
    assert (tmp_path / 'results' / 'study' / 'evaluation.json').is_file()


def test_the_output_folder_is_the_arguments_or_the_files(tool, options, tmp_path):
    options['output'] = 'there'
    assert tool(options)[0] == 0
    assert (tmp_path / 'there' / 'evaluation.md').is_file()
    assert tool(options, '--output', 'elsewhere')[0] == 0
    assert (tmp_path / 'elsewhere' / 'evaluation.md').is_file()
    assert not (tmp_path / 'results').exists()


@pytest.mark.parametrize(
    ('path', 'value', 'where', 'quoted'),
    [
        (['surogates'], {}, '', "'surogates'"),
        (['victim', 'ofset'], 1, 'victim', "'ofset'"),
        (['victim', 'type'], 'enlargr', 'victim.type', "'enlargr'"),
        (['victim'], 'basicsr', 'victim', "'basicsr'"),
        (['surrogates', 'ours', 'scale'], 4, 'surrogates.ours', '4'),
        (['surrogates', 'ours'], 'x.pth', 'surrogates.ours', 'x.pth'),
        (['surrogates', 'ours'], {'weights': 'x.pth'}, 'surrogates.ours', 'x.pth'),
        (['surrogates', 'ours'], {'type': 'basicsr', 'weights': 'x.pth'}, 'surrogates.ours', 'x.pth'),
        (['surrogates', 'ours'], 'x', 'surrogates.ours', "'x'"),
        (['surrogates'], ['ours'], 'surrogates', "['ours']"),
        (['test_sets'], [], 'test_sets', '[]'),
        (['test_sets'], {'name': 'toy'}, 'test_sets', "{'name': 'toy'}"),
        (['test_sets', 0, 'hr'], 'x', 'test_sets[0]', "'hr'"),
        (['test_sets', 0], {'name': 'toy'}, 'test_sets[0]', "'lq'"),
        (['test_sets', 0, 'target'], 'nowhere', 'test_sets.toy.target', 'nowhere'),
        (['metrics'], ['psnr_y', 'sim_y'], 'metrics', "'sim_y'"),
        (['metrics'], 'al', 'metrics', "'al'"),
        (['metrics'], [], 'metrics', '[]'),
        (['metrics'], ['psnr_y', 3], 'metrics[1]', '3'),
        (['weights'], {'dir': 'x'}, 'weights', "'dir'"),
        (['weights'], {'urls': ['x']}, 'weights.urls', "['x']"),
        (['seeds'], {'all': ['ours', 'hours']}, 'seeds.all', "'hours'"),
        (['seeds'], {'ours': ['ours', 'base']}, 'seeds.ours', "'ours'"),
        (['seeds'], {'all': ['ours', 'ours']}, 'seeds.all', "'ours'"),
        (['seeds'], {'all': 3}, 'seeds.all', '3'),
        (['ceiling'], 1, 'ceiling', '1'),
        (['save_images'], -1, 'save_images', '-1'),
        (['save_images'], 'some', 'save_images', "'some'"),
        (['scale'], 3, 'scale', '3'),
        (['scale'], True, 'scale', 'True'),
        (['test_sets', 0, 'gt'], 'nowhere', 'test_sets.toy.gt', 'nowhere'),
        (['panel'], {'images': 0}, 'panel.images', '0'),
        (['panel'], {'images': []}, 'panel.images', '[]'),
        (['panel'], {'images': ['0']}, 'panel.images', "'0'"),
        (['panel'], {'count': 3}, 'panel', "'count'"),
    ],
)
def test_bad_options_are_named_with_their_place_and_write_nothing(tool, options, tmp_path, path, value, where, quoted):
    set_option(options, path, value)
    with refused(f'study.yml: {where}' if where else 'study.yml', quoted):
        evaluate_from_options(options, tmp_path / 'results', where='study.yml')
    assert not (tmp_path / 'results').exists()


def test_bad_options_end_in_one_line(tool, options, tmp_path):
    for changes in ({'surrogates': {'ours': 'x.pth'}}, {'name': None}, {'metrics': ['sim_y']}):
        code, out, err = tool({**options, **changes})
        assert (code, out, err.count('\n')) == (2, '', 1)
        assert err.startswith('error: study.yml: ')
        assert next(iter(changes)) in err
    assert not (tmp_path / 'results').exists()


def test_bad_images_end_in_one_line_and_write_nothing(tool, options, tmp_path):
    lq = tmp_path / 'toy' / 'lq'
    original = (lq / '02.png').read_bytes()

    def refusal():
        code, out, err = tool(options)
        assert (code, out, err.count('\n')) == (2, '', 1)
        assert not (tmp_path / 'results').exists()
        return err

    Image.new('I;16', (24, 20)).save(lq / '02.png')
    said = refusal()
    assert said.startswith(f'error: {lq / "02.png"}: ')
    assert '(mode I;16)' in said
    half = len(original) // 2
    (lq / '02.png').write_bytes(original[:half] + bytes(20) + original[half + 20 :])  # damage that no header shows
    said = refusal()
    assert said.startswith(f'error: {lq / "02.png"}: ')
    assert 'I;16' not in said
    (lq / '02.png').rename(lq / '03.png')
    for save_images in (0, 'all'):
        options['save_images'] = save_images
        said = refusal()
        assert said.startswith(f'error: {lq / "03.png"}: ')
        assert str(lq.with_name('gt')) in said


def test_an_image_that_fails_on_the_way_leaves_nothing(tool, options, tmp_path):
    options['save_images'] = 'all'
    path = tmp_path / 'toy' / 'lq' / '02.png'
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(20) + content[half + 20 :])  # damage that no header shows
    code, out, err = tool(options)
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert err.startswith(f'error: {path}: ')
    assert not (tmp_path / 'results').exists()


def test_saved_pictures_are_the_answers(options, tmp_path):
    options.update(save_images=2, ceiling=True, surrogates={'a/b': {'type': 'enlarger', 'offset': 3}})
    done = evaluate_from_options(options, tmp_path / 'out')
    pictures = json.loads(done.paths.json.read_text())['pictures']
    assert [(one['set'], one['image']) for one in pictures] == [('toy', '00'), ('toy', '02')]
    for one in pictures:
        assert list(one['answers']) == ['nearest', 'victim', 'a/b', 'ceiling']
        query, truth = (read_rgb(tmp_path / 'toy' / kind / f'{one["image"]}.png') for kind in ('lq', 'gt'))
        np.testing.assert_array_equal(read_rgb(tmp_path / 'out' / one['query']), query)
        np.testing.assert_array_equal(read_rgb(tmp_path / 'out' / one['truth']), truth)
        for name, offset in (('nearest', 1), ('victim', 0), ('a/b', 3)):
            answer = read_rgb(tmp_path / 'out' / one['answers'][name])
            np.testing.assert_array_equal(answer, query.repeat(2, 0).repeat(2, 1) + offset)
    saved = sorted(path for path in (tmp_path / 'out' / 'images').rglob('*') if path.is_file())
    assert saved == sorted(done.paths.pictures)
    options['save_images'] = 1
    done = evaluate_from_options(options, tmp_path / 'out')
    assert sorted(p for p in (tmp_path / 'out' / 'images').rglob('*.png')) == sorted(done.paths.pictures)
    assert {path.parent.name for path in done.paths.pictures} == {'01'}


def test_pictures_of_an_older_run_go_with_its_json(options, tmp_path):
    options['save_images'] = 1
    done = evaluate_from_options(options, tmp_path / 'out')
    assert all(path.is_file() for path in done.paths.pictures)
    options['save_images'] = 0
    evaluate_from_options(options, tmp_path / 'out')
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'evaluation.json',
        'evaluation.md',
        'evaluation.png',
    ]


def test_a_folder_of_images_that_is_not_ours_is_left_alone(tool, options, tmp_path):
    mine = tmp_path / 'results' / 'study' / 'images' / 'mine.png'
    mine.parent.mkdir(parents=True)
    mine.write_text('precious')
    assert tool(options)[0] == 0
    options['save_images'] = 'all'
    code, _, err = tool(options)
    assert (code, err.count('\n')) == (2, 1)
    assert err.startswith('error: results/study/images: ')
    assert '--output' in err
    assert mine.read_text() == 'precious'
    assert tool(options, '--output', 'other')[0] == 0
    (tmp_path / 'other' / 'images' / 'mine.txt').write_text('precious')
    assert tool(options, '--output', 'other')[0] == 2
    assert (tmp_path / 'other' / 'images' / 'mine.txt').read_text() == 'precious'


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_older_results(tool, options, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    def content():
        return {p: p.read_bytes() for p in (tmp_path / 'results').rglob('*') if p.is_file()}

    options['save_images'] = 'all'
    with monkeypatch.context() as patch:
        patch.setattr(job, 'write_record', fail)
        assert tool(options)[0] != 0
        assert not (tmp_path / 'results').exists()
    assert tool(options)[0] == 0
    before = content()
    options['surrogates']['ours']['offset'] = 5
    monkeypatch.setattr(job, 'write_record', fail)
    code, out, err = tool(options)
    assert (code, out, err.count('\n')) == (130 if isinstance(error, KeyboardInterrupt) else 2, '', 1)
    assert content() == before
    assert not any(path.name.startswith('.') for path in (tmp_path / 'results').rglob('*'))


def test_names_of_any_length_can_be_saved(options, tmp_path):
    names = ['ä' * 300, 'ä' * 301]
    options.update(save_images=1, surrogates={name: {'type': 'enlarger', 'offset': 3} for name in names})
    done = evaluate_from_options(options, tmp_path / 'out')
    (picture,) = json.loads(done.paths.json.read_text())['pictures']
    assert len({picture['answers'][name] for name in names}) == 2
    assert all(path.is_file() for path in done.paths.pictures)


def test_what_is_no_text_is_met_first(tool, options, tmp_path):
    (tmp_path / 'toy' / 'lq' / '02.png').rename(os.fsdecode(os.fsencode(tmp_path / 'toy' / 'lq') + b'/\xff.png'))
    (tmp_path / 'toy' / 'gt' / '02.png').rename(os.fsdecode(os.fsencode(tmp_path / 'toy' / 'gt') + b'/\xff.png'))
    code, out, err = tool(options)
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert err.startswith(f'error: {tmp_path / "toy" / "lq"}: ')
    assert r"'\xff.png'" in err
    assert 'UTF-8' in err
    with refused('options', do=r'\uD800'):
        evaluate_from_options({**options, 'name': '\ud800'}, tmp_path / 'out')
    assert not (tmp_path / 'results').exists()


def test_folders_are_checked_before_weights_are_fetched(options, tmp_path, monkeypatch):
    def fetch(*_, **__):
        raise AssertionError('weights were looked for')

    monkeypatch.setattr(job.EvaluateFile, 'find_metrics', fetch)
    for key in ('lq', 'gt', 'target'):
        test_set = {**options['test_sets'][0], key: str(tmp_path / 'nowhere')}
        with refused(f'test_sets.toy.{key}', str(tmp_path / 'nowhere')):
            evaluate_from_options({**options, 'test_sets': [test_set]}, tmp_path / 'out')


def test_the_command_is_noted(tool, options, tmp_path):
    assert tool(options)[0] == 0
    content = json.loads((tmp_path / 'results' / 'study' / 'evaluation.json').read_text())
    assert content['command'] == ['python', 'tools/evaluate.py', '-opt', 'study.yml']


def test_another_folder_stands_for_datasets(tool, options, tmp_path):
    options['test_sets'] = [{'name': 'toy', 'lq': 'datasets/lq', 'gt': 'datasets/gt'}]
    assert tool(options)[0] == 2
    assert tool(options, '--data', 'toy')[0] == 0


def test_without_a_victim_only_quality_is_measured(options, tmp_path):
    del options['victim'], options['baselines'], options['surrogates']
    options.update(scale=2)
    result = evaluate_from_options(options, tmp_path / 'out').result
    assert [(model.name, model.role) for model in result.models] == [('bicubic', 'baseline')]
    assert list(result.sets[0].quality) == ['bicubic']
    assert result.sets[0].fidelity == {}
    for change, where, do in (
        ({'scale': None}, 'victim', ('surrogates', 'baselines')),
        ({'ceiling': True}, 'ceiling', ()),
        ({'test_sets': [{'name': 'toy', 'lq': options['test_sets'][0]['lq']}]}, 'test_sets.toy', ('victim', 'gt')),
    ):
        with refused(where, do=do):
            evaluate_from_options({**options, **change}, tmp_path / 'none')


def test_results_cannot_be_a_file(tool, options, tmp_path):
    (tmp_path / 'taken').write_text('')
    code, _, err = tool(options, '--output', 'taken/deeper')
    assert code == 2
    assert err.startswith('error: output: ')
    assert 'taken ' in err
    assert '--output' in err


def test_the_tool_is_a_program(root):
    command = [sys.executable, str(root / 'tools' / 'evaluate.py')]
    loaded = 'import sys, mea_plugin.evaluation; print([m for m in ("torch", "basicsr", "mmagic") if m in sys.modules])'
    runs = [
        subprocess.Popen(
            [*line], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(root)
        )
        for line in ([*command, '--help'], [*command, '-opt', 'nowhere.yml'], command, [sys.executable, '-c', loaded])
    ]
    (help_out, _), (_, missing), (_, usage), (modules, _) = (run.communicate(timeout=300) for run in runs)
    assert [run.returncode for run in runs] == [0, 2, 2, 0]
    assert '--output DIR' in help_out
    assert missing.count('\n') == usage.count('\n') == 1
    assert missing.startswith('error: nowhere.yml: ')
    assert modules == '[]\n'


def _environment(root):
    return {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}


def test_the_example_files_lack_only_the_users_files(root, basicsr, enlarger, monkeypatch, tmp_path):
    paths = sorted((root / 'options' / 'evaluate').glob('*.yml'))
    assert paths
    for path in paths:
        options = load_options(path)
        for surrogate in options.get('surrogates', {}).values():
            with refused(surrogate['weights']):
                build_victim(surrogate)
        options.pop('scale', None)
        monkeypatch.setattr(job, 'build_victim', lambda options, where: enlarger(scale=4))
        first = options['test_sets'][0]
        kind = 'lq' if 'lq' in first else 'gt'
        with refused(f'{path.name}: test_sets.{first["name"]}.{kind}', first[kind]):
            evaluate_from_options(options, tmp_path / 'out', where=path.name)
