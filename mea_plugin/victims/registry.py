"""The types of victims by name, and building one from its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mea_plugin.core.build import build_section
from mea_plugin.core.registry import Registry
from mea_plugin.victims.base import Victim

__all__ = ['VICTIMS', 'build_victim', 'register_victim', 'victim_types']

VICTIMS: Registry[Callable[..., Victim]] = Registry(
    'victim',
    {
        'basicsr': 'mea_plugin.victims.basicsr:BasicSRVictim',
        'bicubic': 'mea_plugin.victims.bicubic:BicubicVictim',
        'defended': 'mea_plugin.victims.defended:DefendedVictim',
        'embedded': 'mea_plugin.victims.embedded:build_embedded',
        'http': 'mea_plugin.victims.http:HTTPVictim',
        'mmagic': 'mea_plugin.victims.mmagic:MMagicVictim',
        'onnx': 'mea_plugin.victims.onnx:OnnxVictim',
        'opencv': 'mea_plugin.victims.opencv:OpenCVVictim',
        'python': 'mea_plugin.victims.python:PythonVictim',
        'spandrel': 'mea_plugin.victims.spandrel:SpandrelVictim',
        'torch_export': 'mea_plugin.victims.torch_export:TorchExportVictim',
        'torchscript': 'mea_plugin.victims.torchscript:TorchScriptVictim',
    },
    group='mea_plugin.victims',
)
"""The types of victims; another package adds to them with entry points of the group ``mea_plugin.victims``."""


def register_victim(name: str, factory: Callable[..., Victim] | None = None) -> Any:
    """Add a victim type of your own; without a factory, a decorator.

    Args:
        name: The ``type`` in option files.
        factory: Called with the remaining options as keyword arguments; returns a :class:`Victim`.

    Returns:
        The factory, or the decorator.

    Raises:
        InputError: The name is taken.

    Example:
        >>> @register_victim('negative')
        ... class NegativeVictim:
        ...     name, scale, fingerprint = 'negative', 1, 'negative'
        ...
        ...     def query(self, images):
        ...         return [255 - image for image in images]
    """
    return VICTIMS.register(name) if factory is None else VICTIMS.register(name, factory)


def victim_types() -> list[str]:
    """The names that ``type`` may take."""
    return VICTIMS.names()


def build_victim(options: Mapping[str, Any], *, where: str = 'victim') -> Victim:
    """Build the victim that the options describe.

    Args:
        options: ``type`` and what that type takes.
        where: The file and option they come from, for errors.

    Raises:
        InputError: No such type, an option that the type does not know or lacks, or weights that do not fit.
    """
    return build_section(VICTIMS, options, where=where)
