"""Folders that appear whole or not at all."""

import os
import subprocess
import sys

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.folders import OutsideError, inside, part_folder, written_aside
from tests.helpers import ROOT, refused


def test_a_part_folder_is_empty_and_gone_afterwards(tmp_path):
    part = tmp_path / 'new' / '.part'
    part.mkdir(parents=True)
    (part / 'left by a killed process').touch()
    with part_folder(part) as folder:
        assert list(folder.iterdir()) == []
        (folder / 'a').touch()
        (folder / 'a').rename(tmp_path / 'a')
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a', 'new']


def test_a_failure_leaves_nothing_that_was_not_there(tmp_path):
    (tmp_path / 'there').mkdir()
    for path in (tmp_path / 'there' / 'new' / '.part', tmp_path / 'other' / '.part'):
        with pytest.raises(RuntimeError), part_folder(path) as folder:
            (folder / 'a').touch()
            raise RuntimeError
    assert [path.name for path in tmp_path.rglob('*')] == ['there']


def test_a_written_folder_has_its_name_at_the_end(tmp_path):
    with written_aside(tmp_path / 'new' / 'out') as folder:
        (folder / 'a').touch()
        assert not (tmp_path / 'new' / 'out').exists()
    assert [path.name for path in (tmp_path / 'new').rglob('*')] == ['out', 'a']


def test_a_place_that_cannot_hold_one(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError) as error, part_folder(tmp_path / 'file' / '.part'):
        pass
    assert error.value.where == str(tmp_path / 'file')


def test_what_another_process_writes_is_left_alone(tmp_path):
    """Whatever its files' times are; and once it has ended, however it did, its place is free."""
    code = """
import sys, time
from pathlib import Path
from mea_plugin.core.folders import part_folder
with part_folder(Path(sys.argv[1])) as folder:
    (folder / 'a').touch()
    print('there', flush=True)
    time.sleep(60)
"""
    part = tmp_path / '.part'
    other = subprocess.Popen([sys.executable, '-c', code, str(part)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert other.stdout.readline() == b'there\n'
        os.utime(part, (0, 0))
        with refused('.part', 'another process'), part_folder(part):
            pass
        assert (part / 'a').exists()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with part_folder(part) as folder:
        assert list(folder.iterdir()) == []


def test_a_link_in_its_place_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / 'private').mkdir()
    (tmp_path / 'private' / 'a').touch()
    (tmp_path / '.part').symlink_to(tmp_path / 'private')
    with part_folder(tmp_path / '.part'):
        assert (tmp_path / 'private' / 'a').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['private']


@pytest.mark.parametrize(
    'name',
    [
        '',
        '/etc/passwd',
        '..',
        '../x',
        'a/../../x',
        'a\\..\\x',
        'a\0b',
        'out',
        'in/out',
        'circle',
        'x' * 5000,
        'proc/root',
    ],
)
def test_names_that_lead_outside_are_refused(tmp_path, name):
    folder = tmp_path / 'results'
    (folder / 'in').mkdir(parents=True)
    (folder / 'out').symlink_to(tmp_path)
    (folder / 'in' / 'out').symlink_to('../../other')
    (folder / 'circle').symlink_to('circle')
    (folder / 'proc').symlink_to('/proc/self')
    with pytest.raises(OutsideError) as caught:
        inside(folder, name, where='evaluation.json')
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


def test_names_inside_are_followed(tmp_path):
    folder = tmp_path / 'results'
    (folder / 'in').mkdir(parents=True)
    (folder / 'in' / 'a').touch()
    (folder / 'link').symlink_to('in')
    (tmp_path / 'given').symlink_to(folder)
    for given in (folder, tmp_path / 'given'):
        for name in ('in/a', 'link/a', './in//a', given / 'link' / 'a'):
            assert inside(given, name, where='') == folder / 'in' / 'a'
        assert inside(given, 'in/new', where='') == folder / 'in' / 'new'
