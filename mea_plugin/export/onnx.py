"""A surrogate as ONNX."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import torch

from mea_plugin.core.packages import import_optional
from mea_plugin.export.program import Settled, make_program
from mea_plugin.export.surrogate import Surrogate
from mea_plugin.export.windows import window_mask

__all__ = ['OPSET', 'check_onnx', 'to_onnx']

OPSET = 17
"""The first with layer normalisation as one operator; ONNX Runtime reads it from 1.12 on, TensorRT from 8.6 on."""


def check_onnx() -> None:
    """Check that what writes ONNX and what runs it are installed.

    Raises:
        InputError: One is not.
    """
    for package in ('onnx', 'onnxruntime'):
        import_optional(package, 'ONNX', where='--format onnx')


def to_onnx(surrogate: Surrogate, metadata: dict[str, str], size: tuple[int, int]) -> bytes:
    """The program with dynamic batch size, height and width; ``input`` and ``output`` are its ends.

    Args:
        surrogate: What is exported.
        metadata: Goes into the model's ``metadata_props``.
        size: Height and width of the image it is traced with.
    """
    import onnx

    program = Settled(make_program(surrogate, torch.jit.script(window_mask)))
    options: dict[str, Any] = {}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:  # the other exporter needs onnxscript
        options['dynamo'] = False
    axes = {
        'input': {0: 'batch', 2: 'height', 3: 'width'},
        'output': {0: 'batch', 2: 'output_height', 3: 'output_width'},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / 'model.onnx')
        torch.onnx.export(
            program.eval(),
            (torch.rand(2, 3, *size),),
            file,
            opset_version=OPSET,
            input_names=['input'],
            output_names=['output'],
            dynamic_axes=axes,
            **options,
        )
        model = onnx.load(file)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
