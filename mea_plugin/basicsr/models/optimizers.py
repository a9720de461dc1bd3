"""Optimizers for BasicSR's option files, by their names in :mod:`mea_plugin.optim.registry`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.optim import SAM
from mea_plugin.optim.registry import OPTIMIZERS

__all__ = ['NamedOptimizers', 'build_optimizer', 'check_optimizer', 'optimizer_keys']


def build_optimizer(options: Mapping[str, Any], params: Iterable[Tensor], *, where: str) -> torch.optim.Optimizer:
    """Build the optimizer that ``type`` names.

    Args:
        options: ``type`` and the optimizer's own arguments.
        params: What it moves.
        where: The option they come from, for errors.

    Raises:
        InputError: Unknown type, or arguments that it does not take.
    """
    arguments = dict(options)
    name = arguments.pop('type', None)
    optimizer = OPTIMIZERS.find(name, where=f'{where}.type')
    try:
        return optimizer(params, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do=f'Correct the options of {name}') from error


def check_optimizer(options: Mapping[str, Any], *, where: str) -> None:
    """Check the options by building the optimizer for one number.

    Raises:
        InputError: As :func:`build_optimizer`.
    """
    build_optimizer(options, [torch.nn.Parameter(torch.zeros(1))], where=where)


class NamedOptimizers:
    """Mixin before BasicSR's models: ``optim_g`` and ``optim_d`` may name any optimizer that is known here."""

    opt: dict[str, Any]
    optimizers: list[torch.optim.Optimizer]

    def setup_optimizers(self) -> None:
        """As the model's, which takes ``type`` out of each section: one may stand in two places of the file."""
        train_opt = self.opt['train']
        train_opt.update({key: dict(value) for key, value in train_opt.items() if key.startswith('optim_')})
        inherited: Any = super()
        inherited.setup_optimizers()

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build SAM, a variant, or any of torch's optimizers; BasicSR's models know only Adam."""
        where = 'train.optim_d' if self.optimizers else 'train.optim_g'
        return build_optimizer({'type': optim_type, 'lr': lr, **kwargs}, params, where=where)


def optimizer_keys(options: Any) -> frozenset[str] | None:
    """The options of the optimizer that ``type`` names, and ``type``; None where none is known by that name.

    SAM and its variants take those of their base optimizer as well.
    """
    name = options.get('type') if isinstance(options, Mapping) else None
    if name not in OPTIMIZERS:
        return None
    found = OPTIMIZERS.find(name)
    keys = {'type', *inspect.signature(found).parameters} - {'params', 'base_options'}
    if issubclass(found, SAM):
        base = options.get('base_optimizer', 'Adam')
        if base not in OPTIMIZERS:
            return None
        keys |= inspect.signature(OPTIMIZERS.find(base)).parameters.keys() - {'params'}
    return frozenset(keys)
