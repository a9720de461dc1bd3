"""A surrogate as a weight file, which holds no program: what loads it must build the network."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.packages import import_optional
from mea_plugin.export.counterparts import Counterpart, find_counterpart
from mea_plugin.export.surrogate import Surrogate

__all__ = ['check_safetensors', 'to_basicsr', 'to_safetensors', 'weight_metadata']


def check_safetensors() -> None:
    """Check that the package that writes the format is installed.

    Raises:
        InputError: It is not.
    """
    import_optional('safetensors', 'the format', where='--format safetensors')


def weight_metadata(surrogate: Surrogate) -> dict[str, str]:
    """What a weight file says about itself: what the network takes, which may be no RGB in [0, 1]."""
    wiring = surrogate.victim.wiring
    low, high = wiring.value_range
    return {
        **surrogate.metadata(),
        'value_range': f'[{low:g}, {high:g}]',
        'channel_order': wiring.channel_order,
        'multiple': str(wiring.multiple),
    }


def to_safetensors(surrogate: Surrogate) -> bytes:
    """The network's weights under its own names, and the metadata in the header."""
    from safetensors.torch import save

    state = _plain(surrogate.victim.wiring.network.state_dict())
    # 'pt' is what Hugging Face's libraries look for.
    return bytes(save(state, metadata={'format': 'pt', **weight_metadata(surrogate)}))


def to_basicsr(surrogate: Surrogate) -> tuple[bytes, Counterpart | None]:
    """``params_ema``, and ``params`` where the surrogate's file has both, as BasicSR and its kin load them.

    Returns:
        The file's content, and which of BasicSR's networks takes the weights if it is not the surrogate's own.

    Raises:
        InputError: It is a network of MMagic that BasicSR has no equal of.
    """
    state = _plain(surrogate.victim.wiring.network.state_dict())
    metadata = weight_metadata(surrogate)
    counterpart = None
    if surrogate.toolbox == 'mmagic':
        counterpart = find_counterpart(surrogate)
        state = {counterpart.rename(key): value for key, value in state.items()}
        metadata['network'] = str(counterpart.network['type'])
        metadata['network_options'] = json.dumps(counterpart.network)
    content: dict[str, Any] = {'params_ema': state, 'metadata': metadata}
    if surrogate.last is not None:
        content['params'] = _plain(surrogate.last)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue(), counterpart


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor with memory of its own: safetensors refuses what is shared, ``torch.save`` keeps what is around."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
