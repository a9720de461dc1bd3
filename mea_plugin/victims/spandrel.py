"""A victim that is a weight file whose architecture spandrel recognises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional
from mea_plugin.core.signatures import checked
from mea_plugin.core.weights import read_checkpoint, select
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.files import find_file
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, hash_weights

__all__ = ['SpandrelVictim']


class SpandrelVictim(NetworkVictim):
    """A weight file alone: spandrel finds out the network and its options from the names and shapes of its weights.

    The weights are read here and not by spandrel's own loader, which hands ``.pt`` files to ``torch.jit.load``, and
    with it the code in them. Images are padded to what spandrel says that the network needs.

    Args:
        file: A ``.pth`` or ``.safetensors`` file of a network from RGB to RGB. spandrel (MIT licence) knows ESRGAN and
            its kin, SwinIR, HAT, DAT and many others; its separate package of architectures under other licences
            is not used.
        trusted: Whether the file may run code; most need not.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the file's.

    Raises:
        InputError: spandrel is missing or does not know the weights, or they are of a network of something else.
    """

    @checked('victim')
    def __init__(self, file: str | Path, trusted: bool = False, **options: Unpack[NetworkOptions]) -> None:
        spandrel = import_optional('spandrel', "the type 'spandrel'", where='victim.type')
        path = find_file(file)
        state = select(spandrel.canonicalize_state_dict(read_checkpoint(path, trusted=trusted)), (), path)
        try:
            model = spandrel.ModelLoader(device='cpu').load_from_state_dict(state)
        except Exception as error:  # its own errors, and what networks raise on weights that do not fit
            raise InputError(
                f'spandrel {spandrel.__version__} does not know these weights ({one_line(error)})',
                where=path,
                do='Use type: basicsr, mmagic or python with the options of the network',
            ) from error
        channels = (model.input_channels, model.output_channels)
        if not isinstance(model, spandrel.ImageModelDescriptor) or channels != (3, 3):
            raise InputError(
                f'{model.architecture.name} is no network from RGB image to RGB image ({channels[0]} to {channels[1]} '
                f'channels, for {model.purpose})',
                where=path,
                do='Use a network of single images',
            )
        network = _Network(model)
        description = {'type': 'spandrel', 'architecture': str(model.architecture.id), 'state': hash_weights(network)}
        defaults: NetworkOptions = {'name': path.stem, 'multiple': model.size_requirements.multiple_of}
        super().__init__(network, description, defaults=defaults, **options)


class _Network(nn.Module):
    """The network with spandrel's padding around it."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.model = descriptor.model
        self._descriptor = descriptor

    def forward(self, image: Tensor) -> Tensor:
        return self._descriptor(image)
