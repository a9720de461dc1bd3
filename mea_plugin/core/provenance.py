"""What a result has to say about how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import mea_plugin

__all__ = ['installed_packages', 'provenance']

_PACKAGES = ('numpy', 'scipy', 'Pillow', 'torch', 'basicsr', 'mmagic', 'lpips', 'torch-fidelity')


def provenance(command: Sequence[str], options: Mapping[str, Any], device: str = 'cpu') -> dict[str, Any]:
    """The keys with which every result's JSON begins, after its format and name.

    Args:
        command: What was typed.
        options: The option file's content, as JSON holds it.
        device: Where the work ran.

    Returns:
        ``command``, ``options``, ``packages`` (versions by name) and ``machine`` (facts by name, without those that
        differ from one run to the next).
    """
    from mea_plugin.core.machine import describe_machine

    return {
        'command': list(command),
        'options': dict(options),
        'packages': installed_packages(),
        'machine': {name: fact for name, fact in describe_machine(device).items() if name != 'load average'},
    }


def installed_packages() -> dict[str, str]:
    """The versions of Python and of the packages that numbers may depend on, as far as they are installed."""
    found = {package: _version(package) for package in _PACKAGES}
    return {
        'mea_plugin': mea_plugin.__version__,
        'python': platform.python_version(),
        **{package: version for package, version in found.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
