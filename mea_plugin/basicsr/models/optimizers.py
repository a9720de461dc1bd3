"""Optimizers for BasicSR's option files, by their names in :mod:`mea_plugin.optim.registry`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.optim.registry import OPTIMIZERS

__all__ = ['build_optimizer', 'check_optimizer']


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
