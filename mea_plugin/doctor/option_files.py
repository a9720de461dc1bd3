"""Kinds of option files, and the JSON schema of each: editors complete and check YAML with it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.registry import Registry
from mea_plugin.core.signatures import signature_model, typed_schema

__all__ = ['KINDS', 'editor_schema', 'kinds', 'schema_of']

KINDS = {
    'evaluate': 'mea_plugin.evaluation.options:EvaluateFile',
    'extract': 'mea_plugin.extract.options:ExtractFile',
    'flatness': 'mea_plugin.flatness.options:FlatnessOptions',
    'ownership': 'mea_plugin.ownership.options:OwnershipOptions',
    'query': 'mea_plugin.query.options:QueryFile',
    'serve': 'mea_plugin.serving.options:ServeOptions',
    'study': 'mea_plugin.study.options:StudyFile',
}
"""Where the model of each kind of option file is: ``module:class``."""

_REGISTRIES = {
    'defence': 'mea_plugin.defences.registry:DEFENCES',
    'victim': 'mea_plugin.victims.registry:VICTIMS',
}


def kinds() -> list[str]:
    """The names that :func:`schema_of` takes: ``extract``, ..., ``victim:onnx``, ``defence:jpeg``, ..."""
    return [*KINDS, *(f'{kind}:{name}' for kind in _REGISTRIES for name in _registry(kind).names())]


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a kind of option file, or of the section of one victim or defence.

    A section whose ``type`` names a victim or a defence is described for every type that can be imported here.

    Args:
        kind: One of :func:`kinds`.

    Raises:
        InputError: There is no such kind, or what it needs is not installed.

    Example:
        >>> schema_of('victim:opencv')['required']
        ['style']
    """
    if kind not in kinds():
        raise InputError(f"no option file '{kind}'", where='--schema', do=suggestion(kind, kinds()))
    registered, _, name = kind.partition(':')
    model = signature_model(_registry(registered).find(name, where='--schema')) if name else _find(KINDS[kind])
    schema = model.model_json_schema()
    for found in {str(mark['registered']) for mark in _marks(schema)}:
        _describe_types(schema, found)
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **schema}


def editor_schema(kind: str) -> dict[str, Any]:
    """:func:`schema_of`, for files as they are written: one that is based on others (``_base_``) need not be complete.

    Raises:
        InputError: As :func:`schema_of`.
    """
    schema = schema_of(kind)
    names = {'type': 'string', 'description': 'An option file that this one is based on, relative to this one.'}
    schema['properties']['_base_'] = {'anyOf': [names, {'type': 'array', 'items': names}]}
    complete = {'required': schema.pop('required', [])}
    return {**schema, 'anyOf': [complete, {'required': ['_base_']}]}


def _find(location: str) -> Any:
    module, _, name = location.partition(':')
    return getattr(importlib.import_module(module), name)


def _registry(kind: str) -> Registry[Any]:
    found: Registry[Any] = _find(_REGISTRIES[kind])
    return found


def _marks(node: Any) -> Iterator[dict[str, Any]]:
    """The parts of a schema that :class:`~mea_plugin.core.schema.Registered` has marked."""
    if isinstance(node, dict):
        if isinstance(node.get('registered'), str):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from _marks(one)


def _describe_types(schema: dict[str, Any], kind: str) -> None:
    """Replace the marked parts by what each type takes; definitions get the kind's name in front, to stay apart."""
    registry = _registry(kind)
    text = json.dumps(typed_schema(registry.names(), lambda name: registry.find(name)))
    types = json.loads(text.replace('"#/$defs/', f'"#/$defs/{kind}.'))
    definitions = {f'{kind}.{name}': one for name, one in types.pop('$defs', {}).items()}
    for mark in [mark for mark in _marks(schema) if mark['registered'] == kind]:
        kept = {key: value for key, value in mark.items() if key in ('description', 'title', 'default')}
        mark.clear()
        mark.update(kept, **{'$ref': f'#/$defs/{kind}'})
    schema.setdefault('$defs', {}).update(definitions, **{kind: types})
