"""Reads an ONNX file and the weights beside it into one model that refers to no file any more.

ONNX Runtime, some versions of it from anywhere on the machine, reads the files that tensors name. Here the model is
parsed by the onnx package, every such tensor is filled from a file inside the model's folder, and ONNX Runtime is given
bytes that it needs nothing else for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, shortened
from mea_plugin.core.files import read_bytes
from mea_plugin.core.folders import inside
from mea_plugin.core.packages import import_optional
from mea_plugin.victims.checks import one_line

__all__ = ['read_onnx']

_LARGEST = 2**31 - 1  # bytes of a message: protobuf's own limit
_DIGITS = 19  # of an offset or a length
_KEYS = ('location', 'offset', 'length')
_BITS = {
    **dict.fromkeys(('COMPLEX128',), 128),
    **dict.fromkeys(('DOUBLE', 'INT64', 'UINT64', 'COMPLEX64'), 64),
    **dict.fromkeys(('FLOAT', 'INT32', 'UINT32'), 32),
    **dict.fromkeys(('FLOAT16', 'BFLOAT16', 'INT16', 'UINT16'), 16),
    **dict.fromkeys(('INT8', 'UINT8', 'BOOL'), 8),
    **dict.fromkeys(('FLOAT8E4M3FN', 'FLOAT8E4M3FNUZ', 'FLOAT8E5M2', 'FLOAT8E5M2FNUZ', 'FLOAT8E8M0'), 8),
    **dict.fromkeys(('INT4', 'UINT4', 'FLOAT4E2M1'), 4),
    **dict.fromkeys(('INT2', 'UINT2'), 2),
}
"""Of an element, by the name of its type; several of four bits or less share a byte."""


def read_onnx(path: Path) -> tuple[bytes, list[str]]:
    """The model as one message, and the SHA-256 of the file and of each file beside it that holds weights.

    Args:
        path: The ``.onnx`` file.

    Raises:
        InputError: The onnx package is missing, the file is damaged or too large, or a tensor names a file that is not
            there, lies outside the model's folder, or is shorter than the tensor.
    """
    onnx = import_optional('onnx', "the type 'onnx'", where='victim.type')
    content = _read(path, path, path.name)
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # of protobuf, which is not imported by its name here
        raise InputError(f'is no ONNX file ({one_line(error)})', where=path, do='Check the file') from None
    hashes = [hashlib.sha256(content).hexdigest()]
    # ONNX Runtime may know fields that this version of onnx does not, and that nobody has looked at.
    model.DiscardUnknownFields()
    files: dict[Path, bytes] = {}
    size = len(content)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            data = _external_data(onnx, tensor, path, files)
            size += len(data)
            if size > _LARGEST:
                raise InputError('its weights take more than 2 GiB', where=path, do='Use another type of file')
            tensor.raw_data = data
        tensor.ClearField('external_data')
        tensor.ClearField('data_location')
    hashes += [hashlib.sha256(files[file]).hexdigest() for file in sorted(files)]
    return model.SerializeToString(), hashes


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a message: initializers, attributes, sparse ones; in subgraphs, functions and trainings, too.

    Whatever field a message lies in, it is found: the fields are those that the message itself tells.
    """
    waiting = [model]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.name == 'TensorProto':
            yield message
        for about, value in message.ListFields():
            if about.message_type is not None:
                waiting.extend([value] if hasattr(value, 'ListFields') else value)


def _external_data(onnx: Any, tensor: Any, path: Path, files: dict[Path, bytes]) -> bytes:
    """A tensor's bytes from the file that it names; ``files`` keeps what was read."""
    name = shortened(tensor.name)
    known: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in _KEYS and entry.key in known:
            raise InputError(f'the tensor {name} gives {entry.key} twice', where=path, do='Export it again')
        known[entry.key] = entry.value
    location = known.get('location', '')
    file = inside(path.parent, location, where=path, do='Put its weights beside it')
    if not file.is_file():
        raise InputError(f'its weights {shortened(location)} are not there', where=path, do='Put them beside it')
    if file not in files:
        files[file] = _read(file, path, location)
    offset = _number(known.get('offset') or '0', 'offset', name, path)
    expected = _length(onnx, tensor, name, path)
    length = _number(known['length'], 'length', name, path) if known.get('length') else expected
    if length != expected:
        what = f'the tensor {name} has {expected} bytes, and {length} in {shortened(location)}'
        raise InputError(what, where=path, do='Export it again')
    if offset + length > len(files[file]):
        what = f'the tensor {name} ends behind the end of {shortened(location)}'
        raise InputError(what, where=path, do='Put its whole weights beside it')
    return files[file][offset : offset + length]


def _length(onnx: Any, tensor: Any, name: str, path: Path) -> int:
    """Bytes of a tensor by its type and shape."""
    kinds = onnx.TensorProto.DataType
    kind = kinds.Name(tensor.data_type) if tensor.data_type in kinds.values() else ''
    if kind not in _BITS or any(size < 0 for size in tensor.dims):
        raise InputError(f'the tensor {name} has no type or shape of numbers', where=path, do='Export it again')
    return -(-math.prod(tensor.dims) * _BITS[kind] // 8)


def _number(text: str, what: str, name: str, path: Path) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise InputError(f'the tensor {name} has the {what} {shortened(text)}', where=path, do='Export it again')
    return int(text)


def _read(file: Path, path: Path, name: str) -> bytes:
    try:
        return read_bytes(file, _LARGEST)
    except OSError as error:
        what = f'{shortened(name)} cannot be read ({error.strerror})'
        raise InputError(what, where=path, do='Use a file of less than 2 GiB that you may read') from None
