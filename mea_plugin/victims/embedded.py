"""The victim that ships with the package, so that the first run needs no download."""

from __future__ import annotations

from pathlib import Path

from mea_plugin.options import load_options
from mea_plugin.victims.basicsr import BasicSRVictim

__all__ = ['EMBEDDED', 'build_embedded']

EMBEDDED = Path(__file__).parent / 'weights' / 'embedded_x4.pth'
"""Its weights; the option file that trained them and a model card lie beside it."""


def build_embedded(name: str = 'victim', device: str = 'auto', batch_size: int = 8) -> BasicSRVictim:
    """The embedded x4 super-resolution victim.

    Args:
        name: How tables call it.
        device: See :class:`~mea_plugin.victims.basicsr.BasicSRVictim`.
        batch_size: Likewise.
    """
    network_g = load_options(EMBEDDED.with_suffix('.yml'))['network_g']
    return BasicSRVictim(network_g, EMBEDDED, name=name, device=device, batch_size=batch_size)
