"""Ways to run a network faster that change nothing of what it computes, up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ['compile_network', 'to_channels_last']


def to_channels_last(network: nn.Module) -> nn.Module:
    """Lay a network's weights out with the channels last; convolutions then keep their outputs so, too.

    It changes the network in place and gives it back. Values, names and shapes stay.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def compile_network(network: nn.Module, **options: Any) -> nn.Module:
    """Let ``torch.compile`` have the network's forward pass, at its first call.

    It changes the network in place and gives it back: names in its state dict stay, and distributed wrappers may be put
    around it. In evaluation mode the network runs as it is written: validation images have all sizes. A deep
    copy of a compiled network would run the original's code with the original's weights: copy it before.

    Args:
        network: Any module.
        options: As ``torch.compile`` takes them: ``mode``, ``backend``, ``dynamic``, ``fullgraph``.
    """
    plain = network.forward
    compiled = torch.compile(plain, **options)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if network.training else plain)(*args, **kwargs)

    network.forward = forward
    return network
