"""YAML that only ever becomes plain values, from texts of bounded cost."""

from __future__ import annotations

import math
import os
import re
from functools import partial
from typing import Any

import yaml

from mea_plugin.core.errors import shortened
from mea_plugin.core.files import DEEPEST

__all__ = ['MOST_VALUES', 'dump_yaml', 'parse_yaml']

MOST_VALUES = 200_000
"""The most values that an option file may hold: keys count, and an alias as often as it is used."""

_LONGEST_NUMBER = 1000  # characters: longer ones take time that grows with their square
_TOO_MANY = f'more than {MOST_VALUES} values'


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with numbers like 1e-4 as the toolboxes' files write them, and no key twice."""

    _left = MOST_VALUES

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count the values while they are read, before they take memory."""
        self._left -= 1
        if self._left < 0:
            raise yaml.composer.ComposerError(None, None, _TOO_MANY, self.peek_event().start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_Loader` reads as the same value, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that stands in two places twice."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quote a text whose line separators PyYAML would write, and then read as spaces."""
    style = '"' if set('\x85\u2028\u2029\ufeff') & set(text) else None
    return dumper.represent_scalar('tag:yaml.org,2002:str', text, style)


_Dumper.add_representer(str, _represent_text)
for _class in (_Loader, _Dumper):  # the dumper: to quote names that would be read as numbers
    _class.add_implicit_resolver(
        'tag:yaml.org,2002:float',
        re.compile(r'^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$'),
        list('-+.0123456789'),
    )


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, 'expected a mapping', node.start_mark)
    seen: set[str] = set()
    for key_node, _ in node.value:  # before flattening: a key may override one that '<<' brings in
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, 'a key must be a name', key_node.start_mark)
        if key_node.value in seen:
            problem = f'the key {shortened(key_node.value)} stands twice'
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key_node.value)
    loader.flatten_mapping(node)
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _construct_number(loader: _Loader, node: yaml.ScalarNode, kind: str) -> int | float:
    """A number that a float can hold; YAML 1.1 has also ``0x1F``, ``1_000`` and ``1:30``."""
    number: int | float = math.inf
    if len(node.value) <= _LONGEST_NUMBER:
        number = getattr(yaml.constructor.SafeConstructor, f'construct_yaml_{kind}')(loader, node)
    if isinstance(number, float) and math.isinf(number) and node.value.lower().lstrip('+-') != '.inf':
        raise yaml.constructor.ConstructorError(None, None, 'a number is too large', node.start_mark)
    return number


for _kind in ('int', 'float'):
    _Loader.add_constructor(f'tag:yaml.org,2002:{_kind}', partial(_construct_number, kind=_kind))
for _kind in ('binary', 'omap', 'pairs', 'set', 'timestamp'):  # a name like 2024-01-31 is a name, not a date
    _Loader.yaml_constructors.pop(f'tag:yaml.org,2002:{_kind}')
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(':timestamp')]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, once it is known how large it is.

    Raises:
        yaml.YAMLError: It is no YAML, or holds too much.
        RecursionError: It is nested too deeply.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except (ValueError, LookupError, TypeError, AttributeError):  # what PyYAML's constructors raise for '!!int abc'
        raise yaml.constructor.ConstructorError(None, None, 'a value does not fit its tag') from None
    finally:
        loader.dispose()


def _check_size(root: yaml.Node) -> None:
    """Refuse what becomes too large, too deep or endless once every alias stands for what it names."""
    sizes: dict[int, int] = {}  # of finished nodes, by id
    depths: dict[int, int] = {}
    open_nodes: set[int] = set()
    waiting: list[tuple[yaml.Node, bool]] = [(root, False)]
    while waiting:
        node, is_done = waiting.pop()
        if isinstance(node, yaml.ScalarNode) and not _is_text(node.value):
            what = 'a text holds a zero, or half a surrogate pair'
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        inner = _inner(node)
        if is_done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(one)] for one in inner)
            depths[id(node)] = 1 + max((depths[id(one)] for one in inner), default=0)
            if sizes[id(node)] > MOST_VALUES or depths[id(node)] > DEEPEST:
                what = _TOO_MANY if sizes[id(node)] > MOST_VALUES else 'nested too deeply'
                raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        elif id(node) in open_nodes:
            raise yaml.constructor.ConstructorError(None, None, 'a value that holds itself', node.start_mark)
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            waiting.append((node, True))
            waiting.extend((one, False) for one in inner)


def _is_text(value: str) -> bool:
    """Whether a path can be made of it, as of most texts of option files one is."""
    if value.isascii():
        return '\0' not in value
    try:
        return b'\0' not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def dump_yaml(value: Any) -> str:
    """A text from which :func:`parse_yaml` reads the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
