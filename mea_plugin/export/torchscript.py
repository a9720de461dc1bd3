"""A surrogate as TorchScript."""

from __future__ import annotations

import io
import json

import torch

from mea_plugin.core.errors import InputError
from mea_plugin.export.program import ImageProgram, Settled, portable
from mea_plugin.export.surrogate import Surrogate
from mea_plugin.export.windows import window_mask

__all__ = ['check_torchscript', 'to_torchscript']


def check_torchscript() -> None:
    """Check that this torch still writes TorchScript.

    Raises:
        InputError: It does not.
    """
    if not all(hasattr(torch.jit, name) for name in ('trace', 'script', 'save')):
        raise InputError(
            f'torch {torch.__version__} has no TorchScript any more',
            where='--format torchscript',
            do='Use torch_export or onnx',
        )


def to_torchscript(surrogate: Surrogate, metadata: dict[str, str], size: tuple[int, int]) -> bytes:
    """The network traced, what is around it scripted.

    Scripted parts see each image's own size and device, traced ones what depends on them; the networks themselves are
    Python that cannot be scripted.

    Args:
        surrogate: What is exported.
        metadata: Goes into the archive as ``extra/metadata.json``.
        size: Height and width of the image it is traced with.
    """
    wiring = surrogate.victim.wiring
    network = portable(wiring.network, torch.jit.script(window_mask))
    example = torch.rand(2, 3, *size)
    with torch.no_grad():
        traced = torch.jit.trace(Settled(network), example, check_trace=False)
    script = torch.jit.script(ImageProgram(traced, surrogate).eval())
    buffer = io.BytesIO()
    torch.jit.save(script, buffer, _extra_files={'metadata.json': json.dumps(metadata)})
    return buffer.getvalue()
