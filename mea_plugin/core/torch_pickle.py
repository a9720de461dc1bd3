"""Makes tensors, numpy arrays and a few plain classes for :mod:`mea_plugin.core.plain_pickle`, each of them anew."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mea_plugin.core.plain_pickle import Name, PickleError, Stub

__all__ = ['Storage', 'TensorBuilder']

_MAX_DIMENSIONS = 64
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_QUANTISED = {'quint8', 'qint8', 'qint32', 'quint4x2', 'quint2x4'}
# Names of storages that say a type: torch.FloatStorage, ...
_STORAGES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexFloatStorage': torch.complex64,
    'ComplexDoubleStorage': torch.complex128,
    'UntypedStorage': torch.uint8,
}
_ARRAY_KINDS = {'b', 'i', 'u', 'f', 'c'}


class Storage(NamedTuple):
    """Memory of tensors.

    Attributes:
        memory: Its bytes, as a tensor of one dimension.
        dtype: Of its elements.
    """

    memory: Tensor
    dtype: torch.dtype


class _Dtype:
    """A numpy dtype that a pickle is making; numpy's own are shared by the whole process, so they are left alone."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, '='

    def made(self) -> np.dtype[Any]:
        dtype = np.dtype(self.code).newbyteorder('>' if self.order == '>' else '<')
        if dtype.kind not in _ARRAY_KINDS:
            raise PickleError('holds a numpy array of something else than numbers')
        return dtype


class TensorBuilder:
    """Makes what ``torch.save`` writes for tensors, parameters, numpy arrays, and standard containers.

    Args:
        storage: Gives a storage: its key, the type of its elements and their number.
        room: Bytes that all tensors together may stand for. Views of one storage each count: a file of a few bytes
            could hold any number of them, and whoever copies them pays for each.
        has_stub: Whether a :class:`~mea_plugin.core.plain_pickle.Stub` is made for a name that is unknown here; it is
            refused otherwise.
    """

    def __init__(
        self, storage: Callable[[str, torch.dtype, int], Storage], room: int, has_stub: Callable[[Name], bool]
    ) -> None:
        self._storage, self._room, self._has_stub = storage, room, has_stub
        self._arrays: dict[int, np.ndarray] = {}  # those whose content is still to come

    def resolve(self, name: Name) -> Any:
        """A dtype."""
        return _DTYPES.get(name.name, name) if name.module == 'torch' else name

    def check_left(self, name: Name) -> None:
        """See :class:`~mea_plugin.core.plain_pickle.Builder`."""
        if not self._has_stub(name):
            raise PickleError(f'names {name}, which is no data')

    def call(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """See :class:`~mea_plugin.core.plain_pickle.Builder`."""
        make = _CALLS.get((name.module, name.name))
        if make is not None:
            try:
                return make(self, *arguments)
            except (ValueError, RuntimeError, TypeError, OverflowError, AttributeError) as error:
                if isinstance(error, PickleError):
                    raise
                raise PickleError(f'has parts that {name.name} cannot be made of ({type(error).__name__})') from error
        if self._has_stub(name):
            return Stub(name)
        raise PickleError(f'wants to call {name}, which makes no data')

    def build(self, made: Any, state: Any) -> None:
        """The content of an array, the byte order of a dtype."""
        if type(made) is _Dtype:
            if type(state) is not tuple or len(state) < 2 or state[1] not in ('<', '>', '|', '=') or any(state[2:5]):
                raise PickleError('holds a numpy array of something else than numbers')
            made.order = state[1]
            return
        array = self._arrays.pop(id(made), None)
        if array is None or array is not made:
            raise PickleError(f'sets attributes of a {type(made).__name__}')
        try:
            version, shape, dtype, fortran, content = state
            kind = dtype.made()
            if type(content) is not bytes or len(content) != math.prod(_sizes(shape)) * kind.itemsize:
                raise PickleError('holds a numpy array of another size than its content')
            array.__setstate__((int(version), shape, kind, bool(fortran), content))  # type: ignore[arg-type]
        except (ValueError, TypeError, AttributeError) as error:
            if isinstance(error, PickleError):
                raise
            raise PickleError(f'holds a damaged numpy array ({type(error).__name__})') from error

    def load_persistent(self, key: Any) -> Storage:
        """A storage: ``('storage', type, key, location, number of elements)``."""
        if type(key) is not tuple or len(key) not in (5, 6) or key[0] != 'storage' or (len(key) == 6 and key[5]):
            raise PickleError('refers to something outside of it that is no storage')
        _, kind, name, _, count = key[:5]
        dtype = kind if type(kind) is torch.dtype else self._dtype_of(kind)
        if type(name) is not str or type(count) is not int or not 0 <= count < 2**62:
            raise PickleError('has a damaged storage')
        return self._storage(name, dtype, count)

    @staticmethod
    def _dtype_of(kind: Any) -> torch.dtype:
        if type(kind) is Name and kind.module in ('torch', 'torch.storage') and kind.name in _STORAGES:
            return _STORAGES[kind.name]
        raise PickleError('has a storage of a type that is not read')

    def tensor(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any = False,
        hooks: Any = None,
        metadata: Any = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """A tensor on a storage, within its bounds."""
        if type(storage) is not Storage:
            raise PickleError('has a tensor without a storage')
        kind = dtype or storage.dtype
        sizes, steps = _sizes(shape), _sizes(strides)
        count = storage.memory.numel() // _itemsize(kind)
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        elements = math.prod(sizes)
        if type(offset) is not int or offset < 0 or (elements and last >= count) or (not elements and offset > count):
            raise PickleError('has a tensor that lies outside of its storage')
        if metadata:
            raise PickleError('has a conjugate or negative view of a tensor, which is not read')
        self._room -= elements * _itemsize(kind)
        if self._room < 0:
            raise PickleError('has tensors that repeat their storages too often')
        tensor = torch.empty(0, dtype=kind).set_(storage.memory.untyped_storage(), offset, sizes, steps)
        if requires_grad is True and (kind.is_floating_point or kind.is_complex):
            tensor.requires_grad_()
        return tensor

    def dtype_tensor(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        """Make a tensor of a type without a storage class, such as ``uint16``; otherwise as :meth:`tensor`."""
        if type(dtype) is not torch.dtype or str(dtype).partition('.')[2] in _QUANTISED:
            raise PickleError('has a tensor of a type that is not read')
        return self.tensor(storage, offset, shape, strides, requires_grad, hooks, metadata, dtype=dtype)

    def parameter(self, data: Any, requires_grad: Any = True, hooks: Any = None, state: Any = None) -> nn.Parameter:
        """A parameter around a tensor; attributes that someone gave to it are left out."""
        if type(data) is not Tensor:
            raise PickleError('has a parameter without a tensor')
        return nn.Parameter(data.detach(), requires_grad is True and data.is_floating_point())

    def tensor_of_class(self, function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        """A tensor with attributes, which are left out."""
        known = (Name('torch', 'Tensor'), Name('torch.nn.parameter', 'Parameter'))
        if kind not in known or type(function) is not Name or function.name == '_rebuild_from_type_v2':
            raise PickleError('has a tensor of a class that is not read')
        return self.call(function, arguments)

    def new_array(self, kind: Any, shape: Any, code: Any) -> np.ndarray:
        """An array whose content comes with :meth:`build`."""
        if kind != Name('numpy', 'ndarray'):
            raise PickleError('holds an array of a class that is not read')
        array = np.empty(0, np.uint8)
        self._arrays[id(array)] = array
        return array

    @staticmethod
    def scalar(dtype: Any, content: Any = b'') -> Any:
        """A number of numpy's."""
        kind = dtype.made()
        if type(content) is not bytes or len(content) != kind.itemsize:
            raise PickleError('holds a damaged number of numpy')
        return np.frombuffer(content, kind)[0]

    @staticmethod
    def array_dtype(code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        """A dtype of numbers, by a code like ``f8``."""
        if type(code) is not str or len(code) > 3 or code[:1] not in _ARRAY_KINDS:
            raise PickleError('holds a numpy array of something else than numbers')
        return _Dtype(code)

    @staticmethod
    def pairs(*items: Any) -> OrderedDict[Any, Any]:
        """An ``OrderedDict``, empty or of pairs."""
        made: OrderedDict[Any, Any] = OrderedDict()
        for key, value in items[0] if items else ():
            made[_plain_key(key)] = value
        return made

    @staticmethod
    def counter(*items: Any) -> Counter[Any]:
        """A ``Counter``, as BasicSR's schedulers have one."""
        if not items:
            return Counter()
        (counts,) = items
        if type(counts) is not dict:
            raise PickleError('has a damaged Counter')
        return Counter(counts)

    @staticmethod
    def default_dict(*factory: Any) -> dict[Any, Any]:
        """A plain dict for a ``defaultdict``: the pickle's factory is not called."""
        return {}

    @staticmethod
    def encoded(text: Any, encoding: Any) -> bytes:
        """Bytes, as protocol 2 writes them."""
        if type(text) is not str or encoding not in ('latin1', 'latin-1'):
            raise PickleError('has damaged bytes')
        return text.encode('latin-1')

    @staticmethod
    def size(items: Any = ()) -> torch.Size:
        """A ``torch.Size``."""
        return torch.Size(_sizes(items))

    @staticmethod
    def device(kind: Any, index: Any = None) -> torch.device:
        """A ``torch.device``."""
        if kind not in ('cpu', 'cuda', 'mps', 'meta', 'xpu') or not (index is None or (0 <= index < 128)):
            raise PickleError('names an unknown device')
        return torch.device(kind) if index is None else torch.device(kind, index)

    @staticmethod
    def plain_set(items: Any = ()) -> set[Any]:
        """A set of plain values."""
        if type(items) is not list:
            raise PickleError('has a damaged set')
        return {_plain_key(item) for item in items}


_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_CALLS: dict[tuple[str, ...], Callable[..., Any]] = {
    ('torch._utils', '_rebuild_tensor'): TensorBuilder.tensor,
    ('torch._utils', '_rebuild_tensor_v2'): TensorBuilder.tensor,
    ('torch._utils', '_rebuild_tensor_v3'): TensorBuilder.dtype_tensor,
    ('torch._utils', '_rebuild_parameter'): TensorBuilder.parameter,
    ('torch._utils', '_rebuild_parameter_with_state'): TensorBuilder.parameter,
    ('torch._tensor', '_rebuild_from_type_v2'): TensorBuilder.tensor_of_class,
    ('torch', 'Size'): lambda self, *items: self.size(*items),
    ('torch', 'device'): lambda self, *items: self.device(*items),
    ('collections', 'OrderedDict'): lambda self, *items: self.pairs(*items),
    ('collections', 'Counter'): lambda self, *items: self.counter(*items),
    ('collections', 'defaultdict'): lambda self, *items: self.default_dict(*items),
    ('_codecs', 'encode'): lambda self, *items: self.encoded(*items),
    ('numpy', 'dtype'): lambda self, *items: self.array_dtype(*items),
    **{(module, '_reconstruct'): TensorBuilder.new_array for module in _MULTIARRAY},
    **{(module, 'scalar'): (lambda self, *items: self.scalar(*items)) for module in _MULTIARRAY},
    **{(module, 'bytes'): (lambda self: b'') for module in ('builtins', '__builtin__')},  # empty ones in protocol 2
    **{(module, 'set'): (lambda self, *items: self.plain_set(*items)) for module in ('builtins', '__builtin__')},
}


def _sizes(values: Any) -> tuple[int, ...]:
    """Sizes or strides: at least 0, and few."""
    found = tuple(values) if isinstance(values, tuple) else None
    if found is None or len(found) > _MAX_DIMENSIONS or any(type(one) is not int or one < 0 for one in found):
        raise PickleError('has a tensor with a damaged shape')
    if any(one >= 2**62 for one in found):
        raise PickleError('has a tensor with a damaged shape')
    return found


def _plain_key(value: Any) -> Any:
    plain = (str, int, float, bool, bytes, type(None))
    if type(value) in plain or (type(value) is tuple and len(value) < 64 and all(type(one) in plain for one in value)):
        return value
    raise PickleError(f'has a {type(value).__name__} as a key')


def _itemsize(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()
