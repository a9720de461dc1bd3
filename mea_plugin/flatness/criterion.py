r"""The loss whose landscape is measured: a pixel loss and, on demand, the wavelet penalty, differentiable twice.

What each has to say about curvature. With ``f`` the network, ``J`` its Jacobian in the weights and ``r`` the residual,

.. math:: H = J^T \operatorname{diag}(\phi''(r)) J + \sum_k \phi'(r_k) \nabla^2 f_k .

``l1``: :math:`\phi'' = 0` almost everywhere, so the first term, which is what a residual near 0 costs, is not seen at
a point; only the bending of the network itself, weighted by the signs of the residuals, is left, and it may well be
negative. The kinks are still there at any finite distance: sharpness and landscapes see them, eigenvalue and trace do
not. ``charbonnier`` rounds the kinks off within ``epsilon`` and so shows both terms; ``mse`` has no kinks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.core.signatures import check_arguments
from mea_plugin.flatness.options import LossOptions
from mea_plugin.losses import HighFrequencyLoss
from mea_plugin.losses.wavelet import analysis, discrete_wavelet, smallest_size

__all__ = ['Criterion']

EPSILON = 1e-3  # a quarter of a grey level


class Criterion:
    r"""A mean over pixels, plus the wavelet penalty.

    .. math:: \operatorname{mean} \phi(p - t) + w \sum_j \operatorname{mean} \psi(D_j(p - t))

    with :math:`\phi` one of :math:`|r|` (``l1``), :math:`r^2` (``mse``), :math:`\sqrt{r^2 + \epsilon^2}`
    (``charbonnier``) and :math:`D_j` the detail bands of :class:`~mea_plugin.losses.HighFrequencyLoss`.
    :math:`\psi(d) = |d|`, as in training; with ``charbonnier`` it is :math:`\sqrt{d^2 + \epsilon^2}`, for the same
    reason. The bands come from the same operators as that loss's, but as matrix products that autograd differentiates
    as often as it is asked to.

    Args:
        kind: ``l1``, ``mse`` or ``charbonnier``.
        epsilon: Of ``charbonnier``, in units of the value range [0, 1].
        high_frequency: Arguments of ``HighFrequencyLoss``; None leaves the penalty out.

    Raises:
        ValueError: An argument of ``HighFrequencyLoss`` is out of range.
    """

    def __init__(
        self, kind: str = 'l1', *, epsilon: float = EPSILON, high_frequency: Mapping[str, Any] | None = None
    ) -> None:
        self.kind = kind
        self.epsilon = epsilon
        self.penalty = None if high_frequency is None else HighFrequencyLoss(**high_frequency)

    @classmethod
    def from_options(cls, options: Any, where: str) -> Criterion:
        """From the ``loss`` of an option file, see :class:`~mea_plugin.flatness.options.LossOptions`.

        Raises:
            InputError: One of them cannot be used.
        """
        found = LossOptions.parse(options, where)
        penalty, at = found.high_frequency, f'{where}.high_frequency'
        if penalty is not None:
            penalty = check_arguments(HighFrequencyLoss, penalty, at)
        try:
            return cls(found.type, epsilon=found.epsilon or EPSILON, high_frequency=penalty)
        except (TypeError, ValueError) as error:
            raise InputError(str(error).rstrip('.'), where=at) from error

    @property
    def smallest(self) -> int:
        """Height and width that images must have at least."""
        if self.penalty is None:
            return 1
        return smallest_size(int(discrete_wavelet(self.penalty.wave).dec_len), self.penalty.level)

    def describe(self) -> str:
        """One sentence for files and tables."""
        r = 'prediction - response'
        text = {'l1': f'mean |{r}|', 'mse': f'mean ({r})^2', 'charbonnier': f'mean sqrt(({r})^2 + {self.epsilon:g}^2)'}
        described = f'{text[self.kind]} of values in [0, 1]'
        if self.penalty is not None:
            smooth = f', its |.| rounded off by {self.epsilon:g}' if self.kind == 'charbonnier' else ''
            described += f' + HighFrequencyLoss({self.penalty.extra_repr()}){smooth}'
        return described

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of ``pred`` and ``target``, both ``(N, C, H, W)``: a float64 scalar, so that few digits are lost."""
        residual = pred - target
        loss = _mean(residual.square()) if self.kind == 'mse' else _mean(self._magnitude(residual))
        return loss if self.penalty is None else loss + self.penalty.loss_weight * self._details(residual)

    def _magnitude(self, values: Tensor) -> Tensor:
        return (values.square() + self.epsilon**2).sqrt() if self.kind == 'charbonnier' else values.abs()

    def _details(self, image: Tensor) -> Tensor:
        """The sum over levels of the mean magnitude of the detail coefficients of ``image`` ``(N, C, H, W)``."""
        assert self.penalty is not None
        total = image.new_zeros((), dtype=torch.float64)
        for _ in range(self.penalty.level):
            rows, columns = (
                _matrix(self.penalty.wave, size, self.penalty.mode, image.device, image.dtype)
                for size in image.shape[-2:]
            )
            bands = rows @ image @ columns.T  # low- and high-pass alternate along both axes
            image = bands[..., ::2, ::2]
            details = (bands[..., 1::2, :], bands[..., ::2, 1::2])
            count = sum(math.prod(each.shape) for each in details)
            total = total + sum(self._magnitude(each).sum(dtype=torch.float64) for each in details) / count
        return total


def _mean(values: Tensor) -> Tensor:
    return values.mean(dtype=torch.float64)


@lru_cache(maxsize=16)
def _matrix(wave: str, size: int, mode: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """One level of the transform along an axis as a dense matrix ``(2 m, size)``: crops are small."""
    forward = analysis(wave, size, mode, device, dtype).forward
    with torch.inference_mode(mode=False), torch.no_grad():
        out = torch.empty(forward.rows, size, device=device, dtype=dtype)
        forward.left(torch.eye(size, device=device, dtype=dtype), out)
    return out
