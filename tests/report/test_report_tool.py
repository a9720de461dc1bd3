"""tools/report.py: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mea_plugin.report import job
from tests.helpers import call_tool, refused
from tests.report.results import make_evaluation, make_extraction, make_flatness


@pytest.fixture(scope='module')
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two extractions of different budgets, an evaluation and a flatness measurement."""
    folder = tmp_path_factory.mktemp('everything')

    def name(text: str) -> dict:
        return {'change': lambda content: content.update(name=text)}

    return [
        make_extraction(folder / 'ten', queries=10, count=2, size=(16, 16), truth=False, **name('ten')),
        make_extraction(folder / 'forty', queries=40, count=2, size=(16, 16), truth=False, **name('forty')),
        make_evaluation(folder / 'more', count=3, size=(16, 16), sets=('a',), truth=False, **name('more')),
        make_flatness(folder / 'flat'),
    ]


@pytest.mark.slow
def test_one_page_for_everything(everything: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture):
    page = tmp_path / 'new' / 'report.html'
    assert call_tool('report', *everything, '--output', page, '--figures', tmp_path / 'figures', '--images', '1') == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f'{page}: {page.stat().st_size / 1e6:.1f} MB, 3 of 7 images'
    text = page.read_text()
    assert re.findall('<h3 id="[^"]*">([^<]*)</h3>', text) == ['ten: toys', 'forty: toys', 'more: a']
    captions = re.findall('<figcaption>([^<]*)</figcaption>', text)
    for caption in (
        *('Fidelity by budget on toys: Y-PSNR to the victim.', 'ten: Training: losses.', 'forty: Training: losses.'),
        *(
            'flat: Flatness along the training: of sharpness, eigenvalue and trace, less is flatter.',
            'flat: Loss on a plane through the weights, in units of each filter; + marks the trained network.',
        ),
        *('more: Fidelity on a: means and 95 % confidence intervals.',),
    ):
        assert captions.count(caption) == 1, caption
    assert text.count('Trained on the answers to 40 queries.') == 1
    assert 'python tools/evaluate.py -opt study.yml\npython tools/flatness.py -opt flat.yml\n' in text
    written = {path.name for path in (tmp_path / 'figures').iterdir()}
    assert {str(tmp_path / 'figures' / name) for name in written} == set(said[:-1])
    wanted = {
        *('toys-budget.png', 'toys-budget.pdf', 'ten-training-losses.pdf', 'flat-flatness-trajectory.png'),
        *(
            'more-a-fidelity.png',
            'more-a-fidelity.pdf',
            'more-a-fidelity.md',
            'more-a-fidelity.tex',
            'more-a-fidelity.csv',
        ),
        *('more-a-spectra.png', 'flat-flatness-plane.pdf', 'flat-flatness.csv', 'ten-toys-fidelity-differences.tex'),
    }
    assert wanted <= written


def test_the_same_results_give_the_same_bytes(everything: list[Path], tmp_path: Path):
    pages = [tmp_path / name / 'report.html' for name in 'ab']
    for page in pages:
        job.make_report([everything[2]], page, command=['x'])
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_options_of_everything_are_shown_without_secrets(tmp_path: Path):
    def change(content: dict) -> None:
        content['options'] = {'victim': {'type': 'http', 'request': {'headers': {'X-Key': 'swordfish'}}}}
        content['command'] += ['--token', 'swordfish']
        content['models'][1]['title'] = 'http://me:swordfish@host'

    folder = make_extraction(tmp_path / 'run', queries=3, change=change)
    (folder / 'surrogates' / 'baseline.yml').write_text('train: {rho: 0.05}\nlogger: {wandb: {api_key: swordfish}}\n')
    text = job.make_report([folder], tmp_path / 'report.html', command=['r', '--token', 'swordfish']).page.read_text()
    assert 'swordfish' not in text
    assert 'api_key: &#39;***&#39;' in text
    assert 'rho: 0.05' in text


def test_a_result_without_pictures_says_how_to_get_them(tmp_path: Path):
    folder = make_evaluation(tmp_path, count=2, saved=0)
    text = job.make_report([folder], tmp_path / 'report.html').page.read_text()
    assert 'save_images: all' in text
    assert 'data-part="browser"' not in text
    folder = make_evaluation(tmp_path / 'saved', count=1, size=(8, 8))
    text = job.make_report([folder], tmp_path / 'report.html', images=0).page.read_text()
    assert 'made without images' in text


def test_only_flatness_makes_a_page(tmp_path: Path):
    text = job.make_report([make_flatness(tmp_path / 'flat')], tmp_path / 'report.html').page.read_text()
    assert 'id="curves"' in text
    assert 'id="images"' not in text
    for number in ('0.3</td>', '0.6</td>', '50</td>', '± residual</th>', 'lower numbers'):
        assert number in text


def test_names_of_any_length_have_figures(tmp_path: Path):
    made = [
        make_evaluation(
            tmp_path / letter,
            **{'count': 1, 'size': (16, 16), 'sets': ('a',), 'truth': False},
            change=lambda content, letter=letter: content.update(name=letter * 300),
        )
        for letter in 'äb'
    ]
    folder = tmp_path / 'figures'
    assert call_tool('report', *made, '--output', tmp_path / 'report.html', '--figures', folder) == 0
    names = {path.name for path in folder.iterdir()}
    assert all(len(name.encode()) < 255 for name in names)
    for end in ('-fidelity.md', '-fidelity.pdf', '-fidelity-differences.csv'):
        assert any(name.endswith(end) for name in names), end


def test_a_large_page_is_remarked_on(
    everything: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr('mea_plugin.report.job.LARGE', 1000)
    assert call_tool('report', everything[2], '--output', tmp_path / 'report.html', '--images', '1') == 0
    assert '--images N' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('damage', 'arguments', 'where', 'names'),
    [
        ('none', ['--images', '-1'], '--images', ['-1']),
        ('none', ['--images', 'x'], '--images', ["'x'"]),
        ('empty', [], '{folder}', ['evaluation.json', 'flatness.json']),
        ('format', [], '{folder}/evaluation.json', [' 1', ' 3', 'tools/evaluate.py']),
        ('json', [], '{folder}/evaluation.json', ['JSON', 'tools/evaluate.py']),
        ('picture', [], '{folder}/evaluation.json', ['images/toys/img_000/query.png', 'tools/evaluate.py']),
        ('none', ['--output', '{folder}'], '--output', ['{folder} ', 'report.html']),
        ('none', ['--output', '{folder}/evaluation.json/a.html'], '--output', ['{folder}/evaluation.json ']),
        ('none', ['--figures', '{folder}/evaluation.json'], '--figures', ['{folder}/evaluation.json ']),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_old_page(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: str, arguments: list[str], where: str, names: list[str]
):
    folder = make_evaluation(tmp_path / 'evaluation', count=1, size=(8, 8))
    path = folder / 'evaluation.json'
    if damage == 'empty':
        path.unlink()
    elif damage == 'format':
        path.write_text(json.dumps({**json.loads(path.read_text()), 'format': 1}))
    elif damage == 'json':
        path.write_text(path.read_text()[:-10])
    elif damage == 'picture':
        (folder / 'images' / 'toys' / 'img_000' / 'query.png').unlink()
    page = tmp_path / 'report.html'
    page.write_text('old')
    given = [argument.format(folder=folder) for argument in arguments]
    output = [] if '--output' in given else ['--output', str(page)]
    try:
        code = call_tool('report', folder, *output, *given)
    except SystemExit as error:  # argparse's own
        code = error.code
    assert code == 2
    said = capsys.readouterr().err
    assert f' {where.format(folder=folder)}: ' in said
    assert all(name.format(folder=folder) in said for name in names)
    assert said.count('\n') == 1
    assert page.read_text() == 'old'
    assert sorted(one.name for one in tmp_path.iterdir()) == ['evaluation', 'report.html']


@pytest.mark.parametrize('library', ['jinja2', 'matplotlib'])
def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str):
    import sys

    folder = make_evaluation(tmp_path / 'evaluation', count=1, size=(8, 8))
    monkeypatch.setitem(sys.modules, library, None)
    for name in [name for name in sys.modules if name.startswith(f'{library}.')]:
        monkeypatch.setitem(sys.modules, name, None)
    with refused('', library, do=f'pip install {library}'):
        job.make_report([folder], tmp_path / 'report.html')
    assert not (tmp_path / 'report.html').exists()


@pytest.mark.parametrize(
    ('commands', 'names'),
    [
        (('chromium',), ('{folder}/chromium',)),
        ((), ('error: ', 'apt-get', '`chromium`')),
        (('apt-get', 'id'), ('error: ', 'apt-get', 'sudo make chromium')),
    ],
)
def test_make_chromium_names_what_it_lacks(
    root: Path, tmp_path: Path, commands: tuple[str, ...], names: tuple[str, ...]
):
    for name in commands:
        (tmp_path / name).write_text('#!/bin/sh\necho 1000\n')
        (tmp_path / name).chmod(0o755)
    shell = shutil.which('sh')
    make = shutil.which('make')
    assert shell
    assert make
    command = [make, '-s', '-C', str(root), 'chromium', f'SHELL={shell}']
    result = subprocess.run(
        command, env={**os.environ, 'PATH': str(tmp_path)}, capture_output=True, text=True, check=False
    )
    said = result.stdout + result.stderr
    assert all(name.format(folder=tmp_path) in said for name in names)
    assert (result.returncode == 0) == (commands == ('chromium',))
