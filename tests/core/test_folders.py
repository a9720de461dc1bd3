"""Folders that appear whole or not at all."""

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.folders import part_folder, written_aside


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
