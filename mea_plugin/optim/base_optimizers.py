"""Base optimizers: their names and options, and the ones that SAM cannot use."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from mea_plugin.core.errors import nearest
from mea_plugin.optim.registry import OPTIMIZERS, OWN, is_optimizer

__all__ = ['check_groups', 'check_options', 'resolve_base']

_UNFIT = {
    'LBFGS': 'it calls the closure as often as its line search needs, which leaves no place for the second pass',
    'SparseAdam': 'it takes sparse gradients only, and SAM needs dense ones',
}


def resolve_base(base: str | type[Optimizer], own_options: Iterable[str], owner: str) -> type[Optimizer]:
    """The class of the optimizer that takes the step at ``w``.

    Args:
        base: Name of a class in :mod:`torch.optim`, or any subclass of :class:`torch.optim.Optimizer`.
        own_options: Names of the options of the optimizer around it, which the base must not have.
        owner: What that optimizer is called.

    Returns:
        The class.

    Raises:
        ValueError: There is no such optimizer, or it cannot work under SAM; the text says why.
    """
    cls = _by_name(base) if isinstance(base, str) else base
    if not is_optimizer(cls):
        raise ValueError(f"base_optimizer must be a torch optimizer's name or class, got {base!r}. Write 'Adam'.")
    if hasattr(cls, 'climb') and hasattr(cls, 'restore'):
        raise ValueError(f'base_optimizer is {cls.__name__}, which climbs itself. Name the optimizer it should use.')
    if issubclass(cls, tuple(getattr(torch.optim, name) for name in _UNFIT)):
        reason = next(_UNFIT[name] for name in _UNFIT if issubclass(cls, getattr(torch.optim, name)))
        raise ValueError(f"base_optimizer cannot be {cls.__name__}: {reason}. Use 'Adam' or 'SGD'.")
    collisions = sorted(set(own_options) & set(inspect.signature(cls).parameters))
    if collisions:
        raise ValueError(
            f"base_optimizer cannot be {cls.__name__}: its option '{collisions[0]}' is also {owner}'s, with another "
            "meaning. Use another optimizer, such as 'Adam' or 'RMSprop'."
        )
    closure = inspect.signature(cls.step).parameters.get('closure')
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f'base_optimizer cannot be {cls.__name__}: its step needs a closure. Use one that steps without.'
        )
    return cls


def check_options(cls: type[Optimizer], options: Mapping[str, Any]) -> None:
    """Refuse an option that ``cls`` does not take, naming the nearest one that it does.

    Raises:
        ValueError: An option is unknown, or asks for a differentiable step.
    """
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters]
        for name in options:
            if name not in known:
                raise ValueError(f"{cls.__name__} has no option '{name}'. {_hint(name, known)}.")
    if options.get('differentiable'):
        raise ValueError('differentiable=True cannot be used: the climb is not differentiable. Leave it out.')


def check_groups(base: Optimizer, loaded: Iterable[Mapping[str, Any]]) -> None:
    """Refuse the parameter groups of a state dict that was saved by another kind of optimizer.

    Options that ``base`` fills in for state dicts of older torch versions may be missing.

    Args:
        base: The optimizer they are to be loaded into; it is not changed.
        loaded: The groups, in the order of its own.

    Raises:
        ValueError: An option that every group of ``base`` has is missing.
    """
    probe = type(base).__new__(type(base))
    probe.__setstate__(
        {'defaults': dict(base.defaults), 'state': {}, 'param_groups': [dict(group) for group in loaded]}
    )
    for own, group in zip(base.param_groups, probe.param_groups, strict=True):
        missing = sorted(set(base.defaults) & set(own) - set(group))
        if missing:
            raise ValueError(
                f"the state dict is not one of {type(base).__name__}: its groups have no '{missing[0]}'. "
                'Load it into the kind of optimizer that saved it.'
            )


def _by_name(name: str) -> type[Optimizer]:
    """The class called ``name`` in :mod:`torch.optim`, or registered under that name."""
    if name not in OPTIMIZERS:
        fit = [key for key in OPTIMIZERS.names() if key not in (*_UNFIT, *OWN)]
        raise ValueError(f"torch {torch.__version__} has no optimizer '{name}'. {_hint(name, fit)}.")
    return OPTIMIZERS.find(name, where='base_optimizer')


def _hint(name: str, known: Iterable[str]) -> str:
    """What to write instead of ``name``; spelling is compared without case."""
    lowered = {key.lower(): key for key in known}
    match = nearest(name.lower(), lowered)
    return f"Use '{lowered[match]}'" if match else f'Known: {", ".join(sorted(known))}'
