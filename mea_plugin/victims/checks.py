"""Checks of the options that several victims take."""

from __future__ import annotations

from typing import Any

from mea_plugin.errors import InputError

__all__ = ['check_choice', 'check_range', 'check_whole']


def check_choice(key: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of the choices.

    Raises:
        InputError: It is none of them.
    """
    if value not in choices:
        raise InputError(f'{key} is {value!r}', where=f'victim.{key}', do=f'Use {" or ".join(choices)}')
    return str(value)


def check_whole(key: str, value: Any, *, least: int = 1) -> int:
    """A whole number.

    Raises:
        InputError: It is none, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f'{key} is {value!r}', where=f'victim.{key}', do=f'Give a whole number of at least {least}')
    return value


def check_range(key: str, value: Any) -> tuple[float, float]:
    """Two finite numbers, the lower one first.

    Raises:
        InputError: They are not.
    """
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 < high - low < float('inf'):
        raise InputError(f'{key} is {value!r}', where=f'victim.{key}', do='Give low and high, for example [0, 1]')
    return low, high
