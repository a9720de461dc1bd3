"""Training through defences whose options an attacker knows."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.defences.base import Linear
from mea_plugin.defences.registry import build_defences

__all__ = ['ThroughDefences']

_SIZES = 8  # of crops; a training has one or two
_KEPT = 0.5  # w


class ThroughDefences:
    """Shows a surrogate's output as the victim's answers are shown, so that it learns what was before the defences.

    With ``D`` the defences and ``G`` the surrogate, training compares, instead of ``G(lq)``,

        w G(lq) + (1 - w) D(G(lq)),   w = 1/2,

    with the answer ``D(V(lq))``. ``D`` is linear, along columns and rows (``operators`` of the defence), and its
    gradient exact. Of a detail that ``D`` weakens by a factor ``g`` the answer holds ``g``, and the surrogate learns
    ``g / (w + (1 - w) g)``: that is a regularised inverse. With ``w = 0`` nothing would hold what ``D`` removes
    altogether, and training drifts away in it. So it does with straight-through gradients of defences that round (JPEG,
    levels), which are not offered; as noise on the answers these hardly hurt a surrogate in the first place
    (docs/results/README.md has the numbers).

    A training crop is treated as if it were the whole answer: near its edges, and where the crop's offset is not a
    multiple of the defence's factor, that is an approximation.

    Args:
        entries: A list of defences as in option files, all such that can be imitated.
        where: The option, for errors.

    Raises:
        InputError: The list cannot be used, or one of them cannot be imitated.
    """

    def __init__(self, entries: Any, *, where: str) -> None:
        self._defences: list[Linear] = []
        for number, defence in enumerate(build_defences(entries, where=where)):
            if not isinstance(defence, Linear):
                what = f'{defence.describe()["type"]} cannot be imitated in training'
                raise InputError(what, where=f'{where}[{number}]', do='Remove it')
            self._defences.append(defence)
        self._operators = functools.lru_cache(_SIZES)(self._build)

    def __call__(self, output: Tensor) -> Tensor:
        """Float ``(N, C, H, W)`` of any range."""
        vertical, horizontal = self._operators(output.shape[-2], output.shape[-1], output.device, output.dtype)
        with torch.autocast(output.device.type, enabled=False):
            return _KEPT * output + (1 - _KEPT) * (vertical @ output @ horizontal)

    def _build(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        vertical, horizontal = torch.eye(height), torch.eye(width)
        for defence in self._defences:
            rows, columns = map(torch.from_numpy, defence.operators(height, width))
            vertical, horizontal = rows @ vertical, horizontal @ columns.T
        return vertical.to(device, dtype), horizontal.to(device, dtype)
