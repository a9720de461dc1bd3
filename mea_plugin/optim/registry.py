"""Optimizers by name: SAM, its variants, and all of torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from mea_plugin.core.registry import Registry

__all__ = ['OPTIMIZERS', 'OWN', 'is_optimizer', 'register_optimizer']

OWN = {
    'LookSAM': 'mea_plugin.optim.look_sam:LookSAM',
    'MomentumSAM': 'mea_plugin.optim.momentum_sam:MomentumSAM',
    'SAM': 'mea_plugin.optim.sam:SAM',
}
"""Those of this package."""


def is_optimizer(item: Any) -> bool:
    """Whether something is a subclass of torch's ``Optimizer``."""
    return isinstance(item, type) and issubclass(item, Optimizer) and item is not Optimizer


OPTIMIZERS: Registry[type[Optimizer]] = Registry(
    'optimizer',
    {**{name: f'torch.optim:{name}' for name, item in vars(torch.optim).items() if is_optimizer(item)}, **OWN},
    group='mea_plugin.optimizers',
    expected='a subclass of torch.optim.Optimizer',
    accepts=is_optimizer,
)
"""All optimizers; another package adds to them with entry points of the group ``mea_plugin.optimizers``."""


def register_optimizer(name: str, optimizer: type[Optimizer] | None = None) -> Any:
    """Add an optimizer of your own to this package and MMEngine; without an optimizer, a decorator.

    An option file of BasicSR then names it in ``optim_g: {type: NAME, ...}``, a config of MMagic in
    ``optimizer=dict(type='NAME', ...)``, and SAM takes it as ``base_optimizer: NAME``.

    Args:
        name: The ``type`` in option files and configs.
        optimizer: Built with the parameters and the remaining options.

    Returns:
        The optimizer, or the decorator.

    Raises:
        InputError: The name is taken, here or in a toolbox that is loaded, or it is no subclass of ``Optimizer``.

    Example:
        >>> @register_optimizer('NesterovSGD')
        ... class NesterovSGD(torch.optim.SGD):
        ...     def __init__(self, params, lr, momentum=0.9):
        ...         super().__init__(params, lr=lr, momentum=momentum, nesterov=True)
    """
    return OPTIMIZERS.register(name) if optimizer is None else OPTIMIZERS.register(name, optimizer)
