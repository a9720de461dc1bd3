"""A victim that is a TorchScript file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.core.signatures import checked
from mea_plugin.victims.checks import check_trusted, one_line
from mea_plugin.victims.files import find_file
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, find_device

__all__ = ['TorchScriptVictim']

_optimized_execution = vars(torch.jit)['optimized_execution']  # public, but not in torch's `__all__`


class TorchScriptVictim(NetworkVictim):
    """A network saved by ``torch.jit.save``, scripted or traced.

    Args:
        file: The file, usually ``.pt``.
        trusted: Must be true. A TorchScript file is a program with a pickle around it: torch's documentation of
            ``torch.jit.load`` warns that a malicious one executes arbitrary code while it is loaded.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the file's.

    Raises:
        InputError: It is not trusted, no TorchScript, or no network from RGB image to RGB image.
    """

    @checked('victim')
    def __init__(self, file: str | Path, trusted: bool = False, **options: Unpack[NetworkOptions]) -> None:
        path = find_file(file)
        check_trusted(trusted, f'loading the TorchScript in {file} can run code', 'victim.file')
        device = find_device(options.get('device'))
        try:
            # Onto its device at once: the weights of a frozen script are constants, which nothing can move later.
            script = torch.jit.load(str(path), map_location=device)
        except Exception as error:  # RuntimeError, and whatever its parts raise
            raise InputError(
                f'cannot be loaded as TorchScript ({one_line(error)})', where=path, do='Save it with torch.jit.save'
            ) from error
        description = {'type': 'torchscript', 'file': hash_file(path)}
        super().__init__(_Script(script), description, defaults={'name': path.stem}, **options)


class _Script(nn.Module):
    """Runs a script as it was saved.

    The optimising executor specialises on the sizes of the first images and may then run other kernels (a GPU fuses
    them), so that the same image could get another answer in the last bits.
    """

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, image: Tensor) -> Tensor:
        with _optimized_execution(False):
            return self.script(image)
