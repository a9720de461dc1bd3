"""Tensors that are kept for each parameter from step to step."""

from __future__ import annotations

import torch
from torch import Tensor

from mea_plugin.optim.ascent import Bundle, as_real

__all__ = ['PerParameter']


class PerParameter:
    """One tensor per parameter, of its shape and on its device; complex ones as pairs of real numbers.

    Args:
        widened: Keep float16 and bfloat16 as float32. Otherwise tensors have their parameter's type.
    """

    def __init__(self, *, widened: bool = False) -> None:
        self.tensors: dict[Tensor, Tensor] = {}
        self._widened = widened

    def reserve(self, bundles: list[Bundle]) -> list[list[Tensor]]:
        """Tensors for these bundles, with whatever they hold; those of the last step where they fit.

        Memory of parameters that are in no bundle is given back.

        Returns:
            For each bundle, its tensors in order.
        """
        last, self.tensors = self.tensors, {}
        return [[self._one(owner, param, last) for owner, param in _pairs(bundle)] for bundle in bundles]

    def find(self, bundles: list[Bundle]) -> list[list[Tensor]]:
        """What was kept for these bundles; zeros for a parameter that had none."""
        found: list[list[Tensor]] = []
        for bundle in bundles:
            found.append([])
            for owner, param in _pairs(bundle):
                if owner not in self.tensors:
                    self.tensors[owner] = torch.zeros_like(param, dtype=self._type(param))
                found[-1].append(self.tensors[owner])
        return found

    def load(self, values: dict[Tensor, Tensor]) -> None:
        """Keep copies of these values, and nothing else, for these parameters."""
        self.tensors = {}
        for owner, value in values.items():
            param = as_real(owner)
            self.tensors[owner] = torch.empty_like(param, dtype=self._type(param)).copy_(value)

    def _one(self, owner: Tensor, param: Tensor, last: dict[Tensor, Tensor]) -> Tensor:
        kept, dtype = last.pop(owner, None), self._type(param)
        if kept is None or (kept.shape, kept.dtype, kept.device) != (param.shape, dtype, param.device):
            kept = torch.empty_like(param, dtype=dtype)
        self.tensors[owner] = kept
        return kept

    def _type(self, param: Tensor) -> torch.dtype:
        return torch.promote_types(param.dtype, torch.float32) if self._widened else param.dtype


def _pairs(bundle: Bundle) -> list[tuple[Tensor, Tensor]]:
    return list(zip(bundle.owners, bundle.params, strict=True))
