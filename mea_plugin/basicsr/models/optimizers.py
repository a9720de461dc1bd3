"""Optimizers by name for BasicSR's option files: SAM, its variants, or any of torch's."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.optim import SAM, LookSAM, MomentumSAM

__all__ = ['build_optimizer', 'check_optimizer', 'optimizer_keys']


def _known() -> dict[str, type[torch.optim.Optimizer]]:
    known = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    return known | {cls.__name__: cls for cls in (SAM, LookSAM, MomentumSAM)}


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
    known = _known()
    if name not in known:
        raise InputError(f"no optimizer '{name}'", where=f'{where}.type', do=suggestion(str(name), known))
    try:
        return known[name](params, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(str(error).rstrip('.'), where=where, do=f'Correct the options of {name}') from error


def check_optimizer(options: Mapping[str, Any], *, where: str) -> None:
    """Check the options by building the optimizer for one number.

    Raises:
        InputError: As :func:`build_optimizer`.
    """
    build_optimizer(options, [torch.nn.Parameter(torch.zeros(1))], where=where)


def optimizer_keys(options: Any) -> frozenset[str] | None:
    """The options of the optimizer that ``type`` names, and ``type``; None where none is known by that name.

    SAM and its variants take those of their base optimizer as well.
    """
    known = _known()
    found = known.get(str(options.get('type'))) if isinstance(options, Mapping) else None
    if found is None:
        return None
    keys = {'type', *inspect.signature(found).parameters} - {'params', 'base_options'}
    if issubclass(found, SAM):
        base = known.get(str(options.get('base_optimizer', 'Adam')))
        if base is None:
            return None
        keys |= inspect.signature(base).parameters.keys() - {'params'}
    return frozenset(keys)
