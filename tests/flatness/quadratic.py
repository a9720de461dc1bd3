"""Losses whose answers are known: quadratic functions of the weights, whatever the samples are."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mea_plugin.flatness import Objective


class Weights(nn.Module):
    """A network that answers with its weights, in two parts as a network's are."""

    def __init__(self, values):
        super().__init__()
        values = torch.as_tensor(values, dtype=torch.float64)
        self.first = nn.Parameter(values[:2].clone().view(1, 2))
        self.second = nn.Parameter(values[2:].clone())

    def forward(self, queries):
        return torch.cat([self.first.flatten(), self.second])


def quadratic(hessian, slope=None, at=None):
    """``L(w) = e.H e / 2 + g.e + 1`` with ``e = w - at``; the objective stands at ``at``."""
    hessian = torch.as_tensor(np.asarray(hessian), dtype=torch.float64)
    at = torch.zeros(len(hessian), dtype=torch.float64) if at is None else torch.as_tensor(at, dtype=torch.float64)
    slope = torch.zeros_like(at) if slope is None else torch.as_tensor(slope, dtype=torch.float64)

    def criterion(weights, _):
        e = weights - at
        return e @ hessian @ e / 2 + slope @ e + 1

    samples = torch.zeros(3, 3, 1, 1, dtype=torch.float64)
    return Objective(Weights(at), samples, samples, criterion, batch_size=2)


def symmetric(eigenvalues, seed=0):
    """A matrix with these eigenvalues in random directions."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))
    return basis @ np.diag(eigenvalues) @ basis.T


def largest_in_ball(hessian, slope, radius):
    """The maximum of ``e.H e / 2 + g.e`` for ``|e| <= radius``, from the multiplier of the constraint.

    At the maximum ``(m - H) e = g`` with ``m`` at least 0 and the largest eigenvalue; ``|e|`` falls as ``m`` grows.
    """
    values, basis = np.linalg.eigh(np.asarray(hessian, dtype=float))
    slope = basis.T @ np.asarray(slope, dtype=float)
    low = max(values[-1], 0.0)
    high = low + np.linalg.norm(slope) / radius + 1
    for _ in range(200):
        middle = (low + high) / 2
        longer = np.linalg.norm(slope / (middle - values)) > radius
        low, high = (middle, high) if longer else (low, middle)
    e = slope / (high - values)
    return float(e @ (values * e) / 2 + slope @ e)
