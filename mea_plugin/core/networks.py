"""What both toolboxes' networks need: arguments checked against a signature, and any image size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mea_plugin.core.errors import InputError, suggestion

__all__ = ['check_call', 'forward_padded', 'probe_size']

_PROBE = 16


def check_call(target: Any, arguments: Mapping[str, Any], where: str, *, given: tuple[str, ...] = ()) -> None:
    """Check that ``target(**arguments)`` fits its signature, but for what the caller gives itself.

    Raises:
        InputError: An argument is unknown (the nearest is named) or missing.
    """
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [k for k, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and k not in given]
    for key in arguments:
        if key not in named and not takes_any:
            raise InputError(f"unknown option '{key}'", where=where, do=suggestion(key, named))
    for key in named:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments:
            raise InputError(f"the option '{key}' is missing", where=where, do=f'Add {key}')


def forward_padded(network: nn.Module, lq: Tensor, multiple: int) -> Tensor:
    """Run a network on ``lq``, padded to a multiple of its window and the output cropped back.

    The padding mirrors the image, or repeats its edge where the image is too small to be mirrored.

    Args:
        network: Maps ``(N, C, H, W)`` to ``(N, C, s * H, s * W)``, with ``s`` an integer.
        lq: ``(N, C, H, W)``.
        multiple: What H and W are padded to a multiple of.
    """
    height, width = lq.shape[-2:]
    pad_h, pad_w = -height % multiple, -width % multiple
    if not pad_h and not pad_w:
        return network(lq)
    mode = 'reflect' if pad_h < height and pad_w < width else 'replicate'
    output = network(F.pad(lq, (0, pad_w, 0, pad_h), mode))
    scale = output.shape[-2] // (height + pad_h)
    return output[..., : height * scale, : width * scale]


def probe_size(multiple: int, least: int = _PROBE) -> int:
    """Height and width of the image that shows what a network does: the smallest multiple that is large enough.

    It stays small for networks with a large multiple: pix2pix's U-Net takes multiples of 256.
    """
    return -(-least // multiple) * multiple
