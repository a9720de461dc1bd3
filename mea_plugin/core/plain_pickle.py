"""A pickle read as data: nothing is imported or called, work and memory are bounded.

A pickle is a program. This reads the part of the language that plain values need, and hands every name that it wants to
call to a function of the caller's, which makes a fresh object or refuses. Only lists, dicts and the like that the
pickle itself has made can be changed by it, so no class, function or object of this process is ever touched.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ['Builder', 'Name', 'PickleError', 'Stub', 'read_pickle']

_MAX_STEPS = 5_000_000  # of a checkpoint with 10,000 tensors and their optimizer: 1,500,000
_MAX_DEPTH = 100
_MAX_VALUES = 20_000_000
_MAX_LONG = 255  # bytes
_DICTS = (dict, OrderedDict, Counter)
_MARK = object()


class PickleError(ValueError):
    """The pickle is damaged, or asks for more than data; the text says what, in a few words."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; it is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        text = f'{self.module}.{self.name}'
        return text if len(text) <= 80 and text.isprintable() else 'something with an odd name'


class Stub:
    """Stands for an object of a class that is not made, and does nothing.

    Attributes:
        name: What the pickle calls to make it.
        state: What it would be given as its attributes.
    """

    __slots__ = ('name', 'state')

    def __init__(self, name: Name) -> None:
        self.name = name
        self.state: Any = None


class Builder(Protocol):
    """Makes what a pickle asks for beyond Python's plain values."""

    def call(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """A fresh object, as the callable of that name would make it."""

    def resolve(self, name: Name) -> Any:
        """Give the value that a name stands for, such as a dtype; the name itself where it stands for none."""

    def check_left(self, name: Name) -> None:
        """Refuse a name that is left in the data, unless it may be there."""

    def build(self, made: Any, state: Any) -> None:
        """Complete an object that :meth:`call` has made, and that is not complete yet."""

    def load_persistent(self, key: Any) -> Any:
        """Give an object that the pickle refers to by a key, such as a tensor's storage."""


def read_pickle(data: bytes | memoryview, builder: Builder, start: int = 0) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: Holds it.
        builder: Makes what is no plain value.
        start: Where it begins.

    Returns:
        The value, and where the pickle ends.

    Raises:
        PickleError: It is damaged, would run code, or is too large, too deep or circular.
    """
    machine = _Machine(memoryview(data), builder, start)
    try:
        value = machine.run()
    except PickleError:
        raise
    except (ValueError, LookupError, struct.error, TypeError, OverflowError, AttributeError, RuntimeError) as error:
        raise PickleError(f'is damaged ({type(error).__name__} in its pickle)') from error
    value = machine.value_of(value)
    _check_tree(value, builder)
    return value, machine.place


class _Machine:
    """Runs the steps of a pickle."""

    def __init__(self, data: memoryview, builder: Builder, place: int) -> None:
        self.data, self.builder, self.place = data, builder, place
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        steps, data = _STEPS, self.data
        for _ in range(_MAX_STEPS):
            code = data[self.place]
            self.place += 1
            if code == 0x2E:  # STOP
                (value,) = self.stack
                if value is _MARK:
                    raise PickleError('is damaged (its pickle ends early)')
                return value
            step = steps.get(code)
            if step is None:
                raise PickleError(f'has a step in its pickle that no data need (0x{code:02x})')
            step(self)
        raise PickleError(f'has more than {_MAX_STEPS} steps in its pickle')

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        part = self.data[self.place : self.place + count]
        if len(part) != count:
            raise PickleError('is damaged (its pickle ends early)')
        self.place += count
        return part

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        """Text up to the end of the line, at most 400 bytes of it."""
        part = bytes(self.data[self.place : self.place + 400])
        end = part.find(b'\n')
        if end < 0:
            raise PickleError('is damaged (a name in its pickle has no end)')
        self.place += end + 1
        return part[:end].decode()

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError('is damaged (its pickle is out of step)')
        return value

    def pop_marked(self) -> list[Any]:
        """Take the objects from the stack that were put there since the last mark."""
        stack = self.stack
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise PickleError('is damaged (its pickle is out of step)')
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def value_of(self, value: Any) -> Any:
        """A value as it is kept: a name that is a value in itself (a dtype) is made that."""
        return self.builder.resolve(value) if type(value) is Name else value

    def call(self, name: Any, arguments: Any) -> Any:
        if type(name) is not Name or type(arguments) is not tuple:
            raise PickleError('calls what is no name in its pickle')
        return self.builder.call(name, arguments)


def _key(value: Any) -> Any:
    """A key of a dict: a plain value, or a flat tuple of such, so that to hash it is cheap and harmless."""
    plain = (str, int, float, bool, bytes, type(None))
    if type(value) in plain or (type(value) is tuple and len(value) < 64 and all(type(one) in plain for one in value)):
        return value
    raise PickleError(f'has a {type(value).__name__} as a key')


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is list:
        target.extend(map(machine.value_of, items))
    elif type(target) is not Stub:
        raise PickleError(f'appends to a {type(target).__name__} in its pickle')


def _set_items(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if len(items) % 2:
        raise PickleError('is damaged (its pickle is out of step)')
    if type(target) in _DICTS:
        for index in range(0, len(items), 2):
            target[_key(items[index])] = machine.value_of(items[index + 1])
    elif type(target) is not Stub:
        raise PickleError(f'sets items of a {type(target).__name__} in its pickle')


def _add(machine: _Machine) -> None:
    items = machine.pop_marked()
    target = machine.stack[-1]
    if type(target) is set:
        target.update(map(_key, items))
    elif type(target) is not Stub:
        raise PickleError(f'adds to a {type(target).__name__} in its pickle')


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _build(machine: _Machine) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    if type(target) is Stub:
        if target.state is None:
            target.state = state
    elif type(target) is OrderedDict:
        # torch's state dicts carry the versions of their modules so; any other attribute could hide a method.
        if isinstance(state, dict) and isinstance(state.get('_metadata'), dict):
            target._metadata = state['_metadata']  # type: ignore[attr-defined]
    elif type(target) is Name:
        raise PickleError(f'sets attributes of {target} itself')
    else:
        machine.builder.build(target, state)


def _tuple(machine: _Machine, count: int) -> None:
    items = machine.stack[-count:]
    if len(items) != count or any(one is _MARK for one in items):
        raise PickleError('is damaged (its pickle is out of step)')
    machine.stack[-count:] = [tuple(map(machine.value_of, items))]


def _marked_tuple(machine: _Machine) -> None:
    machine.stack.append(tuple(map(machine.value_of, machine.pop_marked())))


def _reduce(machine: _Machine) -> None:
    arguments = machine.pop()
    machine.stack.append(machine.call(machine.pop(), arguments))


def _new_with_keywords(machine: _Machine) -> None:
    keywords = machine.pop()
    if type(keywords) is not dict or keywords:
        raise PickleError('makes an object from keywords in its pickle')
    _reduce(machine)


def _global(machine: _Machine) -> None:
    machine.stack.append(Name(machine.line(), machine.line()))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise PickleError('is damaged (a name in its pickle is no text)')
    machine.stack.append(Name(module, name))


def _long(machine: _Machine, form: struct.Struct) -> None:
    count = machine.number(form)
    if not 0 <= count <= _MAX_LONG:
        raise PickleError(f'has a number of {count} bytes')
    machine.stack.append(int.from_bytes(machine.take(count), 'little', signed=True))


def _text(machine: _Machine, form: struct.Struct) -> None:
    machine.stack.append(str(machine.take(machine.number(form)), 'utf-8', 'surrogatepass'))


def _bytes(machine: _Machine, form: struct.Struct) -> None:
    machine.stack.append(bytes(machine.take(machine.number(form))))


def _old_text(machine: _Machine, form: struct.Struct) -> None:
    """Text of Python 2."""
    machine.stack.append(str(machine.take(machine.number(form)), 'latin-1'))


def _put(machine: _Machine, index: int) -> None:
    if index > _MAX_STEPS:
        raise PickleError(f'notes a value under the number {index}')
    if machine.stack[-1] is _MARK:
        raise PickleError('is damaged (its pickle is out of step)')
    machine.memo[index] = machine.stack[-1]


_BYTE, _SHORT, _INT = struct.Struct('<B'), struct.Struct('<H'), struct.Struct('<i')
_LENGTH, _LONG_LENGTH, _DOUBLE = struct.Struct('<I'), struct.Struct('<Q'), struct.Struct('>d')

_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: _check_protocol(m.number(_BYTE)),  # PROTO
    0x95: lambda m: m.number(_LONG_LENGTH),  # FRAME
    ord('('): lambda m: m.stack.append(_MARK),
    ord('N'): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord('J'): lambda m: m.stack.append(m.number(_INT)),
    ord('K'): lambda m: m.stack.append(m.number(_BYTE)),
    ord('M'): lambda m: m.stack.append(m.number(_SHORT)),
    0x8A: lambda m: _long(m, _BYTE),
    0x8B: lambda m: _long(m, _INT),
    ord('G'): lambda m: m.stack.append(m.number(_DOUBLE)),
    ord('X'): lambda m: _text(m, _LENGTH),
    0x8C: lambda m: _text(m, _BYTE),
    0x8D: lambda m: _text(m, _LONG_LENGTH),
    ord('U'): lambda m: _old_text(m, _BYTE),
    ord('T'): lambda m: _old_text(m, _LENGTH),
    ord('B'): lambda m: _bytes(m, _LENGTH),
    ord('C'): lambda m: _bytes(m, _BYTE),
    0x8E: lambda m: _bytes(m, _LONG_LENGTH),
    ord(')'): lambda m: m.stack.append(()),
    ord(']'): lambda m: m.stack.append([]),
    ord('}'): lambda m: m.stack.append({}),
    0x8F: lambda m: m.stack.append(set()),
    ord('t'): _marked_tuple,
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord('l'): lambda m: m.stack.append(list(map(m.value_of, m.pop_marked()))),
    0x91: lambda m: m.stack.append(frozenset(map(_key, m.pop_marked()))),
    ord('a'): lambda m: _append(m, [m.pop()]),
    ord('e'): lambda m: _append(m, m.pop_marked()),
    ord('s'): _set_item,
    ord('u'): lambda m: _set_items(m, m.pop_marked()),
    0x90: _add,
    ord('q'): lambda m: _put(m, m.number(_BYTE)),
    ord('r'): lambda m: _put(m, m.number(_LENGTH)),
    0x94: lambda m: _put(m, len(m.memo)),
    ord('h'): lambda m: m.stack.append(m.memo[m.number(_BYTE)]),
    ord('j'): lambda m: m.stack.append(m.memo[m.number(_LENGTH)]),
    ord('c'): _global,
    0x93: _stack_global,
    ord('R'): _reduce,
    0x81: _reduce,  # NEWOBJ
    0x92: _new_with_keywords,
    ord('b'): _build,
    ord('Q'): lambda m: m.stack.append(m.builder.load_persistent(m.pop())),
}


def _check_protocol(number: int) -> None:
    if number > 5:
        raise PickleError(f'has a pickle of protocol {number}')


def _check_tree(value: Any, builder: Builder) -> None:
    """Refuse what refers to itself, or is too deep or too large for whoever walks through it."""
    done: dict[int, tuple[int, int]] = {}  # containers: depth, and values in it, shared ones counted each time
    under_way: set[int] = set()
    todo: list[Any] = [(value,)]
    whole = todo[0]  # kept, so that its id stays its own
    while todo:
        one = todo[-1]
        if id(one) in done or not isinstance(one, (list, tuple, *_DICTS)):
            todo.pop()
            continue
        values = one.values() if isinstance(one, dict) else one
        parts = [part for part in values if isinstance(part, (list, tuple, *_DICTS))]
        for part in values:
            if type(part) is Name:
                builder.check_left(part)
        metadata = getattr(one, '_metadata', None) if type(one) is OrderedDict else None
        parts += [metadata] if metadata is not None else []
        missing = [part for part in parts if id(part) not in done]
        if not missing:
            todo.pop()
            under_way.discard(id(one))
            depth = 1 + max((done[id(part)][0] for part in parts), default=0)
            count = len(one) + sum(done[id(part)][1] for part in parts)
            if depth > _MAX_DEPTH or count > _MAX_VALUES:
                raise PickleError('holds values that are nested too deep' if depth > _MAX_DEPTH else 'holds too much')
            done[id(one)] = depth, count
            if one is whole:
                return
        elif id(one) in under_way:
            raise PickleError('holds a value that holds itself')
        else:
            under_way.add(id(one))
            todo += missing
