"""The losses of this package by name; both toolboxes get all of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from mea_plugin.core.registry import Registry

__all__ = ['LOSSES', 'register_loss']


def _is_loss(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, nn.Module)


LOSSES: Registry[type[nn.Module]] = Registry(
    'loss',
    {
        'HighFrequencyLoss': 'mea_plugin.losses.high_frequency:HighFrequencyLoss',
        'FocalFrequencyLoss': 'mea_plugin.losses.focal_frequency:FocalFrequencyLoss',
    },
    group='mea_plugin.losses',
    expected='a subclass of torch.nn.Module',
    accepts=_is_loss,
)
"""All losses; another package adds to them with entry points of the group ``mea_plugin.losses``."""


def register_loss(name: str, loss: type[nn.Module] | None = None) -> Any:
    """Add a loss of your own to this package and both toolboxes; without a loss, a decorator.

    An option file of BasicSR then names it in ``train``, for example ``hf_opt: {type: NAME, ...}``, a config of MMagic
    wherever a loss stands, for example ``hf_loss=dict(type='NAME', ...)``.

    Args:
        name: The ``type`` in option files and configs.
        loss: Built with the remaining options; called with prediction and target, float ``(N, C, H, W)``; returns a
            weighted scalar.

    Returns:
        The loss, or the decorator.

    Raises:
        InputError: The name is taken, here or in a toolbox that is loaded, or it is no subclass of ``nn.Module``.

    Example:
        >>> @register_loss('MeanLoss')
        ... class MeanLoss(nn.Module):
        ...     def forward(self, pred, target):
        ...         return (pred.mean() - target.mean()).abs()
    """
    return LOSSES.register(name) if loss is None else LOSSES.register(name, loss)
