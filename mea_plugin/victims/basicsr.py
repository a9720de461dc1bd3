"""A victim that is any of BasicSR's networks with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from mea_plugin.core.signatures import checked
from mea_plugin.core.weights import load_weights
from mea_plugin.toolboxes.basicsr_networks import build_network, size_multiple
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, hash_weights

__all__ = ['BasicSRVictim']


class BasicSRVictim(NetworkVictim):
    """A BasicSR network as a black box: uint8 RGB in, uint8 RGB out, always in evaluation mode.

    Args:
        network_g: ``type`` and arguments of any network that BasicSR has registered, as in its option files.
        weights: The ``.pth`` or ``.safetensors`` file.
        param_key: Which weights of the file: ``params_ema`` or ``params``; by default the first of them that is there.
        trusted: Whether the file may run code; most need not.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the network's type.

    Raises:
        InputError: The network cannot be built, the weights do not fit it, or its scale is another.
    """

    concurrent = True  # several threads may ask at once

    @checked('victim')
    def __init__(
        self,
        network_g: Mapping[str, Any],
        weights: str | Path,
        param_key: str | None = None,
        trusted: bool = False,
        **options: Unpack[NetworkOptions],
    ) -> None:
        network = build_network(network_g, where='victim.network_g')
        keys = (param_key,) if param_key else ('params_ema', 'params')
        load_weights(network, weights, param_keys=keys, trusted=trusted)
        super().__init__(
            network,
            {'type': 'basicsr', 'network_g': dict(network_g), 'state': hash_weights(network)},
            defaults={'name': str(network_g.get('type')), 'multiple': size_multiple(network_g)},
            **options,
        )
