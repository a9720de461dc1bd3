"""A results folder from somebody else: nothing from outside of it is published, and the report is made all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mea_plugin.core import records
from tests.helpers import call_tool
from tests.report.results import make_extraction

SECRET = 'hunter2'
LOG = 'experiments/baseline/train_baseline_20260101_000000.log'


@pytest.fixture(autouse=True)
def says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that another test has caused are said again."""
    monkeypatch.setattr(records, '_told', set())


def by_link(name: str) -> Callable[[Path, Path], None]:
    """A file or folder of the results becomes a link to a private one of the same content and a secret."""

    def change(results: Path, private: Path) -> None:
        path = results / name
        if path.is_dir():
            path.rename(private / 'folder')
            path.symlink_to(private / 'folder')
            return
        text = path.read_text()
        told = {
            '.yml': f'{text}password_of: {SECRET}\n'.replace('password_of', 'note'),
            '.py': f"{text}note = '{SECRET}'\n",
            '.json': json.dumps({**json.loads(text), 'options': {'note': SECRET}}) if name.endswith('.json') else '',
            '.log': text.replace('l_pix', f'l_{SECRET}'),
        }[path.suffix]
        (private / 'file').write_text(told)
        path.unlink()
        path.symlink_to(private / 'file')

    return change


def by_base(name: str) -> Callable[[Path, Path], None]:
    """A training's options are based on a private file."""

    def change(results: Path, private: Path) -> None:
        (private / 'private.json').write_text(json.dumps({'database': {'host': SECRET}}))
        (results / 'surrogates' / 'link.yml').symlink_to(private / 'private.json')
        path = results / 'surrogates' / 'baseline.yml'
        path.write_text(f'_base_: {name.format(private=private, up="../../private")}\n{path.read_text()}')

    return change


def by_name(results: Path, private: Path) -> None:
    """A surrogate is called like a path."""
    (private / 'options.yml').write_text(f'note: {SECRET}\n')
    path = results / 'evaluation' / 'evaluation.json'
    text = path.read_text().replace('"baseline"', '"../../private/options"')
    content = json.loads(text)
    for model in content['models']:
        model['role'] = model['role'].replace('../../private/options', 'baseline')
    path.write_text(json.dumps(records.sealed(content)))


WAYS = {
    'options': by_link('surrogates/baseline.yml'),
    'config': by_link('surrogates/proposed.py'),
    'manifest': by_link('queries/manifest.json'),
    'queries': by_link('queries'),
    'log': by_link(LOG),
    'experiment': by_link('experiments/baseline'),
    'absolute base': by_base('{private}/private.json'),
    'base above': by_base('{up}/private.json'),
    'base among bases': by_base('[link.yml]'),
    'name': by_name,
}


@pytest.mark.parametrize('way', WAYS)
def test_nothing_from_elsewhere_is_published(way: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    results, private = make_extraction(tmp_path / 'results', queries=3, size=(16, 16)), tmp_path / 'private'
    private.mkdir()
    WAYS[way](results, private)
    page = tmp_path / 'report.html'
    assert call_tool('report', results, '--output', page) == 0
    text = page.read_text()
    assert SECRET not in text
    assert 'l_pix' in text or way in ('log', 'experiment')
    (said,) = capsys.readouterr().err.splitlines()
    assert 'left out' in said


def test_what_is_inside_is_published(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The same places, without a link: what the test above looks for would be found."""
    results = make_extraction(tmp_path / 'results', queries=3, size=(16, 16))
    (results / 'base.yml').write_text(f'note: {SECRET}1\n')
    (results / 'surrogates' / 'own.yml').symlink_to('../base.yml')
    with (results / 'surrogates' / 'baseline.yml').open('a') as file:
        file.write('_base_: own.yml\n')
    with (results / 'surrogates' / 'proposed.py').open('a') as file:
        file.write(f"note = '{SECRET}2'\n")
    (results / LOG).write_text((results / LOG).read_text().replace('l_pix', f'l_{SECRET}3'))
    manifest = results / 'queries' / 'manifest.json'
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'options': {'note': f'{SECRET}4'}}))
    page = tmp_path / 'report.html'
    assert call_tool('report', results, '--output', page) == 0
    text = page.read_text()
    assert all(f'{SECRET}{number}' in text for number in range(1, 5))
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('name', ['queries/manifest.json', 'surrogates/baseline.yml', 'surrogates/proposed.py', LOG])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path):
    results = make_extraction(tmp_path / 'results', queries=3, size=(16, 16))
    (results / name).unlink()
    os.mkfifo(results / name)
    assert call_tool('report', results, '--output', tmp_path / 'report.html') == 0


def test_a_result_that_is_elsewhere_is_none(tmp_path: Path, capsys: pytest.CaptureFixture):
    make_extraction(tmp_path / 'other', queries=3, size=(16, 16))
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results' / 'evaluation').symlink_to(tmp_path / 'other' / 'evaluation')
    assert call_tool('report', tmp_path / 'results', '--output', tmp_path / 'report.html') == 2
    assert 'link' in capsys.readouterr().err
