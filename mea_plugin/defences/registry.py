"""From a list in an option file to the defences that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.registry import Factories
from mea_plugin.defences.base import AnswerDefence

__all__ = ['build_defences', 'defence_types', 'register_defence']

_DEFENCES: Factories[AnswerDefence] = Factories(
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
)


def register_defence(name: str, factory: Callable[..., AnswerDefence]) -> None:
    """Add a defence of one's own.

    Args:
        name: The ``type`` in option files.
        factory: Called with the remaining options as keyword arguments.

    Raises:
        ValueError: The name is taken.
    """
    _DEFENCES.register(name, factory)


def defence_types() -> list[str]:
    """The names that ``type`` may take."""
    return _DEFENCES.names()


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
    return [_DEFENCES.build(entry, where=f'{where}[{number}]') for number, entry in enumerate(entries)]
