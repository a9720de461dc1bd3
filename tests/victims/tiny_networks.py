"""The smallest networks for tests of victims, and what they should answer; also imported as an entry."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Upscaler(nn.Module):
    """Two 3x3 convolutions and a pixel shuffle: x2, with a receptive field of radius 2."""

    radius = 2

    def __init__(self, width: int = 6, scale: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, image: Tensor) -> Tensor:
        return self.shuffle(self.second(torch.relu(self.first(image)))) + 0.5


def network(seed: int = 3, **options) -> Upscaler:
    """With weights that give mid-tones."""
    torch.manual_seed(seed)
    return Upscaler(**options).eval()


def not_a_network(size: int = 3) -> int:
    """For refusals."""
    return size


def fails() -> nn.Module:
    """Likewise."""
    raise RuntimeError('no such thing\nand more')


def expected(net, image: np.ndarray, *, low: float = 0, high: float = 1, bgr: bool = False) -> np.ndarray:
    """The network's own answer in grey levels, not rounded."""
    order = [2, 1, 0] if bgr else [0, 1, 2]
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., order])).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        answer = (net(pixels * (high - low) + low)[0].permute(1, 2, 0) - low) / (high - low)
    return answer.clamp(0, 1).mul(255).numpy()[..., order]
