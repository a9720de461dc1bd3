"""A cell whose record is damaged is passed over with a line and computed again; nothing that it says is used."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mea_plugin.core import records
from mea_plugin.study.runner import finished
from tests.helpers import ROOT
from tests.study.test_runner import CELL, make_task, run, times_run

PUBLISHED = sorted((ROOT / 'docs' / 'results').glob('*/cells/*.json'))


@pytest.fixture(autouse=True)
def says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that another test has caused are said again."""
    monkeypatch.setattr(records, '_told', set())


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    script = tmp_path / 'cell.py'
    script.write_text(CELL)
    return [sys.executable, str(script)]


def change_text(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def change_content(change: Callable[[dict[str, Any]], Any], *, seal: bool) -> Callable[[Path], None]:
    """With or without a checksum that fits: the second stands for a version that wrote it so."""

    def to_file(path: Path) -> None:
        content = json.loads(path.read_text())
        del content['sha256']
        change(content)
        path.write_text(json.dumps(records.sealed(content) if seal else content))

    return to_file


def as_first_format(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A record of before there were checksums."""

    def both(content: dict[str, Any]) -> None:
        change(content)
        content['format'] = 1

    return change_content(both, seal=False)


def scores(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content['test_sets']['s']
    return found


DAMAGE = {
    'a score': change_text('30.0', '40.0'),
    'a digit': change_text('"psnr_rgb": [\n          30.0', '"psnr_rgb": [\n          30.00001'),
    'the key': change_text('"k"', '"k2"'),
    'no checksum': change_content(lambda _: None, seal=False),
    'empty': lambda path: path.write_text(''),
    'half': lambda path: path.write_text(path.read_text()[:100]),
    'nested': lambda path: path.write_text('{"format": 2, "test_sets": ' + '[' * 10_000 + ']' * 10_000 + '}'),
    'a list': lambda path: path.write_text('[]'),
    'a pipe': lambda path: (path.unlink(), os.mkfifo(path)),
    'a link': lambda path: (path.rename(path.parent.parent / 'x.json'), path.symlink_to('../x.json')),
    'nan': as_first_format(lambda one: scores(one)['fidelity'].update(psnr_rgb=[float('nan'), 1.0])),
    'no test sets': as_first_format(lambda one: one.pop('test_sets')),
    'another test set': as_first_format(lambda one: one['test_sets'].update(t=one['test_sets'].pop('s'))),
    'no images': as_first_format(lambda one: scores(one).pop('images')),
    'a text': as_first_format(lambda one: scores(one)['fidelity'].update(psnr_rgb=['30', None])),
    'a truth': as_first_format(lambda one: scores(one)['fidelity'].update(psnr_rgb=[True, None])),
    'a value less': as_first_format(lambda one: scores(one)['fidelity']['psnr_rgb'].pop()),
    'another metric': as_first_format(lambda one: scores(one).update(fidelity={'x': [1.0, 2.0]})),
    'no training': as_first_format(lambda one: one.pop('train')),
    'seconds': as_first_format(lambda one: one['train'].update(seconds='long')),
    'machine': as_first_format(lambda one: one.update(machine=[])),
    'sealed nonsense': change_content(lambda one: one.update(test_sets={'s': 3}), seal=True),
}  # fmt: skip


@pytest.mark.parametrize('name', DAMAGE)
def test_a_damaged_cell_is_told_and_run_again(
    name: str, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture
):
    task = make_task(tmp_path, 'c')
    before, _ = run([task], command)
    capsys.readouterr()
    DAMAGE[name](Path(task.job.record))
    after, failures = run([task], command)
    assert (after, failures) == (before, [])
    assert times_run(task) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if 'passed over' in line]
    assert len(said) == 1
    assert task.job.record in said[0]
    assert finished(task.job) == before['c']  # the damaged one is replaced


def test_a_cell_of_before_checksums_counts(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture):
    task = make_task(tmp_path, 'c')
    before, _ = run([task], command)
    as_first_format(lambda _: None)(Path(task.job.record))
    after, _ = run([task], command)
    assert after['c'] == {**before['c'], 'format': 1}
    assert times_run(task) == 1
    assert 'no checksum' in capsys.readouterr().err


@pytest.mark.parametrize('ahead', [-1e6, 0, 1e6])
def test_a_failure_of_another_process_counts_whatever_the_clocks_say(
    ahead: float, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Only a failure from before this run is tried again; a file server's clock may be ahead or behind."""
    from mea_plugin.study import runner

    task = make_task(tmp_path, 'c', sleep=30)
    begun = runner._Run([task], runner.Places((), 1, 1), 'cells', lambda name, _: name, command)
    assert begun._failed_elsewhere(task) is None
    task.folder.mkdir(parents=True)
    note = task.folder / 'failure.json'
    note.write_text(json.dumps({'key': 'k', 'reason': 'no memory', 'id': 'other'}))
    os.utime(note, (note.stat().st_mtime + ahead,) * 2)
    assert begun._failed_elsewhere(task) == 'no memory'
    later = runner._Run([task], runner.Places((), 1, 1), 'cells', lambda name, _: name, command)
    assert later._failed_elsewhere(task) is None


@pytest.mark.parametrize('path', PUBLISHED, ids=lambda path: f'{path.parent.parent.name}/{path.stem[-8:]}')
def test_published_cells_are_whole(path: Path):
    found = records.read_record(path, format=2)
    assert found['key'].startswith(path.stem[-8:])
