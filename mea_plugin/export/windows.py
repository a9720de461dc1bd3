"""SwinIR's blocks without what depends on the size of the image that they were traced with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ['PortableBlock', 'is_swin_block', 'window_mask']


def is_swin_block(module: nn.Module) -> bool:
    """Whether it is BasicSR's or MMagic's block of SwinIR."""
    return type(module).__name__ == 'SwinTransformerBlock' and hasattr(module, 'calculate_mask')


class PortableBlock(nn.Module):
    """A SwinIR block of either toolbox: the same weights under the same names, the same numbers for every image size.

    The toolboxes' own forward pass cannot be traced: its attention mask and its batch size are computed with Python's
    numbers, so that a tracer records those of its example, and other sizes get wrong answers.

    Args:
        block: The toolbox's block; its parts are used, not copied.
        mask: :func:`window_mask`, or the same as a script where a tracer would record the device of its example.
    """

    def __init__(self, block: nn.Module, mask: Callable[[Tensor, int, int], Tensor]) -> None:
        super().__init__()
        parts: Any = block
        self.norm1, self.attn, self.norm2, self.mlp = parts.norm1, parts.attn, parts.norm2, parts.mlp
        self.window_size, self.shift_size = int(parts.window_size), int(parts.shift_size)
        self._mask = mask

    def forward(self, x: Tensor, x_size: tuple[int, int]) -> Tensor:
        """From ``(N, H * W, C)`` to the same; H and W are multiples of the window.

        Stochastic depth is left out: it does nothing in evaluation mode.
        """
        height, width = x_size
        count, _, channels = x.shape
        size, shift = self.window_size, self.shift_size
        rows, columns = height // size, width // size
        image = self.norm1(x).view(count, height, width, channels)
        mask = None
        if shift > 0:
            image = torch.roll(image, shifts=(-shift, -shift), dims=(1, 2))
            mask = self._mask(image, size, shift)
        windows = image.view(count, rows, size, columns, size, channels).permute(0, 1, 3, 2, 4, 5)
        windows = self.attn(windows.contiguous().view(-1, size * size, channels), mask=mask)
        image = windows.view(count, rows, columns, size, size, channels).permute(0, 1, 3, 2, 4, 5)
        image = image.contiguous().view(count, height, width, channels)
        if shift > 0:
            image = torch.roll(image, shifts=(shift, shift), dims=(1, 2))
        x = x + image.view(count, height * width, channels)
        return x + self.mlp(self.norm2(x))


def window_mask(image: Tensor, window: int, shift: int) -> Tensor:
    """What keeps pixels apart that only the cyclic shift has brought into one window.

    The image is cut into three bands each way, the last two being the last ``window`` and the last ``shift`` pixels.

    Args:
        image: ``(N, H, W, C)``, for its size, device and dtype.
        window: The window's side.
        shift: Of the cyclic shift, in pixels.

    Returns:
        ``(windows, window**2, window**2)``: 0 within a region, -100 between two.
    """
    height, width = image.size(1), image.size(2)
    rows = torch.arange(height, device=image.device)
    columns = torch.arange(width, device=image.device)
    row_band = (rows >= height - window).to(torch.int64) + (rows >= height - shift).to(torch.int64)
    column_band = (columns >= width - window).to(torch.int64) + (columns >= width - shift).to(torch.int64)
    region = 3 * row_band.unsqueeze(1) + column_band.unsqueeze(0)
    region = region.view(height // window, window, width // window, window).permute(0, 2, 1, 3)
    region = region.reshape(-1, window * window)
    return (region.unsqueeze(1) != region.unsqueeze(2)).to(image.dtype) * -100.0
