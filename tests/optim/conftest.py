"""A small problem with a known gradient, and SAM written out in numpy, as the oracle of these tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

SHAPES = [(4, 3), (3, 5), (2, 2)]


class Problem:
    """``sum_i sum(a_i * sin(w_i)) + sum_i sum(w_i^4) / 4``: smooth, not convex, gradient by hand below."""

    def __init__(self, shapes, dtype):
        rng = np.random.default_rng(3)
        self.a = [rng.normal(size=shape) for shape in shapes]
        start = [rng.normal(size=shape) for shape in shapes]
        self.params = [torch.nn.Parameter(torch.tensor(value, dtype=dtype)) for value in start]

    def loss(self, params=None):
        terms = zip(self.a, self.params if params is None else params, strict=True)
        return sum((torch.tensor(a, dtype=w.dtype) * w.sin()).sum() + (w**4).sum() / 4 for a, w in terms)

    def gradients(self, weights):
        """The gradient in numpy at a list of arrays."""
        return [a * np.cos(w) + w**3 for a, w in zip(self.a, weights, strict=True)]

    def closure(self, optimizer):
        def run():
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        return run

    def weights(self):
        return [param.detach().double().numpy().copy() for param in self.params]


def ascent(weights, grads, rho, adaptive):
    """SAM's way up in numpy; ``rho`` and ``adaptive`` per array."""
    stretch = [np.abs(w) if flag else np.ones_like(w) for w, flag in zip(weights, adaptive, strict=True)]
    norm = np.sqrt(sum(np.sum((t * g) ** 2) for t, g in zip(stretch, grads, strict=True)))
    return [w + r * t**2 * g / norm if norm else w for w, r, t, g in zip(weights, rho, stretch, grads, strict=True)]


@pytest.fixture
def problem():
    """Builds a :class:`Problem`."""

    def build(shapes=SHAPES, dtype=torch.float64):
        return Problem(shapes, dtype)

    return build


@pytest.fixture
def climb_in_numpy():
    return ascent


@pytest.fixture
def network():
    """Builds a small network with batch norm, dropout and spectral norm, float32, and data for it."""

    def build():
        torch.manual_seed(7)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.utils.spectral_norm(torch.nn.Conv2d(8, 8, 3, padding=1)),
            torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(8, 3, 3, padding=1)),
        )
        return net, torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)

    return build
