"""Builds what a section of an option file describes: ``type`` names a registered class, the rest are its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from typing_extensions import get_type_hints

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_section
from mea_plugin.core.registry import Registry

__all__ = ['build_section', 'check_type']

_Built = TypeVar('_Built')
_Factories = Registry[Callable[..., _Built]]


def build_section(registry: _Factories[_Built], options: Mapping[str, Any], *, where: str) -> _Built:
    """Build what the options describe.

    Args:
        registry: Factories by the names that ``type`` may take.
        options: ``type`` and what that type takes.
        where: The file and option they come from, for errors.

    Raises:
        InputError: No such type, or an option that the type does not know or lacks.
    """
    factory, arguments = check_type(registry, options, where=where)
    return factory(**arguments)


def check_type(
    registry: _Factories[_Built], options: Mapping[str, Any], *, where: str
) -> tuple[Callable[..., _Built], dict[str, Any]]:
    """Check options without building anything.

    Returns:
        The factory, and its arguments.

    Raises:
        InputError: As :func:`build_section`.
    """
    arguments = dict(check_section(options, where))
    name = arguments.pop('type', None)
    if name is None:
        do = f'Add type: one of {", ".join(registry.names())}'
        raise InputError(f'the {registry.kind} has no type', where=where, do=do)
    if name not in registry:
        what = f"no {registry.kind} type '{name}'"
        raise InputError(what, where=f'{where}.type', do=suggestion(str(name), registry.names()))
    factory = registry.find(name, where=f'{where}.type')
    _check_arguments(factory, arguments, where)
    return factory, arguments


def _check_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    parameters = inspect.signature(factory).parameters.values()
    named = {one.name: one for one in parameters if one.kind is not one.VAR_KEYWORD}
    shared = _shared_options(factory, next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), None))
    for key in arguments:
        if shared is not None and key not in named and key not in shared:
            raise InputError(f"unknown option '{key}'", where=where, do=suggestion(str(key), {*named, *shared}))
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
