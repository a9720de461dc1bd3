"""Which networks take part in a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ['requires_grad']


@contextmanager
def requires_grad(networks: Iterable[nn.Module], value: bool) -> Iterator[None]:
    """Let the networks' parameters require gradients or not for the body; then as before."""
    before = [(param, param.requires_grad) for network in networks for param in network.parameters()]
    try:
        for param, _ in before:
            param.requires_grad_(value)
        yield
    finally:
        for param, flag in before:
            param.requires_grad_(flag)
