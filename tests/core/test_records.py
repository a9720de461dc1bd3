"""Records with a checksum: any damage is seen, and whatever is wrong is told in one line."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mea_plugin.core import records
from mea_plugin.core.errors import InputError
from mea_plugin.core.records import RecordError, find_record, read_record, sealed, write_record

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.dictionaries(st.text(max_size=5).filter(lambda key: key not in ('sha256', 'format')), VALUES, max_size=4)


@pytest.fixture(autouse=True)
def says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that another test has caused are said again."""
    monkeypatch.setattr(records, '_told', set())


@given(CONTENTS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]):
    path = tmp_path_factory.mktemp('r') / 'r.json'
    write_record(path, {'format': 2, **content})
    assert read_record(path, format=2) == {'format': 2, **content}


def test_numbers_as_keys_have_the_order_of_texts(tmp_path: Path):
    """JSON makes texts of them, which are sorted otherwise than numbers."""
    write_record(tmp_path / 'r.json', {'losses': {9: 1.0, 10: 2.0}})
    assert read_record(tmp_path / 'r.json') == {'losses': {'9': 1.0, '10': 2.0}}


@given(st.data(), CONTENTS.filter(bool))
def test_a_changed_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, content: dict[str, Any]):
    path = tmp_path_factory.mktemp('r') / 'r.json'
    write_record(path, {'format': 2, **content})
    text = path.read_bytes()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    try:
        same = json.loads(changed) == json.loads(text)  # in white space, or 1e1 for 1E1
    except ValueError:
        same = False
    assume(not same)
    path.write_bytes(changed)
    with pytest.raises(RecordError):
        read_record(path, format=2, unsealed=1)


@given(st.integers(0, 400))
def test_a_part_of_a_file_is_none(tmp_path_factory: pytest.TempPathFactory, length: int):
    path = tmp_path_factory.mktemp('r') / 'r.json'
    write_record(path, {'format': 2, 'values': list(range(60))})
    whole = path.read_bytes()
    path.write_bytes(whole[: min(length, len(whole) - 3)])
    with pytest.raises(RecordError):
        read_record(path, format=2)


def test_a_record_without_its_checksum_is_damaged(tmp_path: Path):
    content = sealed({'format': 2, 'value': 3})
    del content['sha256']
    (tmp_path / 'r.json').write_text(json.dumps(content))
    with pytest.raises(RecordError, match='checksum'):
        read_record(tmp_path / 'r.json', format=2, unsealed=1)


def test_a_record_of_an_earlier_version_is_read_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in 'ab':
        (tmp_path / f'{name}.json').write_text('{"format": 1, "value": 3}')
        assert find_record(tmp_path / f'{name}.json', format=2, unsealed=1) == {'format': 1, 'value': 3}
    (said,) = capsys.readouterr().err.splitlines()  # once for a folder
    assert str(tmp_path) in said


@pytest.mark.parametrize('number', [3, 0, True, '2', None, 1.0, [2], {}])
def test_another_format_is_refused(tmp_path: Path, number: Any):
    write_record(tmp_path / 'r.json', {'format': number, 'value': 3})
    with pytest.raises(RecordError, match='format'):
        read_record(tmp_path / 'r.json', format=2, unsealed=1)


BAD = {
    'empty': b'',
    'no object': b'[1, 2]',
    'nan': b'{"format": 2, "a": NaN}',
    'infinity': b'{"format": 2, "a": 1e999999}',
    'many digits': b'{"format": 2, "a": ' + b'9' * 5000 + b'}',
    'no utf-8': b'{"format": 2, "a": "\xff"}',
    'lists': b'{"format": 2, "a": ' + b'[' * 10_000 + b']' * 10_000 + b'}',
    'objects': b'{"a": ' * 10_000 + b'1' + b'}' * 10_000,
    'nested less': b'{"format": 2, "a": ' + b'[' * 500 + b']' * 500 + b'}',
    'long value': b'{"format": "' + b'x' * 100_000 + b'"}',
    'escapes': b'{"format": "\\u001b[31m\\n\\nerror: none"}',
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_no_record_is_one_short_line(tmp_path: Path, capsys: pytest.CaptureFixture, name: str):
    path = tmp_path / 'r.json'
    path.write_bytes(BAD[name])
    assert find_record(path, format=2, unsealed=1) is None
    (said,) = capsys.readouterr().err.splitlines()
    assert str(path) in said
    assert len(said) < 400
    assert said.isprintable()


def test_no_file_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert find_record(tmp_path / 'r.json', format=2) is None
    assert capsys.readouterr().err == ''


def test_a_pipe_or_a_device_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe.json')
    (tmp_path / 'zeros.json').symlink_to('/dev/zero')
    for path in (tmp_path / 'pipe.json', tmp_path / 'zeros.json', tmp_path):
        with pytest.raises(RecordError):
            read_record(path, format=2)


def test_a_check_sees_the_content_and_its_place_is_told(tmp_path: Path):
    path = tmp_path / 'r.json'
    write_record(path, {'format': 2, 'scores': []})

    def check(content: dict[str, Any]) -> None:
        assert content == {'format': 2, 'scores': []}
        raise InputError('there are none', where='scores')

    with pytest.raises(RecordError, match='there are none') as caught:
        read_record(path, format=2, check=check)
    assert caught.value.where == f'{path}: scores'


def test_sealing_changes_nothing_that_is_given():
    content = {'b': (1, 2), 'a': {'x': 1}}
    before = copy.deepcopy(content)
    assert list(sealed(content)) == ['b', 'a', 'sha256']
    assert content == before
    assert sealed(sealed(content)) == sealed(content)
