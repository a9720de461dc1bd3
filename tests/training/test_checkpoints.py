"""Checkpoint files: whole or not at all, and never trusted when damaged."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from mea_plugin.training import checkpoints
from mea_plugin.training.run_identity import FILE, check_run, new_run, note_run, noted_run
from tests.helpers import refused


def state():
    return {'iter': 3, 'weights': torch.arange(1000.0), 'nested': {'a': [1, (2, None)]}}


def test_round_trip(tmp_path):
    path = tmp_path / 'sub' / 'a.state'
    checkpoints.write(path, state())
    found = checkpoints.read(path)
    assert torch.equal(found.pop('weights'), state()['weights'])
    assert found == {'iter': 3, 'nested': {'a': [1, (2, None)]}}
    assert [file.name for file in path.parent.iterdir()] == ['a.state']


@pytest.mark.parametrize('damage', ['bit', 'half', 'empty', 'gone', 'text'])
def test_damage_is_seen(tmp_path, damage):
    path = tmp_path / 'a.state'
    checkpoints.write(path, state())
    assert checkpoints.fault(path) is None
    content = path.read_bytes()
    place = content.index(torch.tensor(500.0).numpy().tobytes())
    changed = {
        'bit': content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        'half': content[: len(content) // 2],
        'empty': b'',
        'text': b'no checkpoint at all',
    }
    path.unlink()
    if damage != 'gone':
        path.write_bytes(changed[damage])
    assert checkpoints.fault(path)
    with refused(path):
        checkpoints.read(path)


def test_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'made'),)

    path = tmp_path / 'a.state'
    torch.save({'x': Evil()}, path)
    with refused(path):
        checkpoints.read(path)
    assert not (tmp_path / 'made').exists()


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.state'
    checkpoints.write(path, {'iter': 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        checkpoints.write(path, state())
    assert checkpoints.read(path) == {'iter': 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_newest_intact_one_with_a_line(tmp_path):
    paths = [tmp_path / f'{number}.state' for number in (3, 2, 1)]
    for path in paths:
        checkpoints.write(path, state())
    lines = []
    assert checkpoints.newest_intact(paths, checkpoints.read, lines.append) == paths[0]
    assert not lines
    assert checkpoints.has_intact(paths)
    paths[0].write_bytes(b'half')
    assert checkpoints.newest_intact(paths, checkpoints.read, lines.append) == paths[1]
    assert '3.state' in lines[0]
    assert '2.state' in lines[1]
    assert not checkpoints.has_intact(paths)
    for path in paths:
        path.write_bytes(b'half')
    with refused(tmp_path, '3'):
        checkpoints.newest_intact(paths, checkpoints.read, lines.append)
    assert checkpoints.newest_intact([], checkpoints.read, lines.append) is None
    assert not checkpoints.has_intact([])


def test_those_of_other_runs_are_passed_over(tmp_path):
    lines = []
    runs = {tmp_path / f'{number}.state': run for number, run in ((4, 'b'), (3, 'a'), (2, None), (1, 'b'))}
    for path, run in runs.items():
        checkpoints.write(path, {'mea': {'run': run}} if run else {})

    def check(run):
        return lambda path: check_run(checkpoints.read(path).get('mea'), run)

    first, second, third, _ = runs
    assert checkpoints.newest_intact(runs, check('b'), lines.append) == first
    assert checkpoints.newest_intact(runs, check('a'), lines.append) == second
    assert '4.state is passed over: it is of another run' in lines[0]
    assert checkpoints.newest_intact(runs, check('c'), lines.append) == third  # which does not say
    assert checkpoints.newest_intact([first, second], check('c'), lines.append) is None  # to start anew is no loss
    assert checkpoints.newest_intact(runs, check(None), lines.append) == first


def test_a_folder_says_which_run_it_is_of(tmp_path):
    lines = []
    assert noted_run(tmp_path, lines.append) is None
    run = new_run()
    assert run != new_run()
    note_run(tmp_path, run)
    assert noted_run(tmp_path, lines.append) == run
    assert not lines
    good = (tmp_path / FILE).read_bytes()
    for index in range(len(good)):
        (tmp_path / FILE).write_bytes(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :])
        assert noted_run(tmp_path, lines.append) in (run, None)
    assert FILE in lines[0]


@pytest.mark.parametrize('version', [checkpoints.VERSION + 1, 'x', None])
def test_newer_versions_are_refused(version):
    with refused('a.state', str(version), str(checkpoints.VERSION), do='mea_plugin'):
        checkpoints.check_version(version, 'a.state')
    checkpoints.check_version(checkpoints.VERSION, 'a.state')
