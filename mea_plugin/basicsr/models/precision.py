"""Reduced precision for a training step: what runs in it, and the gradient scaler that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.core.errors import InputError, suggestion

__all__ = ['autocast', 'build_scaler', 'check_amp', 'forward_wide']

_DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


def check_amp(amp: Any, *, gpu: bool, where: str) -> None:
    """Refuse a precision that is unknown, or that the device does not have.

    Args:
        amp: ``train.amp``; None or False for none.
        gpu: Whether training runs on a GPU.
        where: The option it comes from, for errors.

    Raises:
        InputError: It cannot be used.
    """
    if not amp:
        return
    if amp not in _DTYPES:
        raise InputError(f'no precision {amp!r}', where=where, do=suggestion(str(amp), _DTYPES))
    if amp == 'float16' and not gpu:
        raise InputError('float16 needs a GPU, and this run has none', where=where, do='Use bfloat16, or remove amp')


def autocast(amp: str | None, device: torch.device) -> AbstractContextManager[Any]:
    """What forward and loss run in; nothing without ``amp``."""
    return torch.autocast(device.type, dtype=_DTYPES[amp]) if amp else nullcontext()


def forward_wide(network: nn.Module, images: Tensor) -> Tensor:
    """A network's output in float32 at least: what a loss makes of it would be rounded coarsely else."""
    output: Tensor = network(images)
    return output.to(torch.promote_types(output.dtype, torch.float32))


def build_scaler(amp: str | None) -> Any | None:
    """The gradient scaler for float16 on a GPU; None for a precision that needs none.

    torch < 2.3 has one for CUDA only, in another place.
    """
    if amp != 'float16':
        return None
    return torch.amp.GradScaler('cuda') if hasattr(torch.amp, 'GradScaler') else torch.cuda.amp.GradScaler()
