"""From the ``type`` of a victim's options to the class that answers for it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

from typing_extensions import get_type_hints

from mea_plugin.errors import InputError, suggestion
from mea_plugin.victims.base import Victim

__all__ = ['build_victim', 'register_victim', 'victim_types']

# Where each type lives, imported when it is asked for: no type loads the dependencies of another.
_LOCATIONS: dict[str, str] = {
    'basicsr': 'mea_plugin.victims.basicsr:BasicSRVictim',
    'bicubic': 'mea_plugin.victims.bicubic:BicubicVictim',
    'embedded': 'mea_plugin.victims.embedded:build_embedded',
    'http': 'mea_plugin.victims.http:HTTPVictim',
    'mmagic': 'mea_plugin.victims.mmagic:MMagicVictim',
    'onnx': 'mea_plugin.victims.onnx:OnnxVictim',
    'opencv': 'mea_plugin.victims.opencv:OpenCVVictim',
    'python': 'mea_plugin.victims.python:PythonVictim',
    'spandrel': 'mea_plugin.victims.spandrel:SpandrelVictim',
    'torch_export': 'mea_plugin.victims.torch_export:TorchExportVictim',
    'torchscript': 'mea_plugin.victims.torchscript:TorchScriptVictim',
}
_FACTORIES: dict[str, Callable[..., Victim]] = {}


def register_victim(name: str, factory: Callable[..., Victim]) -> None:
    """Add a victim type of one's own.

    Args:
        name: The ``type`` in option files.
        factory: Called with the remaining options as keyword arguments.

    Raises:
        ValueError: The name is taken.
    """
    if name in victim_types():
        raise ValueError(f"the victim type '{name}' exists already; choose another name")
    _FACTORIES[name] = factory


def victim_types() -> list[str]:
    """The names that ``type`` may take."""
    return sorted({*_LOCATIONS, *_FACTORIES})


def build_victim(options: Mapping[str, Any], *, where: str = 'victim') -> Victim:
    """Build the victim that the options describe.

    Args:
        options: ``type`` and what that type takes.
        where: The file and option they come from, for errors.

    Raises:
        InputError: No such type, an option that the type does not know or lacks, or weights that do not fit.
    """
    arguments = dict(options)
    kind = arguments.pop('type', None)
    if kind is None:
        raise InputError('the victim has no type', where=where, do=f'Add type: one of {", ".join(victim_types())}')
    if kind not in victim_types():
        raise InputError(f"no victim type '{kind}'", where=f'{where}.type', do=suggestion(str(kind), victim_types()))
    if kind not in _FACTORIES:
        _FACTORIES[kind] = _import(kind, where)
    factory = _FACTORIES[kind]
    _check_arguments(factory, arguments, where)
    return factory(**arguments)


def _import(kind: str, where: str) -> Callable[..., Victim]:
    module, _, attribute = _LOCATIONS[kind].partition(':')
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the type '{kind}' needs {error.name}, which is not installed",
            where=f'{where}.type',
            do=f'Type: pip install {error.name}',
        ) from error


def _check_arguments(factory: Callable[..., Victim], arguments: Mapping[str, Any], where: str) -> None:
    parameters = inspect.signature(factory).parameters.values()
    named = {one.name: one for one in parameters if one.kind is not one.VAR_KEYWORD}
    shared = _shared_options(factory, next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), None))
    for key in arguments:
        if shared is not None and key not in named and key not in shared:
            raise InputError(f"unknown option '{key}'", where=where, do=suggestion(key, {*named, *shared}))
    for key, parameter in named.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise InputError(f"the option '{key}' is missing", where=where, do=f'Add {key}')


def _shared_options(factory: Any, keywords: str | None) -> set[str] | None:
    """What ``**keywords: Unpack[SomeTypedDict]`` takes; None if it takes whatever it is given."""
    if keywords is None:
        return set()
    function = getattr(factory, '__init__', None) if isinstance(factory, type) else factory
    try:
        arguments = get_args(get_type_hints(function).get(keywords))
    except (NameError, TypeError):  # a factory of somebody else: names that only type checkers see, or no function
        return None
    return set(get_type_hints(arguments[0])) if arguments else None
