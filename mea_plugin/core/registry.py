"""From the ``type`` of a section of an option file to the class that it names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_args

from typing_extensions import get_type_hints

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_section
from mea_plugin.core.packages import missing

__all__ = ['Factories']

_Made = TypeVar('_Made')


class Factories(Generic[_Made]):
    """Types by name, imported when they are asked for: none loads the dependencies of another.

    Args:
        what: What they make, for errors: ``victim``.
        locations: ``module:attribute`` by name.
    """

    def __init__(self, what: str, locations: Mapping[str, str]) -> None:
        self._what, self._locations = what, dict(locations)
        self._factories: dict[str, Callable[..., _Made]] = {}

    def register(self, name: str, factory: Callable[..., _Made]) -> None:
        """Add a type of one's own.

        Raises:
            ValueError: The name is taken.
        """
        if name in self.names():
            raise ValueError(f"the {self._what} type '{name}' exists already; choose another name")
        self._factories[name] = factory

    def names(self) -> list[str]:
        """What ``type`` may be."""
        return sorted({*self._locations, *self._factories})

    def build(self, options: Mapping[str, Any], *, where: str) -> _Made:
        """Make what the options describe.

        Args:
            options: ``type`` and what that type takes.
            where: The file and option they come from, for errors.

        Raises:
            InputError: No such type, or an option that the type does not know or lacks.
        """
        factory, arguments = self.check(options, where=where)
        return factory(**arguments)

    def check(self, options: Mapping[str, Any], *, where: str) -> tuple[Callable[..., _Made], dict[str, Any]]:
        """Check options without making anything.

        Returns:
            What makes it, and the arguments.

        Raises:
            InputError: As :meth:`build`.
        """
        arguments = dict(check_section(options, where))
        kind = arguments.pop('type', None)
        if kind is None:
            do = f'Add type: one of {", ".join(self.names())}'
            raise InputError(f'the {self._what} has no type', where=where, do=do)
        if kind not in self.names():
            what = f"no {self._what} type '{kind}'"
            raise InputError(what, where=f'{where}.type', do=suggestion(str(kind), self.names()))
        if kind not in self._factories:
            self._factories[kind] = self._import(kind, where)
        factory = self._factories[kind]
        _check_arguments(factory, arguments, where)
        return factory, arguments

    def _import(self, kind: str, where: str) -> Callable[..., _Made]:
        module, _, attribute = self._locations[kind].partition(':')
        try:
            found: Callable[..., _Made] = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise missing(f"the type '{kind}'", error, f'{where}.type') from error
        return found


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
