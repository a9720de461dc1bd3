"""A victim that is an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional
from mea_plugin.core.signatures import checked
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.files import check_shape, find_file
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, Wrapped, find_device
from mea_plugin.victims.onnx_file import read_onnx

__all__ = ['OnnxVictim']

_TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}


class OnnxVictim(NetworkVictim):
    """A network in an ONNX file: one input ``(N, 3, H, W)`` of float32 or float16, one output.

    ONNX holds a graph of known operators and no code, so it need not be trusted. Weights may lie in files beside it, or
    below its folder, and nowhere else; they belong to the fingerprint. ONNX Runtime itself opens no file, and operators
    of other people's libraries are never loaded.

    Args:
        file: The ``.onnx`` file, with dynamic height and width; the batch size may be fixed to 1.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the file's. On ``cuda``
            it needs onnxruntime-gpu; ``auto`` is the CPU without it.

    Raises:
        InputError: onnx, onnxruntime or its CUDA provider is missing, the file is damaged or names files elsewhere, its
            sizes are fixed, or it is no network from RGB image to RGB image.
    """

    @checked('victim')
    def __init__(self, file: str | Path, **options: Unpack[NetworkOptions]) -> None:
        runtime = import_optional('onnxruntime', "the type 'onnx'", where='victim.type')
        path = find_file(file)
        device = _device(runtime, options.get('device'))
        model, hashes = read_onnx(path)
        session = _session(runtime, model, path, device)
        image, output = _ends(session, path)
        if check_shape(image.shape, path):
            options['batch_size'] = 1
        options['device'] = str(device)
        dtype = _TYPES[image.type]

        def run(rgb: Tensor) -> Tensor:
            answer = session.run([output.name], {image.name: rgb.cpu().numpy().astype(dtype)})[0]
            return torch.from_numpy(answer).to(rgb.device)

        description = {'type': 'onnx', 'files': hashes}
        super().__init__(Wrapped(run), description, defaults={'name': path.stem}, **options)


def _device(runtime: Any, name: str | None) -> torch.device:
    has_cuda = 'CUDAExecutionProvider' in runtime.get_available_providers()
    if name in ('auto', None) and not has_cuda:
        return torch.device('cpu')
    device = find_device(name)
    if device.type != 'cpu' and not (device.type == 'cuda' and has_cuda):
        raise InputError(
            f'this onnxruntime cannot use {name}', where='victim.device', do='Type: pip install onnxruntime-gpu'
        )
    return device


def _session(runtime: Any, model: bytes, path: Path, device: torch.device) -> Any:
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3  # errors; they are raised as well
    settings.add_session_config_entry('session.load_model_format', 'ONNX')  # what was parsed is what is run
    settings.intra_op_num_threads = torch.get_num_threads()
    providers: list[Any] = ['CPUExecutionProvider']
    if device.type == 'cuda':
        providers.insert(0, ('CUDAExecutionProvider', {'device_id': device.index or 0}))
    try:
        return runtime.InferenceSession(model, settings, providers=providers)
    except Exception as error:  # its errors have no base class of their own
        raise InputError(
            f'onnxruntime {runtime.__version__} cannot load it ({one_line(error)})', where=path, do='Check the file'
        ) from error


def _ends(session: Any, path: Path) -> tuple[Any, Any]:
    """The one input and the one output."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for what, ends in (('inputs', inputs), ('outputs', outputs)):
        if len(ends) != 1:
            names = ', '.join(one.name for one in ends)
            raise InputError(f'it has {len(ends)} {what} ({names})', where=path, do='Use a network of one image')
    if inputs[0].type not in _TYPES:
        raise InputError(f'its input is a {inputs[0].type}', where=path, do='Use a network of float32 or float16')
    return inputs[0], outputs[0]
