"""Checks that several victims make, and the text of other people's errors."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from mea_plugin.core.errors import InputError

__all__ = ['check_trusted', 'import_optional', 'one_line']

_HEAD, _TAIL = 90, 160


def check_trusted(trusted: Any, what: str, where: str) -> None:
    """Refuse what runs code unless the user said, with ``trusted: true`` and no other value, that it may.

    Args:
        trusted: The option's value.
        what: What would run code, and how.
        where: The option it was given in.

    Raises:
        InputError: It is not trusted.
    """
    if trusted is not True:
        raise InputError(what, where=where, do='Add trusted: true if you know where it comes from')


def import_optional(module: str, package: str, *, where: str = 'victim.type') -> ModuleType:
    """A module of a package that not everybody needs.

    Args:
        module: What is imported.
        package: What provides it.
        where: The option that asks for it.

    Raises:
        InputError: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f'needs {package} ({error})', where=where, do=f'Type: pip install {package}') from error


def one_line(error: Exception) -> str:
    """What an error says, short enough for a line: its start, and its end, where TorchScript's reason stands."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= _HEAD + _TAIL else f'{text[:_HEAD]} ... {text[-_TAIL:]}'
