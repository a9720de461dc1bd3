"""Builds what a section of an option file describes: ``type`` names a registered class, the rest are its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_section
from mea_plugin.core.registry import Registry
from mea_plugin.core.signatures import check_arguments

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
    return factory, check_arguments(factory, arguments, where)
