"""Checks that several victims make, and the text of other people's errors."""

from __future__ import annotations

from typing import Any

from mea_plugin.core.errors import InputError

__all__ = ['check_trusted', 'one_line']

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


def one_line(error: Exception) -> str:
    """What an error says, short enough for a line: its start, and its end, where TorchScript's reason stands."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= _HEAD + _TAIL else f'{text[:_HEAD]} ... {text[-_TAIL:]}'
