"""A victim that is any of BasicSR's networks with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mea_plugin.basicsr.networks import build_network, size_multiple
from mea_plugin.victims.network import NetworkVictim, network_fingerprint
from mea_plugin.weights import load_weights

__all__ = ['BasicSRVictim']


class BasicSRVictim(NetworkVictim):
    """A BasicSR network as a black box: uint8 RGB in, uint8 RGB out, always in evaluation mode.

    Args:
        network_g: ``type`` and arguments of any network that BasicSR has registered, as in its option files.
        weights: The ``.pth`` file.
        name: How tables call it; by default the network's type.
        param_key: Which weights of the file: ``params_ema`` or ``params``; by default the first of them that is there.
        scale: Checked against what the network does; found out when left away.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``...
        batch_size: Images of equal size that are answered together.

    Raises:
        InputError: The network cannot be built, the weights do not fit it, or its scale is another.
    """

    def __init__(
        self,
        network_g: Mapping[str, Any],
        weights: str | Path,
        name: str | None = None,
        param_key: str | None = None,
        scale: int | None = None,
        device: str = 'auto',
        batch_size: int = 8,
    ) -> None:
        network = build_network(network_g, where='victim.network_g')
        load_weights(network, weights, param_keys=(param_key,) if param_key else ('params_ema', 'params'))
        super().__init__(
            network,
            name=name or str(network_g.get('type')),
            fingerprint=network_fingerprint({'type': 'basicsr', 'network_g': dict(network_g)}, network),
            multiple=size_multiple(network_g),
            scale=scale,
            device=device,
            batch_size=batch_size,
        )
