"""Atomic files and content hashes."""

import errno
import hashlib
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.core.files import hash_array, hash_file, hash_json, read_json, write_bytes, write_json, write_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=['Cs'])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_file_appears_whole_in_a_new_folder(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file.bin'
    write_bytes(path, b'one')
    write_bytes(path, b'two')
    assert path.read_bytes() == b'two'
    assert [p.name for p in path.parent.iterdir()] == ['file.bin']


@pytest.mark.parametrize('fault', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    path = tmp_path / 'file.txt'
    write_text(path, 'old')

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fault == 'fsync':
        monkeypatch.setattr(os, 'fsync', fail)
    else:
        monkeypatch.setattr(type(path), 'replace', fail)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        write_text(path, 'new')
    assert error.value.filename == str(path)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['file.txt']


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no umask')
def test_files_get_the_usual_permissions_and_the_umask_stays(tmp_path):
    before = os.umask(0o027)
    try:
        threads = [threading.Thread(target=write_bytes, args=(tmp_path / str(i), b'x')) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.umask(0o027) == 0o027
        assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o640}
    finally:
        os.umask(before)


@settings(max_examples=30, deadline=None)
@given(JSON)
def test_json_round_trips(tmp_path_factory, value):
    path = tmp_path_factory.mktemp('json') / 'value.json'
    write_json(path, value)
    assert read_json(path) == value


def test_json_that_is_none(tmp_path):
    assert read_json(tmp_path / 'missing.json') is None
    for damaged in (b'{"a": 1', b'', b'\xff\xfe'):
        (tmp_path / 'damaged.json').write_bytes(damaged)
        assert read_json(tmp_path / 'damaged.json') is None
    with pytest.raises(ValueError, match='not JSON compliant'):
        write_json(tmp_path / 'nan.json', float('nan'))
    assert not (tmp_path / 'nan.json').exists()


@pytest.mark.parametrize('size', [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_hash_of_a_file(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / 'file').write_bytes(data)
    assert hash_file(tmp_path / 'file') == hashlib.sha256(data).hexdigest()


def test_hash_of_an_array_is_of_dtype_shape_and_content():
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert hash_array(array) == hash_array(np.asfortranarray(array))
    assert hash_array(array) == hash_array(np.pad(array, 1)[1:-1, 1:-1])
    others = [array.reshape(6, 4), array.astype(np.int8), array + 1, array[:, :5]]
    assert len({hash_array(other) for other in [array, *others]}) == 5


def test_hash_of_json_ignores_the_order_of_keys():
    assert hash_json({'a': 1, 'b': [1, 2]}) == hash_json({'b': [1, 2], 'a': 1})
    assert len({hash_json(v) for v in ({'a': 1}, {'a': 2}, {'a': '1'}, {'b': 1}, [1, 2], [2, 1])}) == 6
