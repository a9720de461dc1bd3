"""A victim that is a program of ``torch.export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.core.signatures import checked
from mea_plugin.victims.checks import check_trusted, one_line
from mea_plugin.victims.files import check_shape, find_file
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, Wrapped, find_device

__all__ = ['TorchExportVictim']


class TorchExportVictim(NetworkVictim):
    """A network saved by ``torch.export.save``, with dynamic height and width; the batch size may be fixed to 1.

    A file belongs to the torch that wrote it: other versions may refuse it.

    Args:
        file: The ``.pt2`` file.
        trusted: Must be true. ``torch.export.load`` unpickles what the file tells it to unpickle, without torch's
            protection, and so executes code in it.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the file's.

    Raises:
        InputError: It is not trusted, no exported program that this torch reads, its sizes are fixed, or it is no
            network from RGB image to RGB image.
    """

    @checked('victim')
    def __init__(self, file: str | Path, trusted: bool = False, **options: Unpack[NetworkOptions]) -> None:
        path = find_file(file)
        check_trusted(trusted, f'loading the exported program in {file} can run code', 'victim.file')
        try:
            program = torch.export.load(path)
        except Exception as error:  # zip, pickle and JSON errors, and torch's own
            raise InputError(
                f'torch {torch.__version__} cannot load it ({one_line(error)})',
                where=path,
                do='Save it with torch.export.save of the same torch',
            ) from error
        image = _input_of(program, path)
        if check_shape(image.shape, path):
            options['batch_size'] = 1
        module = _on_device(program, find_device(options.get('device')))
        network = Wrapped(lambda rgb: module(rgb.to(image.dtype)))
        description = {'type': 'torch_export', 'file': hash_file(path)}
        super().__init__(network, description, defaults={'name': path.stem}, **options)


def _input_of(program: Any, path: Path) -> Tensor:
    """The fake tensor that stands for the one input."""
    names = program.graph_signature.user_inputs
    found = [node.meta.get('val') for node in program.graph.nodes if node.op == 'placeholder' and node.name in names]
    if len(found) != 1 or not isinstance(found[0], Tensor):
        raise InputError(f'it takes {len(found)} inputs', where=path, do='Export a network of one image tensor')
    return found[0]


def _on_device(program: Any, device: torch.device) -> Any:
    """The program as a module whose weights, and tensors made on the way where torch can tell, are on the device."""
    try:
        from torch.export.passes import move_to_device_pass
    except ImportError:  # before torch 2.7
        return program.module().to(device)
    return move_to_device_pass(program, str(device)).module()
