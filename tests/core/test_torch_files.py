"""Files of torch.save: read as torch reads them, damage of any bit is found, and nothing in them is run."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import os
import pickle
import random
import resource
import struct
import sys
import time
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.core import plain_pickle, torch_files
from mea_plugin.core.errors import InputError
from mea_plugin.core.plain_pickle import Name, PickleError, Stub, read_pickle
from mea_plugin.core.torch_files import any_stub, fault, no_stub, read_torch_file, write_torch_file
from mea_plugin.core.torch_pickle import TensorBuilder
from tests.helpers import refused

_FLOAT8 = hasattr(torch, 'float8_e5m2') and hasattr(torch, 'uint16')


def read(path, has_stub=no_stub):
    return read_torch_file(path, has_stub=has_stub, do='Give another')


def same(first, second):
    """Equal to the bit, of the same classes, in the same order."""
    if isinstance(first, torch.Tensor):
        about = [
            (type(one), one.dtype, one.shape, one.stride(), one.requires_grad, one.storage_offset())
            for one in (first, second)
        ]
        bits = [one.detach().contiguous().view(-1).view(torch.uint8).tolist() for one in (first, second)]
        return about[0] == about[1] and bits[0] == bits[1]
    if isinstance(first, np.ndarray):
        return first.dtype.kind == second.dtype.kind and (first == second).all()
    if isinstance(first, dict):
        metadata = [getattr(one, '_metadata', None) for one in (first, second)]
        return (
            type(first) is type(second)
            and list(first) == list(second)
            and all(same(first[key], second[key]) for key in first)
            and (metadata[0] is metadata[1] or same(*metadata))
        )
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return (type(first) is type(second) and first == second) or first != first


def contents():
    """One of everything that training states and weight files have been seen to hold."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    base = torch.arange(12.0)
    return {
        'network': network.state_dict(),
        'optimizer': optimizer.state_dict(),
        'views': [base[2:5], base.view(3, 4).t(), base[:0], base.view(3, 4)[1]],
        'parameter': torch.nn.Parameter(base * 2),
        'frozen': torch.nn.Parameter(base * 3, requires_grad=False),
        'counter': Counter([1, 1, 2]),
        'ordered': OrderedDict([('b', 1), ('a', 2)]),
        'scalar': np.float64(3.5),
        'bytes': [b'\x00\xff', b''],
        'dtype': torch.float16,
        'device': torch.device('cuda:1'),
        'size': torch.Size([1, 2]),
        'types': [torch.ones(3, dtype=one) for one in (torch.bfloat16, torch.bool, torch.complex64, torch.int16)],
        'empty': torch.empty(0, 3),
        'expanded': torch.ones(1).expand(10, 3),
        'numbers': [0, -1, 255, 256, 65536, -(2**31), 2**63, -(2**70), 0.1, float('inf'), float('nan')],
        'text': 'é☃\U0001f600',
        'nested': (1, (2, [3, {'x': None, 1: True, (1, 'a'): False}])),
        'set': {1, 'a'},
        **({'new': [torch.ones(3, dtype=torch.uint16), torch.ones(3).to(torch.float8_e5m2)]} if _FLOAT8 else {}),
    }


class TestRoundTrip:
    """Against torch's own reader."""

    def test_what_we_write(self, tmp_path):
        path, content = tmp_path / 'new' / 'a.pth', {**contents(), 'array': np.arange(6, dtype='>i4').reshape(2, 3)}
        digest = write_torch_file(path, content)
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert same(content, read(path))
        assert fault(path) is None
        for options in ({}, {'mmap': True}):
            assert same(content, torch.load(str(path), weights_only=False, **options))
        assert same(content, torch.load(io.BytesIO(path.read_bytes()), weights_only=False))
        assert 'data.pkl' in str(torch._C.PyTorchFileReader(str(path)).get_all_records())
        assert zipfile.ZipFile(path).testzip() is None

    def test_torch_reads_our_weights_as_weights_only(self, tmp_path):
        state = torch.nn.Conv2d(3, 4, 3).state_dict()
        write_torch_file(tmp_path / 'a.pth', {'params': state})
        assert same({'params': state}, torch.load(tmp_path / 'a.pth', weights_only=True))

    @pytest.mark.parametrize('protocol', [2, 3, 4, 5])
    @pytest.mark.parametrize('archive', [True, False])
    def test_what_torch_writes(self, archive, protocol, tmp_path):
        if not archive and not _FLOAT8:
            content = contents()
        else:
            content = {key: value for key, value in contents().items() if key != 'new' or archive}
        options = {'_use_new_zipfile_serialization': archive, 'pickle_protocol': protocol}
        torch.save(content, tmp_path / 'a.pth', **options)
        assert same(content, read(tmp_path / 'a.pth'))

    def test_views_share_memory(self, tmp_path):
        base = torch.zeros(4)
        write_torch_file(tmp_path / 'a.pth', [base, base[1:]])
        first, second = read(tmp_path / 'a.pth')
        first[1] = 5
        assert second[0] == 5

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
            max_leaves=20,
        ),
        st.integers(2, 4),
    )
    @settings(max_examples=200, deadline=None)
    def test_plain_values(self, value, protocol):
        class Nothing:
            def resolve(self, name):
                return name

            def check_left(self, name):
                raise AssertionError

            def call(self, name, arguments):
                if name == Name('__builtin__', 'bytes'):
                    return b''
                assert name == Name('_codecs', 'encode')
                return arguments[0].encode('latin-1')

        data = pickle.dumps(value, protocol)
        assert read_pickle(b'xx' + data + b'more', Nothing(), 2) == (value, len(data) + 2)


class TestDamage:
    """Found wherever it is."""

    def test_every_bit_of_a_file_of_ours_counts(self, tmp_path):
        path = tmp_path / '1.state'
        write_torch_file(path, {'w': torch.arange(9.0) + 1, 'v': torch.ones(9)})
        good = path.read_bytes()
        every = [(position, bit) for position in range(len(good)) for bit in range(8)]
        central, end = good.index(b'PK\x01\x02'), len(good) - 110
        chosen = random.Random(0).sample(every, 700) + [(at, bit) for at in range(end, len(good)) for bit in (0, 4)]
        chosen += [(at, 4) for at in range(central, end)]
        for position, bit in chosen:
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            path.write_bytes(bad)
            assert fault(path), (position, bit)
            if (position + bit) % 7 == 0:
                with pytest.raises(InputError):
                    read(path)

    @pytest.mark.parametrize('archive', [True, False])
    def test_no_damage_of_any_file_is_a_traceback_or_another_value(self, archive, tmp_path):
        """Of files of others the checksums vouch for the content, and only in the newer format."""
        path, content = tmp_path / 'a.pth', {'w': torch.arange(9.0) + 1, 'n': {'x': 1}}
        torch.save(content, path, _use_new_zipfile_serialization=archive)
        good, draw = path.read_bytes(), random.Random(1)
        for _ in range(1500):
            bad = bytearray(good)
            for _ in range(draw.choice((1, 1, 3))):
                bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
            path.write_bytes(bad[: draw.choice((len(bad), len(bad), draw.randrange(len(bad))))])
            with contextlib.suppress(InputError):
                found = read(path, any_stub)
                assert not archive or same(content, found)

    def test_what_follows_or_precedes_is_damage(self, tmp_path):
        path = tmp_path / 'a.pth'
        write_torch_file(path, {})
        good = path.read_bytes()
        for content in (good + b'\0', b'\0' + good, good[:-1], good * 2, b'', b'PK', b'PK\x03\x04', b'no zip file'):
            path.write_bytes(content)
            assert fault(path)
            with pytest.raises(InputError):
                read(path)

    def test_a_directory_that_says_other_than_the_records(self, tmp_path):
        path = tmp_path / 'a.pth'
        torch.save({'w': torch.arange(9.0)}, path)
        good = path.read_bytes()
        entry = (
            good.index(b'archive/data/0' if b'archive/data/0' in good else b'a/data/0', good.index(b'PK\x01\x02')) - 46
        )
        for at, byte in ((38, 0x10), (10, 8), (24, 1), (20, 1), (42, 1), (16, 1), (28, 1), (8, 1)):
            bad = bytearray(good)
            bad[entry + at] ^= byte
            path.write_bytes(bad)
            with pytest.raises(InputError):
                read(path)
            assert fault(path)


def archive_of(path, pickled, records=(), *, compression=zipfile.ZIP_STORED, prefix='a'):
    """A zip file with this ``data.pkl`` and further records."""
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr(f'{prefix}/data.pkl', pickled)
        for name, content in dict(records).items():
            archive.writestr(f'{prefix}/{name}', content)


class Run:
    """Would make a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def tensor(count=4, *, key='0', kind=b'FloatStorage', offset=0, size=None, stride=1, function=b'_rebuild_tensor_v2'):
    """The pickle of a tensor, step by step."""

    def number(value):
        data = value.to_bytes(16, 'little', signed=True)
        return b'\x8a\x10' + data

    storage = b'(X\x07\x00\x00\x00storagectorch\n' + kind + b'\nX\x01\x00\x00\x00' + key.encode()
    storage += b'X\x03\x00\x00\x00cpu' + number(count) + b'tQ'
    shape = number(count if size is None else size) + b'\x85' + number(stride) + b'\x85'
    ordered = b'ccollections\nOrderedDict\n)R'
    return b'ctorch._utils\n' + function + b'\n(' + storage + number(offset) + shape + b'\x89' + ordered + b'tR'


def pickled(body):
    return b'\x80\x02' + body + b'.'


TENSORS = {
    'beyond the end': tensor(4, size=5),
    'beyond the end by its offset': tensor(4, offset=1),
    'beyond the end by its stride': tensor(4, size=3, stride=2),
    'before the beginning': tensor(4, offset=-1, size=1),
    'a negative stride': tensor(4, stride=-1),
    'a negative size': tensor(4, size=-4),
    'more than the record': tensor(2**40),
    'more than any memory': tensor(2**62),
    'less than the record': tensor(3),
    'another type': tensor(4, kind=b'DoubleStorage'),
    'quantised': tensor(4, kind=b'QUInt8Storage'),
    'no storage': tensor(4, kind=b'nn'),
    'missing': tensor(4, key='1'),
    'elements repeated without end': tensor(4, size=2**50, stride=0),
    'another function': tensor(4, function=b'_rebuild_qtensor'),
    'sparse': tensor(4, function=b'_rebuild_sparse_tensor'),
}

_SHORT = b'\x8c'


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


PICKLES = {
    'system': b'cposix\nsystem\n' + text('touch ran') + b'\x85R',
    'eval': b'c__builtin__\neval\n' + text("open('ran', 'w')") + b'\x85R',
    'getattr': b'c__builtin__\ngetattr\nctorch\nload\n' + text('__globals__') + b'\x86R',
    'stack global': _SHORT + b'\x05posix' + _SHORT + b'\x06system' + b'\x93' + text('touch ran') + b'\x85R',
    'import': b'cantigravity\nfly\n)R',
    'new object': b'csubprocess\nPopen\n' + text('touch ran') + b'\x85\x81',
    'object by class': b'(' + text('touch ran') + b'iposix\nsystem\n',
    'attributes of a class': b'ctorch.nn.parameter\nParameter\n}' + text('changed') + b'K\x01sb',
    'attributes of a class, in two dicts': b'ccollections\nOrderedDict\nN}' + text('changed') + b'K\x01s\x86b',
    'attributes of a dtype': b'ctorch\nfloat32\n}' + text('changed') + b'K\x01sb',
    "attributes of numpy's dtype": b'cnumpy\nfloat64\n}' + text('changed') + b'K\x01sb',
    'items of a module': b'csys\nmodules\n' + text('changed') + b'Ns',
    'items of a class': b'ctorch\nTensor\n' + text('changed') + b'Ns',
    'append to a name': b'csys\npath\n' + text('changed') + b'a',
    'append to a tuple': b')' + text('changed') + b'a',
    'add to a name': b'csys\nflags\n(' + text('changed') + b'\x90',
    'an extension': b'\x82\x01',
    'a persistent id of anything': text('os') + b'Q',
    'a huge number for a note': b'Nr\xff\xff\xff\xff',
    'a huge number': b'\x8b\xff\xff\xff\x7f' + bytes(100),
    'a negative length': b'\x8b\xff\xff\xff\xff',
    'a huge text': b'X\xff\xff\xff\xff' + b'x',
    'a huge text in 64 bits': b'\x8d' + b'\xff' * 8 + b'x',
    'itself': b']q\x00h\x00a',
    'itself, within a dict': b'}q\x00' + text('x') + b'h\x00s',
    'depth': b']' * 5000 + b'a' * 4999,
    'tuples without end': b'K\x01' + b'\x85' * 5000,
    'a key that is deep': b'}K\x01' + b'\x85' * 100_000 + b'Ns',
    'laughter': b']K\x01a' + b'q\x00]h\x00ah\x00ah\x00ah\x00ah\x00ah\x00ah\x00ah\x00ah\x00ah\x00a' * 30,
    'an array of objects': b'cnumpy\ndtype\n' + text('O8') + b'\x89\x88\x87R',
    'nothing': b'',
    'two values': b'NN',
    'a mark': b'(',
    'marks out of step': b'Nt',
    'an unknown step': b'\xfe',
    'protocol 9': b'\x80\x09N',
}


@pytest.fixture
def _unchanged(monkeypatch, tmp_path):
    """The process is as it was, and nothing has run."""
    monkeypatch.chdir(tmp_path)
    watched = (torch.nn.Parameter, OrderedDict, collections.Counter, torch.Tensor, InputError)
    before = [dict(vars(one)) for one in watched], dict(sys.modules), list(sys.path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert ([dict(vars(one)) for one in watched], list(sys.path)) == before[::2]
    assert 'changed' not in sys.modules
    assert 'antigravity' not in sys.modules
    assert not (tmp_path / 'ran').exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 400_000  # kB


@pytest.mark.usefixtures('_unchanged')
class TestHostileFiles:
    """One line, no code, little memory."""

    def check(self, path):
        began = time.monotonic()
        with pytest.raises(InputError) as error:
            read(path)
        errors = [error.value]
        try:
            found = read(path, any_stub)
        except InputError as caught:
            errors.append(caught)
        else:
            assert isinstance(found, Stub | Name), found  # which do nothing
        assert all('\n' not in str(one) and len(one.what) < 300 for one in errors)
        assert time.monotonic() - began < 30

    @pytest.mark.parametrize('archive', [True, False])
    @pytest.mark.parametrize('name', PICKLES)
    def test_pickles(self, name, archive, tmp_path):
        path = tmp_path / 'a.pth'
        if archive:
            archive_of(path, pickled(PICKLES[name]))
        else:
            torch.save(0, path, _use_new_zipfile_serialization=False)
            head = path.read_bytes().rpartition(pickle.dumps(0, 2))[0]
            path.write_bytes(head + pickled(PICKLES[name]) + pickle.dumps([], 2))
        self.check(path)

    @pytest.mark.parametrize('name', TENSORS)
    def test_tensors(self, name, tmp_path):
        archive_of(tmp_path / 'a.pth', pickled(TENSORS[name]), {'data/0': bytes(16)})
        self.check(tmp_path / 'a.pth')

    def test_the_plain_tensor_that_these_are_made_of_is_read(self, tmp_path):
        archive_of(tmp_path / 'a.pth', pickled(tensor()), {'data/0': np.arange(4, dtype='<f4').tobytes()})
        assert read(tmp_path / 'a.pth').tolist() == [0, 1, 2, 3]

    def test_many_views_of_one_storage(self, tmp_path):
        whole = 1 << 20
        views = b'(' + b''.join(tensor(whole // 4) for _ in range(500)) + b'l'
        archive_of(tmp_path / 'a.pth', pickled(views), {'data/0': bytes(whole)})
        with refused('a.pth', 'repeat'):
            read(tmp_path / 'a.pth')

    def test_a_file_before_torch_1_6_that_promises_more_than_it_has(self, tmp_path):
        path = tmp_path / 'a.pth'
        torch.save(0, path, _use_new_zipfile_serialization=False)
        head = path.read_bytes().rpartition(pickle.dumps(0, 2))[0]
        for body in (tensor(2**40), tensor(2**62), tensor(4), tensor(4, size=2**50, stride=0)):
            path.write_bytes(head + pickled(body) + pickle.dumps(['0'], 2) + struct.pack('<q', 5) + bytes(16))
            self.check(path)

    def test_compressed_records(self, tmp_path):
        path = tmp_path / 'a.pth'
        archive_of(path, pickled(tensor(1 << 26)), {'data/0': bytes(1 << 28)}, compression=zipfile.ZIP_DEFLATED)
        with refused('a.pth', 'compressed'):
            read(path)
        assert 'compressed' in fault(path)

    def test_two_records_of_one_name(self, tmp_path):
        archive_of(tmp_path / 'a.pth', pickled(tensor()), {'data/0': bytes(16)})
        with zipfile.ZipFile(tmp_path / 'a.pth', 'a') as archive, pytest.warns(UserWarning, match='Duplicate'):
            archive.writestr('a/data/0', bytes(16))
        self.check(tmp_path / 'a.pth')

    def test_records_that_overlap(self, tmp_path):
        """The second record's entry points into the first: a small file could hold any number of them."""
        path = tmp_path / 'a.pth'
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, 'w') as archive:
            archive.writestr('a/data/1', bytes(16))
        archive_of(path, pickled(tensor()), {'data/0': inner.getvalue(), 'data/1': bytes(16)})
        content = bytearray(path.read_bytes())
        place = content.index(inner.getvalue())
        entry = content.rindex(b'a/data/1') - 46
        content[entry + 42 : entry + 46] = struct.pack('<I', place)
        path.write_bytes(content)
        with refused('a.pth', 'overlap'):
            read(path)

    def test_more_records_than_the_directory_can_hold(self, tmp_path):
        path = tmp_path / 'a.pth'
        path.write_bytes(b'PK\x03\x04' + struct.pack('<4s4H2IH', b'PK\x05\x06', 0, 0, 60000, 60000, 4, 0, 0))
        self.check(path)

    def test_two_pickles_or_none(self, tmp_path):
        for names in (('a/data.pkl', 'b/data.pkl'), ('data.pkl',), ('a/b/data.pkl',)):
            with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
                for name in names:
                    archive.writestr(name, pickled(b'N'))
            self.check(tmp_path / 'a.pth')

    def test_a_pickle_of_many_steps(self, tmp_path, monkeypatch):
        monkeypatch.setattr(plain_pickle, '_MAX_STEPS', 1000)
        archive_of(tmp_path / 'a.pth', pickled(b'(' + b'N' * 1000 + b'l'))
        with refused('a.pth', '1000'):
            read(tmp_path / 'a.pth')

    def test_torchscript(self, tmp_path):
        torch.jit.script(torch.nn.Conv2d(3, 3, 3)).save(str(tmp_path / 'a.pth'))
        with refused('a.pth', 'TorchScript'):
            read(tmp_path / 'a.pth', any_stub)

    def test_a_method_is_not_hidden_by_an_attribute(self, tmp_path):
        body = b'ccollections\nOrderedDict\n)R}(' + text('items') + b'N' + text('_metadata') + b'}ub'
        archive_of(tmp_path / 'a.pth', pickled(body))
        found = read(tmp_path / 'a.pth')
        assert vars(found) == {'_metadata': {}}

    def test_weights_beside_an_object_are_read_and_the_object_is_not_made(self, tmp_path):
        torch.save({'w': torch.ones(2), 'x': Run(tmp_path / 'ran'), 'c': Run}, tmp_path / 'a.pth')
        found = read(tmp_path / 'a.pth', any_stub)
        assert found['w'].tolist() == [1, 1]
        assert found['x'].name == Name('posix', 'system')
        with refused('a.pth', 'posix.system'):
            read(tmp_path / 'a.pth')

    def test_an_odd_name_is_not_quoted(self, tmp_path):
        archive_of(tmp_path / 'a.pth', pickled(b'c' + b'x' * 300 + b'\n\x1b[31m\n)R'))
        with refused('a.pth', 'odd name'):
            read(tmp_path / 'a.pth')


def test_changed_pickles_are_read_or_refused():
    """Steps, bits and pieces of a good one are changed; what is made of it is data."""
    draw = random.Random(0)
    steps = b'.(qhRbsuae})]NKQtl' + bytes((0x81, 0x85, 0x86, 0x8F, 0x90, 0x91, 0x92, 0x93, 0x94))
    made = [{'a': 1, (1, 'b'): [2.5, None]}, OrderedDict(x=np.float32(2)), np.arange(3), b'xx', {1, 2}, Counter('a')]
    good = pickle.dumps(made, 2)
    outcomes = Counter()
    for _ in range(4000):
        data = bytearray(good)
        for _ in range(draw.choice((1, 1, 2, 8))):
            place, kind = draw.randrange(len(data)), draw.randrange(4)
            if kind == 0:
                data[place] = draw.choice(steps)
            elif kind == 1:
                data[place] ^= 1 << draw.randrange(8)
            elif kind == 2:
                data[place:place] = bytes([draw.choice(steps)])
            else:
                start = draw.randrange(len(data))
                data[place:place] = data[start : start + 20]
        for has_stub in (any_stub, no_stub):
            with contextlib.suppress(PickleError):
                read_pickle(bytes(data), TensorBuilder(no_storage, 0, has_stub))
                outcomes['read'] += 1
            outcomes['all'] += 1
    assert 100 < outcomes['read'] < outcomes['all'] - 100


def no_storage(key, dtype, count):
    raise PickleError('has no storages')


def test_what_is_no_file(tmp_path):
    with refused('b.pth', 'missing'):
        read(tmp_path / 'b.pth')
    assert fault(tmp_path / 'b.pth') == 'is missing'
    with refused(tmp_path):
        read(tmp_path)
    assert fault(tmp_path)


def test_a_file_with_another_comment_is_damaged(tmp_path):
    torch.save({}, tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'a.pth', 'a') as archive:
        archive.comment = b'hello'
    with refused('a.pth', 'end'):
        read(tmp_path / 'a.pth')


def test_errors_are_of_one_kind():
    assert issubclass(PickleError, ValueError)
    assert torch_files.TorchScriptError is not InputError
