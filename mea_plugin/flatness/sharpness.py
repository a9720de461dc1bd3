"""Sharpness: how much the loss grows, at worst, within a ball around the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mea_plugin.flatness.objective import Objective

__all__ = ['passes', 'sharpness']

_LONGEST = 4.0  # of a step, in radii: beyond that only the gradient's direction counts


@dataclass(frozen=True)
class _Point:
    """A place in the ball: its coordinates, and the loss and its gradient in these coordinates."""

    u: Tensor
    loss: float
    slope: Tensor


def sharpness(
    objective: Objective, radii: Sequence[float], *, steps: int = 10, adaptive: bool = False, seed: int = 0
) -> dict[float, float]:
    r"""The largest growth of the loss found within each radius.

    .. math:: S(\rho) = \max_{\|u\| \le \rho} L(w + T u) - L(w)

    with :math:`T = 1`, or :math:`T = \operatorname{diag} |w|` when ``adaptive``, which makes the ball the same for
    networks that differ only in the scale of their weights. The maximum is looked for in two ways, and the larger
    counts: SAM's one step, :math:`u = \rho\, T g / \|T g\|`, and from the better of it and the last radius's maximum
    (stretched to this radius), ``steps`` of projected gradient ascent. A step that does not climb is taken back and
    halved, one that does is doubled next time. What is found is a lower bound; it never falls as the radius grows.

    Source: Foret et al., Sharpness-Aware Minimization, ICLR 2021 (one step); Kwon et al., ASAM, ICML 2021 (adaptive);
    Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018 (projected ascent).

    Args:
        objective: The loss; its weights are back, bit for bit, at the end.
        radii: Above 0.
        steps: Of ascent, for each radius; 0 leaves SAM's one step alone.
        adaptive: See above. Weights that are 0 then stay so.
        seed: Of the direction that is taken instead of a gradient of 0.

    Returns:
        Radius to sharpness, at least 0, in ascending order; ``inf`` where the loss is not finite in the ball.
    """
    found: dict[float, float] = {}
    with objective.returning() as start:
        stretch = start.abs() if adaptive else torch.ones((), dtype=start.dtype, device=start.device)

        def at(u: Tensor) -> _Point:
            objective.move_to(start + stretch * u)
            loss, gradient = objective.gradient()
            return _Point(u, loss if math.isfinite(loss) else math.inf, stretch * gradient)

        origin = at(torch.zeros_like(start))
        uphill = _unit(origin.slope)
        if uphill is None:
            generator = torch.Generator().manual_seed(seed)  # on the CPU: the same direction on every device
            uphill = torch.randn(len(start), generator=generator).to(start)
            uphill = uphill / uphill.norm()
        best = origin
        for rho in sorted(radii):
            candidates = [best, at(rho * uphill)]
            reach = float(best.u.norm())
            if reach and best.loss < math.inf:
                candidates.append(at(best.u * (rho / reach)))
            best = max(candidates, key=lambda point: point.loss)
            length = rho
            for _ in range(steps):
                direction = _unit(best.slope)
                if direction is None or best.loss == math.inf:
                    break
                point = at(_within(best.u + length * direction, rho))
                if point.loss > best.loss:
                    best, length = point, min(2 * length, _LONGEST * rho)
                else:
                    length /= 2
            found[rho] = best.loss - origin.loss
    return found


def passes(radii: int, steps: int) -> int:
    """How many passes :func:`sharpness` takes at most, for progress bars."""
    return 1 + radii * (steps + 2)


def _unit(vector: Tensor) -> Tensor | None:
    """The vector at length 1; None if it has no direction."""
    norm = float(torch.linalg.vector_norm(vector))
    return vector / norm if 0 < norm < math.inf else None


def _within(u: Tensor, rho: float) -> Tensor:
    """The nearest point of the ball."""
    norm = float(torch.linalg.vector_norm(u))
    return u * (rho / norm) if norm > rho else u
