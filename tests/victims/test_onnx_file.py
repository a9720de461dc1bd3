"""ONNX files that refer to other files: what is read, what is hashed, and that ONNX Runtime opens nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.victims import build_victim
from tests.helpers import refused

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

EYE = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
IMAGE = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def varint(number: int, padding: int = 0) -> bytes:
    """A protobuf number; with padding, in more bytes than it needs, which every parser accepts."""
    data = bytearray()
    while True:
        number, low = number >> 7, number & 127
        data.append(low | (128 if number or padding else 0))
        if not number and not padding:
            return bytes(data)
        padding -= not number


def field(number: int, data: bytes, padding: int = 0) -> bytes:
    return varint(number << 3 | 2) + varint(len(data), padding) + data


def external(name: str = 'w', **entries: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=EYE.shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def ends() -> tuple[list[Any], list[Any]]:
    return tuple([helper.make_tensor_value_info(name, 1, ['n', 3, 'h', 'w'])] for name in 'xy')


def model_of(graph: Any, **more: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8, **more)


def as_initializer(tensor: TensorProto) -> bytes:
    graph = helper.make_graph([helper.make_node('Conv', ['x', 'w'], ['y'])], 'g', *ends(), [tensor])
    return model_of(graph).SerializeToString()


def as_constant(tensor: TensorProto) -> bytes:
    nodes = [helper.make_node('Constant', [], ['w'], value=tensor), helper.make_node('Conv', ['x', 'w'], ['y'])]
    return model_of(helper.make_graph(nodes, 'g', *ends())).SerializeToString()


def in_subgraph(tensor: TensorProto) -> bytes:
    """In both branches of an If, which is a graph in an attribute of a node."""
    output = [helper.make_tensor_value_info('z', 1, ['n', 3, 'h', 'w'])]
    branch = helper.make_graph([helper.make_node('Conv', ['x', 'w'], ['z'])], 'b', [], output, [tensor])
    flag = numpy_helper.from_array(np.array(True), 'flag')
    node = helper.make_node('If', ['flag'], ['y'], then_branch=branch, else_branch=branch)
    return model_of(helper.make_graph([node], 'g', *ends(), [flag])).SerializeToString()


def in_function(tensor: TensorProto) -> bytes:
    nodes = [helper.make_node('Constant', [], ['w'], value=tensor), helper.make_node('Conv', ['a', 'w'], ['b'])]
    opset = [helper.make_opsetid('', 17)]
    function = helper.make_function('own', 'F', ['a'], ['b'], nodes, opset)
    graph = helper.make_graph([helper.make_node('F', ['x'], ['y'], domain='own')], 'g', *ends())
    opsets = [*opset, helper.make_opsetid('own', 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function]).SerializeToString()


def written_by_hand(tensor: TensorProto, padding: int, *, value_first: bool) -> bytes:
    """The same message in an order or with lengths that the onnx package does not write."""
    entries = b''
    for entry in tensor.external_data:
        parts = [field(1, entry.key.encode(), padding), field(2, entry.value.encode(), padding)]
        entries += field(13, b''.join(parts[::-1] if value_first else parts), padding)
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField('external_data')
    graph = helper.make_graph([helper.make_node('Conv', ['x', 'w'], ['y'])], 'g', *ends())
    body = graph.SerializeToString() + field(5, bare.SerializeToString() + entries, padding)
    model = model_of(graph)
    model.ClearField('graph')
    return model.SerializeToString() + field(7, body, padding)


def value_first(tensor: TensorProto) -> bytes:
    return written_by_hand(tensor, 0, value_first=True)


def padded(tensor: TensorProto) -> bytes:
    return written_by_hand(tensor, 2, value_first=False)


WAYS = [as_initializer, as_constant, in_subgraph, in_function, value_first, padded]


def victim_of(folder: Path, content: bytes) -> Any:
    (folder / 'v.onnx').write_bytes(content)
    return build_victim({'type': 'onnx', 'file': str(folder / 'v.onnx')})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A model's folder, with a file above it that is none of its business, as the current folder."""
    inner = tmp_path / 'model'
    inner.mkdir()
    (tmp_path / 'secret.bin').write_bytes(EYE.tobytes())
    (inner / 'w.bin').write_bytes(EYE.tobytes())
    before = Path.cwd()
    os.chdir(tmp_path)  # to which a runtime that is given bytes would relate a path
    yield inner
    os.chdir(before)


@pytest.mark.parametrize('way', WAYS, ids=lambda way: way.__name__)
class TestWaysToNameAFile:
    """However a tensor that lies in another file is written down, it is found."""

    def test_other_weights_have_another_fingerprint(self, way: Callable[[TensorProto], bytes], folder: Path):
        content = way(external(location='w.bin', offset='0', length='36'))
        victim = victim_of(folder, content)
        np.testing.assert_array_equal(victim.query([IMAGE])[0], IMAGE)
        (folder / 'w.bin').write_bytes((EYE / 2).tobytes())
        other = victim_of(folder, content)
        assert other.fingerprint != victim.fingerprint
        assert np.abs(other.query([IMAGE])[0] - IMAGE / 2).max() <= 0.5

    @pytest.mark.parametrize(
        'location', ['../secret.bin', 'a/../../secret.bin', 'secret.bin', 'link.bin', '', 'no.bin']
    )
    def test_a_file_elsewhere_is_not_read(self, way: Callable[[TensorProto], bytes], folder: Path, location: str):
        (folder / 'link.bin').symlink_to('../secret.bin')
        with pytest.raises(InputError) as caught:
            victim_of(folder, way(external(location=location)))
        assert caught.value.where.endswith('v.onnx')

    def test_an_absolute_path_is_not_read(self, way: Callable[[TensorProto], bytes], folder: Path):
        with refused('v.onnx', 'no path inside'):
            victim_of(folder, way(external(location=str(folder / 'w.bin'))))


def test_a_part_of_a_file_is_what_is_read(folder: Path):
    (folder / 'w.bin').write_bytes(bytes(8) + EYE.tobytes() + bytes(7))
    victim = victim_of(folder, as_initializer(external(location='w.bin', offset='8')))
    np.testing.assert_array_equal(victim.query([IMAGE])[0], IMAGE)


@pytest.mark.parametrize(
    ('entries', 'quoted'),
    [
        ({'offset': '1'}, 'behind the end'),
        ({'offset': '-4'}, 'offset'),
        ({'offset': '9' * 5000}, 'offset'),
        ({'offset': '\u0663'}, 'offset'),
        ({'length': '35'}, '36 bytes'),
        ({'length': '9223372036854775807'}, '36 bytes'),
    ],
)
def test_a_place_outside_of_the_file_is_refused(folder: Path, entries: dict[str, str], quoted: str):
    with refused('v.onnx', quoted) as caught:
        victim_of(folder, as_initializer(external(location='w.bin', **entries)))
    assert len(str(caught.value)) < 600


def test_a_pipe_is_not_waited_for(folder: Path):
    (folder / 'w.bin').unlink()
    os.mkfifo(folder / 'w.bin')
    with refused('v.onnx', 'w.bin'):
        victim_of(folder, as_initializer(external(location='w.bin')))


@pytest.mark.parametrize('dims', [[2**62, 2**62], [-1, 3], [2**40]])
def test_a_shape_takes_no_memory(folder: Path, dims: list[int]):
    tensor = external(location='w.bin')
    tensor.ClearField('dims')
    tensor.dims.extend(dims)
    with refused('v.onnx'):
        victim_of(folder, as_initializer(tensor))


def test_a_key_that_stands_twice_is_refused(folder: Path):
    tensor = external(location='w.bin')
    tensor.external_data.add(key='location', value='../secret.bin')
    with refused('v.onnx', 'location', 'twice'):
        victim_of(folder, as_initializer(tensor))


def test_graphs_in_graphs_end_in_one_line(folder: Path):
    body = b''
    for _ in range(3000):  # graph, node, attribute, graph, ...
        body = field(1, field(5, field(6, body)))
    with refused('v.onnx', 'no ONNX file'):
        victim_of(folder, field(7, body))


def test_the_runtime_takes_the_model_for_what_was_checked(folder: Path):
    """A message can begin as a file of ONNX Runtime's own format does, which nobody has looked through."""
    model = onnx.ModelProto.FromString(as_initializer(external(location='w.bin')))
    model.ClearField('producer_name')
    content = model.SerializeToString()
    forged = content[:2] + field(2, b'ORTM') + content[2:]
    assert forged[4:8] == b'ORTM'
    np.testing.assert_array_equal(victim_of(folder, forged).query([IMAGE])[0], IMAGE)


def test_a_model_in_one_file_keeps_its_fingerprint(folder: Path):
    """Ledgers of earlier versions go on."""
    import hashlib

    from mea_plugin.victims.onnx_file import read_onnx

    content = as_initializer(numpy_helper.from_array(EYE, 'w'))
    (folder / 'v.onnx').write_bytes(content)
    assert read_onnx(folder / 'v.onnx')[1] == [hashlib.sha256(content).hexdigest()]
