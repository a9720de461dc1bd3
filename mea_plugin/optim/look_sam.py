"""LookSAM: reuse the direction found by SAM's second pass in the steps that follow."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from mea_plugin.optim.ascent import Bundle, as_real, collect, in_range, joint_norm, wide
from mea_plugin.optim.memory import PerParameter
from mea_plugin.optim.options import check_alpha
from mea_plugin.optim.sam import SAM

__all__ = ['LookSAM']

# A sine below this many units of rounding is rounding: the two gradients are parallel.
_ROUNDING = 32


class LookSAM(SAM):
    r"""SAM with a second pass in one of ``every`` steps, whose effect the steps between imitate.

    With ``g`` the gradient at ``w`` and ``h`` that at ``w + e``, a step with a second pass is SAM's, and keeps the
    direction of what SAM adds across the gradient; a step without one adds it to its own gradient:

    .. math:: v = h - \frac{\langle h, g\rangle}{\lVert g\rVert^2}\, g, \qquad
        g + \alpha\, \lVert g\rVert\, v / \lVert v\rVert .

    Norms and products run over all parameters with a gradient. The second holds until the next second pass; it does
    not depend on the scale of any gradient, so that a gradient scaler changes nothing. Where both gradients are
    parallel there is nothing to add. ``every=1`` is SAM.

    Use, rules and errors are SAM's. Memory beyond the base optimizer's: two copies of the parameters (SAM: one). The
    direction is in the state dict while a step of the period is left to use it.

    Source: Liu et al., "Towards Efficient and Scalable Sharpness-Aware Minimization", CVPR 2022, algorithm 1.

    Args:
        params: As SAM.
        base_optimizer: As SAM, and not ``RMSprop`` or ``ASGD``, whose ``alpha`` means something else.
        rho: Radius of the neighbourhood.
        adaptive: As SAM; the direction is across the plain gradient all the same.
        every: Of how many steps one, the first, takes a second pass.
        first_pass: ``'averaged'``. With ``'local'`` every rank would keep a direction of its own, and their weights
            would drift apart.
        alpha: How much of the direction is added, relative to the gradient.
        **base_options: The base optimizer's options.

    Raises:
        ValueError: As SAM.
    """

    own_options: ClassVar[tuple[str, ...]] = (*SAM.own_options, 'alpha')
    kept: ClassVar[tuple[str, ...]] = (*SAM.kept, 'alpha', '_across', '_stage')

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: str | type[Optimizer] = 'Adam',
        rho: float = 0.05,
        adaptive: bool = False,
        every: int = 5,
        first_pass: str = 'averaged',
        alpha: float = 0.7,
        **base_options: Any,
    ) -> None:
        if first_pass == 'local':
            raise ValueError(
                "LookSAM keeps a direction between steps, and with first_pass='local' each rank would keep another. "
                "Write first_pass='averaged', or use SAM."
            )
        self.alpha = check_alpha(alpha)
        super().__init__(params, base_optimizer, rho, adaptive, every, first_pass, **base_options)

    def _prepare(self) -> None:
        super()._prepare()
        self._across = PerParameter(widened=True)
        # What _across holds: nothing, the first pass's gradient over its norm, or the direction.
        self._stage = 'empty'

    @property
    def second_pass_due(self) -> bool:
        """As SAM's; also when no direction is known, as after loading another optimizer's state."""
        if self._stage != 'direction' and self.every > 1:
            return any(group['rho'] for group in self.param_groups)
        return super().second_pass_due

    def _complete(self) -> None:
        """Find the direction after a second pass, add it in other steps; leave gradients that are not finite."""
        if self._stage == 'empty' or not any(group['rho'] for group in self.param_groups):
            return
        bundles = collect(self.param_groups)
        norm = joint_norm(bundles, stretched=False)
        if not math.isfinite(norm):
            return
        vectors = self._across.find(bundles)
        if self._stage == 'gradient':
            self._reserve(bundles)
            _reject(bundles, vectors, norm)
            self._stage = 'direction'
        else:
            _add(bundles, vectors, self.alpha * norm)

    def _look(self, bundles: list[Bundle], norm: float) -> None:
        """Keep the first pass's gradient, in the place of the direction, which is about to be found anew."""
        if self.every == 1:
            return
        if any(bundle.adaptive for bundle in bundles):
            norm = joint_norm(bundles, stretched=False)
        self._stage = 'empty'
        for bundle, vectors in zip(bundles, self._across.reserve(bundles), strict=True):
            torch._foreach_copy_(vectors, bundle.grads)
            torch._foreach_mul_(vectors, in_range(1 / norm) if norm else 0.0)
        self._stage = 'gradient'

    def _extra(self) -> dict[str, Any]:
        extra = super()._extra()
        if self._stage == 'direction' and self._steps % self.every:
            kept = self._across.tensors
            extra['direction'] = {index: kept[param] for index, param in enumerate(self._params()) if param in kept}
        return extra

    def _problem(self, extra: dict[str, Any]) -> str:
        direction, shapes = (
            extra.get('direction', {}),
            dict(enumerate(as_real(param).shape for param in self._params())),
        )
        fits = isinstance(direction, dict) and all(
            isinstance(vector, Tensor) and vector.shape == shapes.get(index) for index, vector in direction.items()
        )
        return super()._problem(extra) if fits else 'has the direction of another network'

    def _load_extra(self, extra: dict[str, Any]) -> None:
        super()._load_extra(extra)
        direction, params = extra.get('direction', {}), self._params()
        self._across.load({params[index]: vector for index, vector in direction.items()})
        self._stage = 'direction' if direction else 'empty'

    def _params(self) -> list[Tensor]:
        """All parameters, in the order in which a state dict counts them."""
        return [param for group in self.param_groups for param in group['params']]


def _reject(bundles: list[Bundle], vectors: list[list[Tensor]], norm: float) -> None:
    """Replace ``vectors`` by the part of the gradients orthogonal to them, normalised to length 1.

    Args:
        bundles: Gradients, and ``copies`` whose values are free.
        vectors: Those of the first pass over their norm.
        norm: The gradients' norm.
    """
    factor = in_range(1 / norm) if norm else 0.0
    cosine = sum(_product(bundle, first, factor) for bundle, first in zip(bundles, vectors, strict=True))
    for bundle, first in zip(bundles, vectors, strict=True):
        torch._foreach_mul_(first, -cosine)
        _add_to(first, bundle.grads, factor)
    sine = math.hypot(*(float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(v)))) for v in vectors))
    rounding = _ROUNDING * max((torch.finfo(v[0].dtype).eps for v in vectors), default=0.0)
    for across in vectors:
        torch._foreach_mul_(across, 1 / sine if sine > rounding else 0.0)


def _product(bundle: Bundle, vectors: list[Tensor], factor: float) -> float:
    """The inner product of ``vectors`` and the gradients times ``factor``."""
    if bundle.reduced:
        terms = [(wide(grad) * factor * vector).sum() for grad, vector in zip(bundle.grads, vectors, strict=True)]
        return float(torch.stack(terms).sum())
    products = bundle.copies
    torch._foreach_copy_(products, bundle.grads)
    torch._foreach_mul_(products, factor)
    torch._foreach_mul_(products, vectors)
    # There is no multi-tensor sum. Magnitudes can be summed: of all terms, and of the positive ones.
    magnitudes = torch.stack(torch._foreach_norm(products, 1)).sum()
    torch._foreach_clamp_min_(products, 0.0)
    return float(2 * torch.stack(torch._foreach_norm(products, 1)).sum() - magnitudes)


def _add_to(vectors: list[Tensor], grads: list[Tensor], factor: float) -> None:
    if all(vector.dtype == grad.dtype for vector, grad in zip(vectors, grads, strict=True)):
        torch._foreach_add_(vectors, grads, alpha=factor)
        return
    for vector, grad in zip(vectors, grads, strict=True):
        vector.add_(wide(grad), alpha=factor)


def _add(bundles: list[Bundle], vectors: list[list[Tensor]], factor: float) -> None:
    """Add ``factor`` times ``vectors`` to the gradients."""
    for bundle, across in zip(bundles, vectors, strict=True):
        if not bundle.reduced:
            torch._foreach_add_(bundle.grads, across, alpha=in_range(factor))
            continue
        for grad, vector in zip(bundle.grads, across, strict=True):
            grad.copy_(torch.add(wide(grad), vector, alpha=in_range(factor)))
