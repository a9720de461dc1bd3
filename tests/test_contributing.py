"""CONTRIBUTING.md: its files, tests, option files and registry lines work as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.helpers import ROOT, pair_folders, photograph, save, training_options, write_yaml

TEXT = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
FILES = dict(re.findall(r'```(?:python|yaml)\n# (\S+\.(?:py|yml))\n(.*?)```', TEXT, flags=re.DOTALL))
MODULES = [name for name in FILES if name.endswith('.py') and not name.startswith('test_')]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The files of the walkthroughs, and what their option files name besides."""
    folder = tmp_path_factory.mktemp('contributing')
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for index in range(2):
        save(folder / 'photos' / f'{index}.png', photograph((24, 28), index))
    return folder


def run(folder, *command):
    paths = os.pathsep.join([str(ROOT), str(folder)])
    environment = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1', 'PYTHONDONTWRITEBYTECODE': '1'}
    ended = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_there_is_a_walkthrough_for_each_kind():
    assert len(MODULES) == 5
    assert {f'test_{name}' for name in MODULES} <= set(FILES)
    kinds = re.findall(r'^@register_(\w+)\(', ''.join(FILES[name] for name in MODULES), flags=re.MULTILINE)
    assert sorted(kinds) == ['defence', 'loss', 'metric', 'optimizer', 'victim']


def test_its_tests_pass(folder):
    said = run(folder, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--rootdir', folder, folder)
    assert re.search(r'(\d+) passed', said)[1] == str(sum(text.count('\ndef test_') for text in FILES.values()))


def test_its_files_keep_the_house_style(folder):
    paths = [folder / name for name in MODULES]
    run(folder, '-m', 'ruff', 'check', '--no-cache', '--config', ROOT / 'pyproject.toml', '--ignore', 'I', *paths)


@pytest.mark.parametrize('kind', ['victim', 'defence'])
def test_its_query_runs_work(folder, kind):
    module = re.search(rf'--import (\S+\.py) -opt FILE`:\n\n```yaml\n# {kind}\.yml', TEXT)[1]
    output = folder / kind
    run(folder, ROOT / 'tools' / 'query.py', '--import', module, '-opt', f'{kind}.yml', '--output', output)
    assert len(list((output / 'queries' / 'response').glob('*.png'))) == 2


def test_its_metric_is_in_an_evaluation(folder):
    metrics = yaml.safe_load(FILES['metric.yml'])['metrics']
    job = {
        'name': 'metric',
        'victim': {'type': 'bicubic', 'scale': 2},
        'baselines': {'again': {'type': 'bicubic', 'scale': 2}},
        'test_sets': [{'name': 'photos', 'lq': 'photos'}],
        'metrics': metrics,
    }
    write_yaml(folder / 'evaluation.yml', job)
    said = run(folder, ROOT / 'tools' / 'evaluate.py', '--import', 'mean_absolute_error.py', '-opt', 'evaluation.yml')
    assert 'RGB-MAE' in said


@pytest.mark.slow
def test_its_loss_and_optimizer_train(folder):
    train = {**yaml.safe_load(FILES['loss.yml'])['train'], **yaml.safe_load(FILES['optimizer.yml'])['train']}
    write_yaml(folder / 'train.yml', training_options(*pair_folders(folder), **train))
    imports = ['--import', 'gradient_difference.py', '--import', 'signum.py']
    run(folder, ROOT / 'tools' / 'train_basicsr.py', *imports, '-opt', 'train.yml')
    assert (folder / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth').is_file()


def test_its_registry_lines_name_what_the_files_define():
    lines = re.findall(r"^'(\w+)': '(mea_plugin\.\w+)\.(\w+):(\w+)',$", TEXT, flags=re.MULTILINE)
    assert len(lines) == 4
    for name, package, module, attribute in lines:
        text = FILES[f'{module}.py']
        assert f"('{name}')\nclass {attribute}" in text
        assert (ROOT / package.replace('.', '/') / 'registry.py').is_file()


def test_its_commands_and_links_exist():
    targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE)
    assert set(re.findall(r'`make ([a-z-]+)', TEXT)) <= set(targets)
    links = re.findall(r'\]\(([^)#]+)', TEXT)
    assert [link for link in links if not (ROOT / link).exists()] == []
