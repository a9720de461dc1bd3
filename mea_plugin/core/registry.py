"""Classes by the names that option files use: built in, registered by a user's code, or another package's entry points.

One mechanism serves losses, metrics, victims, defences and optimizers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, overload

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.packages import missing

__all__ = ['Registry', 'ToolboxRegistry']

_Item = TypeVar('_Item')
_Given = TypeVar('_Given')


@dataclass(frozen=True)
class ToolboxRegistry:
    """A toolbox's own registry, which gets everything that is registered in one of ours.

    Attributes:
        title: The toolbox, for errors.
        get: Gives what it holds under a name, or None.
        add: Adds an item under a name.
    """

    title: str
    get: Callable[[str], Any]
    add: Callable[[str, Any], None]

    def check(self, kind: str, items: Mapping[str, Any]) -> None:
        """Refuse items whose names the toolbox uses for something else.

        Raises:
            InputError: One of the names is taken.
        """
        for name, item in items.items():
            if self.get(name) not in (None, item):
                raise InputError(f"{self.title} has a {kind} called '{name}' already", do='Choose another name')

    def add_missing(self, items: Mapping[str, Any]) -> None:
        """Add what the toolbox does not hold yet."""
        for name, item in items.items():
            if self.get(name) is None:
                self.add(name, item)


class Registry(Generic[_Item]):
    """Items by name. Built-in ones are imported when they are asked for: none loads the dependencies of another.

    A name is looked up among the built-in items, then among the registered ones, then among the entry points that
    installed packages declare. Entry points are read only when a name is not found before, or names are listed.

    Args:
        kind: What the items are, for errors: ``victim``.
        built_in: ``module:attribute`` by name.
        group: Group of entry points: ``mea_plugin.victims``.
        expected: What an item must be, for errors.
        accepts: Whether something is that.

    Attributes:
        kind: As given.
        built_in: As given.

    Example:
        >>> shapes = Registry('shape', {'fraction': 'fractions:Fraction'}, group='example.shapes')
        >>> shapes.find('fraction')
        <class 'fractions.Fraction'>
        >>> @shapes.register('square')
        ... class Square: ...
        >>> shapes.names()
        ['fraction', 'square']
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, str],
        *,
        group: str,
        expected: str = 'a class or a function',
        accepts: Callable[[Any], bool] = callable,
    ) -> None:
        self.kind, self.built_in = kind, dict(built_in)
        self._group, self._expected, self._accepts = group, expected, accepts
        self._loaded: dict[str, _Item] = {}
        self._registered: dict[str, _Item] = {}
        self._toolboxes: dict[str, ToolboxRegistry] = {}

    def __contains__(self, name: object) -> bool:
        places = (self.built_in, self._registered)
        return isinstance(name, str) and (any(name in one for one in places) or name in self._entry_points)

    def names(self) -> list[str]:
        """All names in alphabetical order, those of entry points included; nothing is imported."""
        return sorted({*self.built_in, *self._registered, *self._entry_points})

    @overload
    def register(self, name: str) -> Callable[[_Given], _Given]: ...

    @overload
    def register(self, name: str, item: _Given) -> _Given: ...

    def register(self, name: str, item: Any = None) -> Any:
        """Add an item; without one, a decorator that does.

        Nothing is changed when it fails. Registering the same item twice is allowed.

        Args:
            name: What option files call it.
            item: The class or function.

        Returns:
            The item, or the decorator.

        Raises:
            InputError: The name is taken, here or in a toolbox that is loaded, or the item is of the wrong kind.
        """
        if item is None:
            return lambda given: self.register(name, given)
        self.update({name: item})
        return item

    def update(self, items: Mapping[str, _Item]) -> None:
        """Add several items, or none if one of them is refused.

        Raises:
            InputError: See :meth:`register`.
        """
        for name, item in items.items():
            if not isinstance(name, str) or not name:
                raise InputError(f'the name of a {self.kind} is {name!r}', do='Give a text that is not empty')
            if name in self.built_in or self._registered.get(name, item) is not item:
                raise InputError(f"the {self.kind} '{name}' exists already", do='Choose another name')
            if not self._accepts(item):
                raise InputError(f"the {self.kind} '{name}' is {item!r}", do=f'Give {self._expected}')
        for toolbox in self._toolboxes.values():
            toolbox.check(self.kind, items)
        self._registered.update(items)
        for toolbox in self._toolboxes.values():
            toolbox.add_missing(items)

    def share_with(self, toolbox: ToolboxRegistry) -> None:
        """Give a toolbox what has been registered and what will be; built-in items are the adapter's business.

        Raises:
            InputError: The toolbox uses one of the names for something else; it gets nothing then.
        """
        toolbox.check(self.kind, self._registered)
        toolbox.add_missing(self._registered)
        self._toolboxes[toolbox.title] = toolbox

    def find(self, name: Any, *, where: str = '') -> _Item:
        """The item of a name, imported if it has to be.

        Args:
            name: What an option file says.
            where: The file and option, for errors.

        Raises:
            InputError: There is no such name (the nearest is suggested), or what it stands for cannot be imported.
        """
        if name not in self:
            raise InputError(f"no {self.kind} '{name}'", where=where, do=suggestion(str(name), self.names()))
        if name in self.built_in:
            if name not in self._loaded:
                self._loaded[name] = self._import(name, where)
            return self._loaded[name]
        if name not in self._registered:
            self.load(name, where=where)
        return self._registered[name]

    def load(self, name: str, *, where: str = '') -> None:
        """Load the entry point of a name, if there is one, and register what it gives.

        Raises:
            InputError: It cannot be imported or registered, or two packages declare the name.
        """
        found = self._entry_points.get(name, [])
        if not found or name in self._registered:
            return
        if len(found) > 1:
            packages = ' and '.join(_distribution(one) for one in found)
            raise InputError(f"{packages} both have a {self.kind} '{name}'", where=where, do='Uninstall one of them')
        (entry,) = found
        label = f"the {self.kind} '{name}' of the package {_distribution(entry)}"
        try:
            self.update({name: entry.load()})
        except InputError as error:
            raise InputError(f'{label} cannot be used ({error.what})', where=where, do=error.do) from error
        except Exception as error:  # it runs another package's code
            raise InputError(
                f'{label} cannot be imported ({type(error).__name__}: {error})',
                where=where,
                do=f'Update {_distribution(entry)}, or install what it needs',
            ) from error

    @cached_property
    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        """Those of the group by name; they cannot replace built-in items."""
        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self._group):
            if entry.name not in self.built_in:
                found.setdefault(entry.name, []).append(entry)
        return found

    def _import(self, name: str, where: str) -> _Item:
        module, _, attribute = self.built_in[name].partition(':')
        try:
            found: _Item = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise missing(f"the type '{name}'", error, where) from error
        return found


def _distribution(entry: EntryPoint) -> str:
    """The name of the installed package that declares an entry point."""
    return entry.dist.name if entry.dist is not None else entry.value
