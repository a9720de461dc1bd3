"""A surrogate as one program from RGB in [0, 1] to RGB in [0, 1] for images of any size."""

from __future__ import annotations

import copy
import keyword
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mea_plugin.export.surrogate import Surrogate
from mea_plugin.export.windows import PortableBlock, is_swin_block, window_mask

__all__ = ['ImageProgram', 'Settled', 'make_program', 'portable', 'program_metadata']


class ImageProgram(nn.Module):
    """A network from RGB to RGB, both in [0, 1], that pads its image and crops its answer itself.

    It does what :class:`~mea_plugin.victims.network.NetworkVictim` does around a network, bit for bit, in operations
    that can be scripted, traced and exported alike for every size. Values below 0 or above 1 are not clipped.

    Args:
        network: Maps the network's own images to its own images.
        surrogate: What it takes and gives.
    """

    def __init__(self, network: nn.Module, surrogate: Surrogate) -> None:
        super().__init__()
        wiring = surrogate.victim.wiring
        self.network = network
        self.multiple, self.scale = wiring.multiple, surrogate.victim.scale
        self.low, self.high = wiring.value_range
        self.usual, self.bgr = wiring.value_range == (0.0, 1.0), wiring.channel_order == 'bgr'

    def forward(self, image: Tensor) -> Tensor:
        """From ``(N, 3, H, W)`` to ``(N, 3, s * H, s * W)``."""
        height, width = image.size(2), image.size(3)
        if self.bgr:
            image = image.flip(1)
        if not self.usual:
            image = image * (self.high - self.low) + self.low
        if self.multiple > 1:
            image = self.pad(image)
        output = self.network(image)
        if self.multiple > 1:
            output = output[:, :, : height * self.scale, : width * self.scale]
        if not self.usual:
            output = (output - self.low) / (self.high - self.low)
        return output.flip(1) if self.bgr else output

    def pad(self, image: Tensor) -> Tensor:
        """Mirror the image, or repeat its edge where it is too small to be mirrored, up to a multiple.

        By index: which of the two it is, is then a matter of values, and no branch that a tracer could not follow.
        """
        height, width, multiple = image.size(2), image.size(3), self.multiple
        rows = torch.arange((height + multiple - 1) // multiple * multiple, device=image.device)
        columns = torch.arange((width + multiple - 1) // multiple * multiple, device=image.device)
        mirrored_rows = (height - 1) - (rows - (height - 1)).abs()
        mirrored_columns = (width - 1) - (columns - (width - 1)).abs()
        large = (mirrored_rows.min() >= 0) & (mirrored_columns.min() >= 0)
        rows = torch.where(large, mirrored_rows, torch.clamp(rows, max=height - 1))
        columns = torch.where(large, mirrored_columns, torch.clamp(columns, max=width - 1))
        return image.index_select(2, rows).index_select(3, columns)


class Settled(nn.Module):
    """Runs a network while nothing that is where it belongs is moved there again.

    ``mean.to(image)`` would be recorded with the device of the tracer's example, and the file then fail on any other.

    Args:
        network: What is traced or exported.
        contiguous: For ``torch.export``: whether ``reshape`` and ``contiguous`` always copy. They copy where they must,
            and finding that out ties the program to sizes like the example's.
    """

    def __init__(self, network: nn.Module, *, contiguous: bool = False) -> None:
        super().__init__()
        self.network = network
        self._contiguous = contiguous

    def forward(self, image: Tensor) -> Tensor:
        """As the network's."""
        with _Settling(self._contiguous):
            return self.network(image)


class _Settling(TorchFunctionMode):
    def __init__(self, contiguous: bool) -> None:
        super().__init__()
        self._contiguous = contiguous

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (torch.Tensor.to, torch.Tensor.type_as) and len(args) == 2 and not kwargs:
            tensor, other = args
            if isinstance(other, Tensor) and (tensor.dtype, tensor.device) == (other.dtype, other.device):
                return tensor
        if self._contiguous and func in (torch.Tensor.reshape, torch.Tensor.contiguous) and not kwargs:
            copied = args[0].clone(memory_format=torch.contiguous_format)
            return copied.view(*args[1:]) if func is torch.Tensor.reshape else copied
        return func(*args, **(kwargs or {}))


def portable(network: nn.Module, mask: Callable[[Tensor, int, int], Tensor] = window_mask) -> nn.Module:
    """A copy of a network that answers alike, and whose record at one size is right at every size and on any device.

    Args:
        network: With its weights, in evaluation mode.
        mask: See :class:`~mea_plugin.export.windows.PortableBlock`.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if is_swin_block(child):
                setattr(module, name, PortableBlock(child, mask))
    for module in network.modules():
        _register_tensors(module)
        _rename_keywords(module)
    return network.eval().requires_grad_(False)


def make_program(surrogate: Surrogate, mask: Callable[[Tensor, int, int], Tensor] = window_mask) -> ImageProgram:
    """The program of a surrogate; see :func:`portable`."""
    return ImageProgram(portable(surrogate.victim.wiring.network, mask), surrogate).eval()


def program_metadata(surrogate: Surrogate) -> dict[str, str]:
    """What every program file says about itself: the same in each format."""
    return {
        **surrogate.metadata(),
        'value_range': '[0, 1]',
        'channel_order': 'rgb',
        'multiple': '1',
        'pads_to_multiple': str(surrogate.victim.wiring.multiple),
    }


def _register_tensors(module: nn.Module) -> None:
    """Make buffers of plain tensors among the attributes (EDSR's mean), so that they move with the weights."""
    for name, value in list(vars(module).items()):
        if isinstance(value, Tensor):
            delattr(module, name)
            module.register_buffer(name, value.clone(), persistent=False)


def _rename_keywords(module: nn.Module) -> None:
    """Rename parts called like a word of Python (``in``, MMCV's instance norm): TorchScript could not read its file."""
    for name in [name for name in module._modules if keyword.iskeyword(name)]:
        module._modules[f'{name}_'] = module._modules.pop(name)
        for key in [key for key, value in vars(module).items() if value == name and isinstance(value, str)]:
            setattr(module, key, f'{name}_')
