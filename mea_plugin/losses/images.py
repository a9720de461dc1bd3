"""Checks that the losses share: the batches that they compare, and the weight that they are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ['accumulator', 'check_images', 'check_weight']

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_weight(loss_weight: float) -> float:
    """The weight of a loss as a float.

    Raises:
        ValueError: It is not a finite number of at least 0.
    """
    number = isinstance(loss_weight, (int, float)) and not isinstance(loss_weight, bool)
    if not number or not math.isfinite(loss_weight) or loss_weight < 0:
        raise ValueError(f'loss_weight is {loss_weight!r}. Use a finite number of at least 0')
    return float(loss_weight)


def check_images(pred: Tensor, target: Tensor) -> tuple[int, int]:
    """Height and width of two batches of images that can be compared.

    Args:
        pred: ``(N, C, H, W)``, float16, bfloat16, float32 or float64.
        target: The same shape, device and dtype (under autocast, the dtypes may differ).

    Raises:
        ValueError: Shape, dtype or device are not as described, or the batch is empty.
    """
    N, C, H, W = _sizes(pred, target)
    if pred.dtype not in _FLOATS or target.dtype not in _FLOATS:
        raise ValueError(f'pred is {pred.dtype} and target is {target.dtype}. Convert both to a float type')
    if pred.device != target.device:
        raise ValueError(f'pred is on {pred.device} and target is on {target.device}. Move one to the other')
    if pred.dtype != target.dtype and not _under_autocast(pred.device.type):
        raise ValueError(f'pred is {pred.dtype} and target is {target.dtype}. Convert one to the other')
    if N == 0 or C == 0 or H == 0 or W == 0:
        raise ValueError(f'pred is {tuple(pred.shape)}, an empty batch. Give at least one image')
    return H, W


def accumulator(pred: Tensor, target: Tensor) -> torch.dtype:
    """The dtype to compute in: float64 if one of the two has it, else float32."""
    return torch.float64 if torch.float64 in (pred.dtype, target.dtype) else torch.float32


def _sizes(pred: Tensor, target: Tensor) -> tuple[int, int, int, int]:
    """N, C, H and W of both."""
    if pred.dim() == 4 and target.dim() == 4:
        N, C, H, W = pred.shape
        n, c, h, w = target.shape
        # Number by number: torch 2.1 cannot trace the comparison of two symbolic shapes.
        if n == N and c == C and h == H and w == W:
            return N, C, H, W
    raise ValueError(
        f'pred is {tuple(pred.shape)} and target is {tuple(target.shape)}. Give both as (N, C, H, W), the same sizes'
    )


def _under_autocast(device: str) -> bool:
    """Whether autocast is on for the device, and so different float types may meet."""
    try:
        return torch.is_autocast_enabled(device)
    except TypeError:  # torch < 2.4 has one function per kind of device
        return torch.is_autocast_cpu_enabled() if device == 'cpu' else torch.is_autocast_enabled()
