"""From the ``type`` of a victim's options to the class that answers for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mea_plugin.core.registry import Factories
from mea_plugin.victims.base import Victim

__all__ = ['build_victim', 'register_victim', 'victim_types']

_VICTIMS: Factories[Victim] = Factories(
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
)


def register_victim(name: str, factory: Callable[..., Victim]) -> None:
    """Add a victim type of one's own.

    Args:
        name: The ``type`` in option files.
        factory: Called with the remaining options as keyword arguments.

    Raises:
        ValueError: The name is taken.
    """
    _VICTIMS.register(name, factory)


def victim_types() -> list[str]:
    """The names that ``type`` may take."""
    return _VICTIMS.names()


def build_victim(options: Mapping[str, Any], *, where: str = 'victim') -> Victim:
    """Build the victim that the options describe.

    Args:
        options: ``type`` and what that type takes.
        where: The file and option they come from, for errors.

    Raises:
        InputError: No such type, an option that the type does not know or lacks, or weights that do not fit.
    """
    return _VICTIMS.build(options, where=where)
