"""Training through defences whose options an attacker knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mea_plugin.defences.known import can_be_imitated
from mea_plugin.defences.registry import build_defences
from mea_plugin.errors import InputError

__all__ = ['ThroughDefences']


class ThroughDefences:
    """Shows a surrogate's output as the victim's answers are shown, so that it learns what was before the defences.

    With ``D`` the defences and ``G`` the surrogate, training compares ``D(G(lq))``, instead of ``G(lq)``, with the
    answer ``D(V(lq))``. The gradient of ``D``, which rounds, is taken for that of the identity (straight through;
    Bengio et al., 2013), as attacks on defences without a gradient do (BPDA; Athalye et al., ICML 2018, section 4.1)::

        seen = output + stop_gradient(D(output) - output)

    JPEG's blocks begin at the corner of a training crop, not where they did in the answer: an approximation.

    Args:
        entries: A list of defences as in option files, all such that can be imitated.
        low: The value of grey level 0 in outputs.
        high: That of 255.
        channel_order: Of outputs: ``rgb`` or ``bgr``.
        where: The option, for errors.

    Raises:
        InputError: The list cannot be used, or one of them cannot be imitated.
    """

    def __init__(
        self, entries: Any, *, low: float = 0.0, high: float = 1.0, channel_order: str = 'rgb', where: str
    ) -> None:
        self._defences = build_defences(entries, where=where)
        for number, defence in enumerate(self._defences):
            if not can_be_imitated(defence):
                what = f'{defence.describe()["type"]} cannot be imitated in training'
                raise InputError(what, where=f'{where}[{number}]', do='Remove it')
        self._low, self._width = float(low), float(high) - float(low)
        self._channels = slice(None, None, -1 if channel_order == 'bgr' else 1)

    def __call__(self, output: Tensor) -> Tensor:
        """Float ``(N, 3, H, W)``, on any device; with the output's gradient."""
        return output + (self._defended(output.detach()) - output).detach()

    def _defended(self, output: Tensor) -> Tensor:
        grey = ((output.float() - self._low) * (255 / self._width)).round().clamp(0, 255).byte()
        images = grey.permute(0, 2, 3, 1).cpu().numpy()[..., self._channels]
        for defence in self._defences:
            images = np.stack([defence.apply(image, image, 0) for image in np.ascontiguousarray(images)])
        seen = torch.from_numpy(np.ascontiguousarray(images[..., self._channels])).to(output.device)
        return (seen.permute(0, 3, 1, 2).to(output.dtype) * (self._width / 255) + self._low).contiguous()
