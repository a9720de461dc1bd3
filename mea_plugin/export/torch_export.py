"""A surrogate as a program of ``torch.export``."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mea_plugin.core.errors import InputError
from mea_plugin.export.program import Settled, make_program
from mea_plugin.export.surrogate import Surrogate

__all__ = ['check_torch_export', 'to_torch_export']


def check_torch_export() -> None:
    """Check that this torch has ``torch.export``.

    Raises:
        InputError: It does not.
    """
    if not hasattr(torch, 'export') or not hasattr(torch.export, 'save'):
        raise InputError(
            f'torch {torch.__version__} has no torch.export.save', where='--format torch_export', do='Update torch'
        )


def to_torch_export(surrogate: Surrogate, metadata: dict[str, str], size: tuple[int, int]) -> bytes:
    """The program with dynamic height and width, and a dynamic batch size where this torch can.

    Args:
        surrogate: What is exported.
        metadata: Goes into the archive as the extra file ``metadata.json``.
        size: Height and width of the image it is exported with.
    """
    with torch.no_grad():
        program = _export(make_program(surrogate), size)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={'metadata.json': json.dumps(metadata)})
    return buffer.getvalue()


def _export(program: nn.Module, size: tuple[int, int]) -> Any:
    export: Callable[..., Any] = torch.export.export
    if not hasattr(torch.export, 'Dim'):  # torch 2.1, which also fixes a convolution's batch size
        image = torch.rand(1, 3, *size)
        dynamic_dim: Any = vars(torch.export)['dynamic_dim']
        return export(program, (image,), constraints=[dynamic_dim(image, axis) for axis in (2, 3)])
    # Odd, so that it is padded and cropped; two images, since one is a size of its own.
    image = torch.rand(2, 3, size[0] + 1, size[1] + 1)
    kinds: Any = torch.export.Dim
    axes = {axis: getattr(kinds, 'DYNAMIC', None) or kinds(name) for axis, name in {0: 'n', 2: 'h', 3: 'w'}.items()}
    options: dict[str, Any] = {'dynamic_shapes': (axes,)}
    # What torch cannot prove for all sizes, that the crop is no larger than the answer for example, is checked when the
    # program runs.
    deferred = 'prefer_deferred_runtime_asserts_over_guards'
    if deferred in inspect.signature(export).parameters:
        options[deferred] = True
    with _any_size():
        return export(Settled(program, contiguous=True), (image,), **options)


@contextlib.contextmanager
def _any_size() -> Any:
    """Let torch not tell images of one window, or one pixel at the bottom of a U-Net, from larger ones."""
    from torch.fx.experimental import _config as config

    patch: Any = getattr(config, 'patch', None)
    if patch is None or not hasattr(config, 'backed_size_oblivious'):  # before torch 2.7
        yield
        return
    with patch(backed_size_oblivious=True):
        yield
