"""The victim that ships with the package, so that the first run needs no download."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Unpack

from mea_plugin.core.options import load_options
from mea_plugin.victims.basicsr import BasicSRVictim
from mea_plugin.victims.network import NetworkOptions

__all__ = ['EMBEDDED', 'build_embedded']

EMBEDDED = Path(__file__).parent / 'weights' / 'embedded_x4.pth'
"""Its weights; the option file that trained them and a model card lie beside it."""


def build_embedded(**options: Unpack[NetworkOptions]) -> BasicSRVictim:
    """The embedded x4 super-resolution victim.

    Args:
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default ``victim``.
    """
    network_g = load_options(EMBEDDED.with_suffix('.yml'))['network_g']
    options['name'] = options.get('name') or 'victim'
    return BasicSRVictim(network_g, EMBEDDED, **options)
