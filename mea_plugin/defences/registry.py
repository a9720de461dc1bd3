"""The types of defences by name, and building them from a list in an option file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mea_plugin.core.build import build_section
from mea_plugin.core.errors import InputError
from mea_plugin.core.registry import Registry
from mea_plugin.defences.base import AnswerDefence

__all__ = ['DEFENCES', 'build_defences', 'defence_types', 'register_defence']

DEFENCES: Registry[Callable[..., AnswerDefence]] = Registry(
    'defence',
    {
        'detail_noise': 'mea_plugin.defences.noise:DetailNoise',
        'invisible_watermark': 'mea_plugin.defences.invisible:InvisibleWatermark',
        'jpeg': 'mea_plugin.defences.degrade:Jpeg',
        'levels': 'mea_plugin.defences.degrade:Levels',
        'noise': 'mea_plugin.defences.noise:Noise',
        'resize': 'mea_plugin.defences.degrade:Resize',
        'visible_watermark': 'mea_plugin.defences.visible:VisibleWatermark',
    },
    group='mea_plugin.defences',
)
"""The types of defences; another package adds to them with entry points of the group ``mea_plugin.defences``."""


def register_defence(name: str, factory: Callable[..., AnswerDefence] | None = None) -> Any:
    """Add a defence of your own; without a factory, a decorator.

    Args:
        name: The ``type`` in option files.
        factory: Called with the remaining options as keyword arguments; returns an :class:`AnswerDefence`.

    Returns:
        The factory, or the decorator.

    Raises:
        InputError: The name is taken.

    Example:
        >>> @register_defence('mirror')
        ... class MirrorDefence:
        ...     def describe(self):
        ...         return {}
        ...
        ...     def apply(self, query, answer, count):
        ...         return answer[:, ::-1].copy()
    """
    return DEFENCES.register(name) if factory is None else DEFENCES.register(name, factory)


def defence_types() -> list[str]:
    """The names that ``type`` may take."""
    return DEFENCES.names()


def build_defences(entries: Any, *, where: str = 'defences') -> list[AnswerDefence]:
    """The defences of a list, in the order in which they are applied.

    Args:
        entries: A list of sections with ``type`` and what that type takes.
        where: The file and option they come from, for errors.

    Raises:
        InputError: It is no list, or one of them cannot be made.
    """
    if not isinstance(entries, list):
        raise InputError(f'expected a list, got {entries!r}', where=where, do='Write - {type: ...} lines below it')
    return [build_section(DEFENCES, entry, where=f'{where}[{number}]') for number, entry in enumerate(entries)]
