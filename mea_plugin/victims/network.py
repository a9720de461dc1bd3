"""What every victim that is a network here has in common: batches, uint8 in and out, its scale, its fingerprint."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mea_plugin.errors import InputError
from mea_plugin.files import hash_array, hash_json
from mea_plugin.networks import forward_padded, probe_size
from mea_plugin.victims.checks import check_whole

__all__ = ['NetworkVictim', 'network_fingerprint']


class NetworkVictim:
    """A network as a black box: uint8 RGB in, uint8 RGB out, always in evaluation mode.

    Args:
        network: Maps float ``(N, 3, H, W)`` to ``(N, 3, s * H, s * W)``; its weights are loaded.
        name: How tables call it.
        fingerprint: See :class:`~mea_plugin.victims.base.Victim`.
        multiple: What height and width are padded to a multiple of.
        scale: Checked against what the network does; found out when None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``...
        batch_size: Images of equal size that are answered together.

    Raises:
        InputError: No such device, a batch size or multiple below 1, another scale, or no network from RGB image to RGB
            image.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        fingerprint: str,
        multiple: int = 1,
        scale: int | None = None,
        device: str = 'auto',
        batch_size: int = 8,
    ) -> None:
        self.name = name
        self.device = _device(device)
        self.batch_size = check_whole('batch_size', batch_size)
        self.fingerprint = fingerprint
        self._multiple = check_whole('multiple', multiple)
        self._network = network.to(self.device).eval().requires_grad_(False)
        self.scale = self._find_scale()
        if scale is not None and scale != self.scale:
            raise InputError(
                f'scale is {scale}, but {self.name} magnifies {self.scale} times',
                where='victim.scale',
                do='Correct the scale or the network',
            )

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Answer images of any sizes; neighbours of equal size go through the network together."""
        answers: list[np.ndarray] = []
        for _, group in itertools.groupby(images, key=lambda image: image.shape):
            same = list(group)
            for start in range(0, len(same), self.batch_size):
                answers += self._answer(np.stack(same[start : start + self.batch_size]))
        return answers

    def _forward(self, rgb: Tensor) -> Tensor:
        """From RGB to RGB, both in [0, 1]."""
        return forward_padded(self._network, rgb, self._multiple)

    @torch.inference_mode()
    def _answer(self, batch: np.ndarray) -> list[np.ndarray]:
        rgb = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        output = self._forward(rgb).clamp(0, 1).mul(255).round().to(torch.uint8)
        return list(output.permute(0, 2, 3, 1).cpu().numpy())

    def _find_scale(self) -> int:
        size = probe_size(self._multiple)
        try:
            answer = self._answer(np.zeros((1, size, size, 3), np.uint8))[0]
        except Exception as error:  # networks raise what they like
            reason = str(error).partition('\n')[0] or type(error).__name__
            raise InputError(
                f'{self.name} fails on {size}x{size} pixels ({reason})',
                where='victim',
                do='Use a network from RGB image to RGB image',
            ) from error
        scale, rest = divmod(answer.shape[0], size)
        if rest or answer.shape != (scale * size, scale * size, 3):
            raise InputError(
                f'{self.name} turns {size}x{size} pixels into an array {answer.shape}',
                where='victim',
                do='Use a network from RGB image to RGB image',
            )
        return scale


def network_fingerprint(description: Mapping[str, Any], network: nn.Module) -> str:
    """A hash of a description and of every weight: where the file lies and how it was saved does not matter."""
    state = {key: hash_array(value.cpu().numpy()) for key, value in network.state_dict().items()}
    return hash_json({**description, 'state': state})


def _device(name: str) -> torch.device:
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device '{name}' here", where='victim.device', do='Use auto or cpu') from error
    return device
