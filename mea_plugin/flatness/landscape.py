"""The loss along random directions through the weights, filter-normalised so that networks can be compared.

Source: Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, and its published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mea_plugin.flatness.objective import Objective

__all__ = ['line', 'plane', 'random_direction', 'spread']

_LEAST = 1e-10  # beside a direction's norm, as there


def random_direction(objective: Objective, seed: int) -> Tensor:
    r"""A Gaussian direction whose filters are as long as the network's.

    :math:`d_{i,j} \leftarrow d_{i,j} \|w_{i,j}\| / \|d_{i,j}\|` for filter :math:`j` of layer :math:`i`: what the first
    axis of a weight counts, in convolutions and linear layers alike. Weights of one axis (biases, those of norms, PReLU
    slopes) do not move. One seed gives networks of one architecture the same direction but for these lengths.

    Args:
        objective: Whose weights count, as they are.
        seed: Of the direction.

    Returns:
        A flat vector.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for parameter in objective.parameters:
        weight = parameter.detach()
        part = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.dim() <= 1:
            parts.append(torch.zeros_like(part).flatten())
            continue
        axes = tuple(range(1, weight.dim()))
        lengths = [torch.linalg.vector_norm(one, dim=axes, keepdim=True) for one in (weight, part)]
        parts.append((part * (lengths[0] / (lengths[1] + _LEAST))).flatten())
    return torch.cat(parts)


def line(objective: Objective, steps: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """The loss at ``w + a d`` for each step ``a`` along one direction.

    Args:
        objective: The loss; its weights are back, bit for bit, at the end.
        steps: In units of the direction: at 1, every filter has moved by its own length.
        seed: Of the direction.

    Returns:
        ``steps`` and ``loss``, both lists.
    """
    direction = random_direction(objective, seed)
    with objective.returning() as start:
        return {'steps': list(steps), 'loss': [_loss(objective, start, step * direction) for step in steps]}


def plane(objective: Objective, x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """The loss at ``w + a d + b e`` for each ``a`` of ``x`` and ``b`` of ``y``.

    ``d`` is :func:`line`'s direction of the same seed, ``e`` an independent one. As in the source, they are not made
    orthogonal: in so many dimensions they nearly are.

    Args:
        objective: As :func:`line`.
        x: Steps along ``d``.
        y: Steps along ``e``.
        seed: Of the directions.

    Returns:
        ``x``, ``y`` and ``loss``: a list for each of ``y``, with a number for each of ``x``.
    """
    first, second = random_direction(objective, seed), random_direction(objective, seed + 1)
    with objective.returning() as start:
        losses = [[_loss(objective, start, a * first + b * second) for a in x] for b in y]
    return {'x': list(x), 'y': list(y), 'loss': losses}


def spread(extent: float, points: int) -> list[float]:
    """``points`` equal steps from ``-extent`` to ``extent``; an odd number of them has 0 in the middle."""
    middle = (points - 1) / 2
    return [extent * (index - middle) / middle for index in range(points)]


def _loss(objective: Objective, start: Tensor, offset: Tensor) -> float:
    objective.move_to(start + offset)
    return objective.loss()
