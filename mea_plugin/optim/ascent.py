"""SAM's arithmetic: the norm over all gradients, the climb, and a description of gradients that are not finite.

Everything is multi-tensor: parameters that one call can handle stand together in a :class:`Bundle`. What leaves the
device is one number per bundle, the norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = [
    'Bundle',
    'NonFiniteGradientError',
    'as_real',
    'collect',
    'describe_non_finite',
    'in_range',
    'joint_norm',
    'wide',
]

_REDUCED = (torch.float16, torch.bfloat16)
_LARGEST_FACTOR = torch.finfo(torch.float32).max
# Outside this range squares may overflow or vanish in float32, and the norm is taken again with scaling.
_SAFE_NORM = (1e-12, 1e15)


class NonFiniteGradientError(FloatingPointError):
    """A gradient is infinite or not a number. The weights are at ``w``.

    Args:
        what: Which one, and in which pass. No full stop.
        do: What to do about it. No full stop.

    Attributes:
        what: As given.
        do: As given.
    """

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f'{what}. The weights are at w. {do}.')
        self.what, self.do = what, do

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.do)


@dataclass
class Bundle:
    """Parameters that one multi-tensor call can handle.

    Attributes:
        rho: How far they climb along ``grads``; negative for the other way, as where the base optimizer maximises.
        adaptive: Whether the direction is stretched by the parameters' magnitudes.
        reduced: Whether parameters or gradients are float16 or bfloat16. These are computed in float32, one by one.
        params: The parameters; complex ones as pairs of real numbers.
        grads: Their gradients, or whatever else they are to climb along.
        owners: The parameters as the optimizer knows them.
        copies: Where their values at ``w`` are kept; filled in by whoever climbs.
    """

    rho: float
    adaptive: bool
    reduced: bool
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    owners: list[Tensor] = field(default_factory=list)
    copies: list[Tensor] = field(default_factory=list)

    def directions(self) -> Iterable[Tensor]:
        """``g``, or ``|w| g`` up to sign where adaptive: the vector whose norm the step is divided by.

        The product is built in ``copies``, which are free until :meth:`save`, so that it needs no memory of its own.
        """
        if not self.adaptive:
            return self.grads
        if self.reduced:
            return (wide(p) * wide(g) for p, g in zip(self.params, self.grads, strict=True))
        torch._foreach_copy_(self.copies, self.params)
        torch._foreach_mul_(self.copies, self.grads)
        return self.copies

    def save(self) -> None:
        """Copy the parameters."""
        torch._foreach_copy_(self.copies, self.params)

    def restore(self) -> None:
        """Put the copies back, bit by bit."""
        torch._foreach_copy_(self.params, self.copies)

    def climb(self, norm: float) -> None:
        """Add ``rho * g / norm``, or ``rho * w^2 g / norm`` where adaptive. A zero norm adds nothing."""
        if not self.rho or not norm:
            return
        factor = in_range(self.rho / norm)
        if self.reduced:
            for param, grad in zip(self.params, self.grads, strict=True):
                weight = wide(param)
                step = wide(grad) * weight * weight if self.adaptive else wide(grad)
                param.copy_(torch.add(weight, step, alpha=factor))
        elif self.adaptive:
            torch._foreach_mul_(self.params, self.grads)
            torch._foreach_mul_(self.params, factor)
            torch._foreach_mul_(self.params, self.copies)
            torch._foreach_add_(self.params, self.copies)
        else:
            torch._foreach_add_(self.params, self.grads, alpha=factor)


def _gradient(param: Tensor) -> Tensor | None:
    return param.grad


def collect(
    param_groups: Sequence[dict[str, Any]],
    vector_of: Callable[[Tensor], Tensor | None] = _gradient,
    *,
    against: bool = False,
) -> list[Bundle]:
    """Sort every parameter that has a gradient into bundles.

    Groups with the same options share bundles: a toolbox may make one group per parameter.

    Args:
        param_groups: The optimizer's groups.
        vector_of: Gives what a parameter climbs along, or None to leave the parameter out; its gradient by default.
        against: Climb against these vectors, whether the base optimizer maximises or not.

    Raises:
        RuntimeError: A gradient is sparse.
    """
    bundles: dict[tuple[Any, ...], Bundle] = {}
    for group_index, group in enumerate(param_groups):
        rho, adaptive = -group['rho'] if against or group.get('maximize') else group['rho'], group['adaptive']
        for index, owner in enumerate(group['params']):
            grad = vector_of(owner)
            if grad is None or not owner.numel():
                continue
            if grad.layout is not torch.strided:
                raise RuntimeError(
                    f'SAM needs dense gradients, got {grad.layout} for {_name(group, group_index, index)}. '
                    'Build the layer with sparse=False.'
                )
            key = (rho, adaptive, owner.device, owner.dtype, grad.dtype)
            bundle = bundles.get(key)
            if bundle is None:
                reduced = owner.dtype in _REDUCED or grad.dtype in _REDUCED
                bundle = bundles[key] = Bundle(rho, adaptive, reduced)
            bundle.params.append(as_real(owner))
            bundle.grads.append(as_real(grad))
            bundle.owners.append(owner)
    return list(bundles.values())


def joint_norm(bundles: Sequence[Bundle], *, stretched: bool) -> float:
    """The Euclidean norm over the gradients of all bundles, accumulated in float32 at least.

    Args:
        bundles: From :func:`collect`. With ``stretched``, ``copies`` of the adaptive ones are overwritten.
        stretched: Take ``|w| g`` instead of ``g`` where a bundle is adaptive.

    Returns:
        The norm; not finite only if a value is not, or if ``|w| g`` overflows.
    """
    # All norms are under way before the first is waited for.
    totals = [_norm(bundle.directions() if stretched else bundle.grads, bundle.reduced) for bundle in bundles]
    norm = math.hypot(*(float(total) for total in totals))
    if not bundles or _SAFE_NORM[0] < norm < _SAFE_NORM[1]:
        return norm
    return math.hypot(*(_scaled_norm(bundle.directions() if stretched else bundle.grads) for bundle in bundles))


def describe_non_finite(param_groups: Sequence[dict[str, Any]]) -> str:
    """Describe the first gradient that is not finite, and count the others."""
    found: list[str] = []
    for group_index, group in enumerate(param_groups):
        for index, param in enumerate(group['params']):
            if param.grad is None:
                continue
            bad = int((~torch.isfinite(param.grad)).sum())
            if bad:
                where = _name(group, group_index, index)
                found.append(f'{bad} of {param.grad.numel()} values of the gradient of {where}')
    if not found:
        return 'weight times gradient overflows'
    others = f', and {len(found) - 1} other gradients' if len(found) > 1 else ''
    return f'{found[0]} are not finite{others}'


def as_real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones, in the same memory; others as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def wide(tensor: Tensor) -> Tensor:
    """``tensor`` in float32, or as it is if it has that precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_range(factor: float) -> float:
    """``factor``, or the nearest one that float32 holds."""
    return max(-_LARGEST_FACTOR, min(factor, _LARGEST_FACTOR))


def _norm(vectors: Iterable[Tensor], reduced: bool) -> Tensor:
    """The norm over ``vectors`` as a tensor on their device."""
    if reduced:
        norms = [torch.linalg.vector_norm(vector, dtype=torch.float32) for vector in vectors]
    else:
        norms = list(torch._foreach_norm(list(vectors)))
    return torch.linalg.vector_norm(torch.stack(norms))


def _scaled_norm(vectors: Iterable[Tensor]) -> float:
    """The norm of values whose squares may overflow or vanish: each vector is divided by its largest magnitude."""
    norms = []
    for vector in vectors:
        largest = float(torch.linalg.vector_norm(vector, math.inf))
        if not math.isfinite(largest):
            return math.nan
        scale = largest or 1.0
        norms.append(scale * float(torch.linalg.vector_norm(wide(vector) / scale)))
    return math.hypot(*norms)


def _name(group: dict[str, Any], group_index: int, index: int) -> str:
    """A parameter in words: its name if the optimizer was given names, its place and shape."""
    names = group.get('param_names')
    name = f"parameter '{names[index]}'" if names else 'a parameter'
    return f'{name} (group {group_index}, index {index}, shape {tuple(group["params"][index].shape)})'
