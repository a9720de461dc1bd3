"""The Hessian's largest eigenvalue and its trace, from products with vectors alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mea_plugin.flatness.objective import Objective

__all__ = ['TopEigenvalue', 'Trace', 'hessian_trace', 'top_eigenvalue']


@dataclass(frozen=True)
class TopEigenvalue:
    """The largest eigenvalue, as far as it is known.

    Attributes:
        value: The Rayleigh quotient ``v . H v`` of the last unit vector ``v``.
        residual: ``|H v - value v|``: some eigenvalue is no further than this from ``value``.
        iterations: Products with the Hessian that it took.
    """

    value: float
    residual: float
    iterations: int


@dataclass(frozen=True)
class Trace:
    """An estimate of the trace.

    Attributes:
        value: The mean over probes of ``z . H z``.
        standard_error: The probes' standard deviation, divided by the square root of their number; None for one probe.
        probes: How many.
    """

    value: float
    standard_error: float | None
    probes: int


def top_eigenvalue(
    objective: Objective, *, iterations: int = 100, tolerance: float = 1e-2, seed: int = 0
) -> TopEigenvalue:
    r"""The algebraically largest eigenvalue by power iteration.

    :math:`v \leftarrow H v / \|H v\|` from a seeded random vector, until the residual is at most ``tolerance`` times
    the value's magnitude (the value itself is then far closer: its error is of second order in the residual), or after
    ``iterations`` products. That finds the eigenvalue of largest magnitude. Where it is negative (away from a minimum,
    and under L1 anywhere), the iteration is run again on :math:`H + s I`, with :math:`s` its magnitude and residual;
    that has none below 0, and its largest is :math:`\lambda_{\max} + s`. This run may take as many products.

    Source: Yao et al., PyHessian: Neural Networks Through the Lens of the Hessian, IEEE BigData 2020.

    Args:
        objective: The loss.
        iterations: The most products of a run.
        tolerance: Of the residual, relative to the value's magnitude (in the second run, to the shifted value's).
        seed: Of the first vector.
    """
    first = _power(objective, 0.0, iterations, tolerance, seed)
    if first.value >= 0:
        return first
    second = _power(objective, first.residual - first.value, iterations, tolerance, seed)
    return TopEigenvalue(second.value, second.residual, first.iterations + second.iterations)


def _power(objective: Objective, shift: float, iterations: int, tolerance: float, seed: int) -> TopEigenvalue:
    """Power iteration on ``H + shift``; what it finds is the eigenvalue of ``H``."""
    vector = torch.randn(objective.size, generator=torch.Generator().manual_seed(seed)).to(objective.zeros())
    vector /= vector.norm()
    value, residual, done = 0.0, math.inf, 0
    for done in range(1, iterations + 1):  # noqa: B007 - used below
        (product,) = objective.hessian_products([vector])
        value = _dot(vector, product)
        residual = math.sqrt(_dot(*(2 * [product - value * vector])))
        if not residual > tolerance * abs(value + shift):
            break
        product += shift * vector
        vector = product / product.norm()
    return TopEigenvalue(value, residual, done)


def hessian_trace(objective: Objective, *, probes: int = 32, seed: int = 0, together: int = 8) -> Trace:
    r"""The trace by Hutchinson's estimator.

    :math:`\operatorname{tr} H = \operatorname{E}[z^T H z]` for independent entries of :math:`z` that are 1 or -1 with
    equal chances, which have the smallest variance, :math:`2 \sum_{i \ne j} H_{ij}^2`: a diagonal matrix's trace is
    exact after one.

    Source: Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix, 1989; for networks, Ghorbani et
    al., An Investigation into Neural Net Optimization via Hessian Eigenvalue Density, ICML 2019, and PyHessian.

    Args:
        objective: The loss.
        probes: How many vectors to take the mean over.
        seed: Theirs.
        together: Vectors that share the graph of a gradient; more take memory, two copies of the weights each.
    """
    generator = torch.Generator().manual_seed(seed)
    like = objective.zeros()
    values: list[float] = []
    while len(values) < probes:
        count = min(together, probes - len(values))
        signs = [(2 * torch.randint(2, (objective.size,), generator=generator) - 1).to(like) for _ in range(count)]
        values += [_dot(z, product) for z, product in zip(signs, objective.hessian_products(signs), strict=True)]
    mean = math.fsum(values) / probes
    if probes == 1:
        return Trace(mean, None, probes)
    variance = math.fsum((value - mean) ** 2 for value in values) / (probes - 1)
    return Trace(mean, math.sqrt(variance / probes), probes)


def _dot(a: Tensor, b: Tensor) -> float:
    """The inner product, summed in float64."""
    return float((a * b).sum(dtype=torch.float64))
