"""Classes that a config names, and its options checked against what they take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import require
from mea_plugin.toolboxes.mmagic_networks import find_type

__all__ = ['build_with', 'check_count', 'check_dict', 'check_type', 'is_kind', 'tried']

_STRICT = ('mmagic', 'mmengine', 'mea_plugin', 'torch')


def is_kind(found: Any, base: type | tuple[type, ...]) -> bool:
    """True if a registry's entry is a class derived from ``base`` (or from one of them), and not a function."""
    return inspect.isclass(found) and issubclass(found, base)


def check_dict(options: Any, where: str) -> Mapping[str, Any]:
    """The options, when they are a dict.

    Raises:
        InputError: They are something else.
    """
    if not isinstance(options, Mapping):
        raise InputError(f'expected a dict, got {options!r}', where=where, do="Write dict(type='...', ...)")
    return options


def check_count(options: Mapping[str, Any], key: str, least: int, where: str) -> None:
    """Check an option that is a whole number, if it is there.

    Raises:
        InputError: It is something else, or less than ``least``.
    """
    value = options.get(key, least)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f'{key} is {value!r}', where=where, do=f'Give a whole number of at least {least}')


def check_type(registry: Any, options: Any, where: str, *, given: tuple[str, ...] = ()) -> Any:
    """The class that ``type`` names, after checking the other options' names against it.

    Classes of MMagic, MMEngine, torch and this package are checked strictly; those of third parties pass.

    Args:
        registry: Where the class is registered.
        options: ``type`` and the class's arguments.
        where: For errors.
        given: Further names that may stand there: arguments that the toolbox takes out before it builds the class.

    Raises:
        InputError: No such class, or an option that it does not take.
    """
    found = find_type(registry, require(check_dict(options, where), 'type', where), f'{where}.type')
    if str(getattr(found, '__module__', '')).split('.')[0] in _STRICT:
        known = _arguments(found)
        for key in options:
            if known is not None and key not in ('type', '_scope_', *given) and key not in known:
                raise InputError(f"unknown option '{key}'", where=where, do=suggestion(key, known))
    return found


def build_with(cls: Any, options: Mapping[str, Any], *args: Any) -> Any:
    """An object of a class, from a config's dict."""
    return cls(*args, **{key: value for key, value in options.items() if key not in ('type', '_scope_')})


def tried(build: Any, where: str) -> Any:
    """What ``build()`` gives.

    Raises:
        InputError: It fails over its arguments.
    """
    try:
        return build()
    except (TypeError, ValueError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do='Correct its options') from error


def _arguments(found: Any) -> set[str] | None:
    """What a class takes: its own arguments, and those of its bases as far as it hands them on; None for anything."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known: set[str] = set()
    for cls in inspect.getmro(found) if inspect.isclass(found) else (found,):
        if inspect.isclass(found) and '__init__' not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__ if inspect.isclass(cls) else cls).parameters.values()
        known |= {p.name for p in parameters if p.kind in kinds and p.name != 'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return known
    return None
