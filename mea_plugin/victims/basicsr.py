"""A victim that is any of BasicSR's networks with its weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mea_plugin.basicsr.networks import build_network, forward_padded, load_weights, size_multiple
from mea_plugin.errors import InputError
from mea_plugin.files import hash_array, hash_json

__all__ = ['BasicSRVictim']


class BasicSRVictim:
    """A BasicSR network as a black box: uint8 RGB in, uint8 RGB out, always in evaluation mode.

    Args:
        network_g: ``type`` and arguments of any network that BasicSR has registered, as in its option files.
        weights: The ``.pth`` file.
        name: How tables call it; by default the network's type.
        param_key: Which weights of the file: ``params_ema`` or ``params``; by default the first of them that is there.
        scale: Checked against what the network does; found out when left away.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``...
        batch_size: Images of equal size that are answered together.

    Raises:
        InputError: The network cannot be built, the weights do not fit it, or its scale is another.
    """

    def __init__(
        self,
        network_g: Mapping[str, Any],
        weights: str | Path,
        name: str | None = None,
        param_key: str | None = None,
        scale: int | None = None,
        device: str = 'auto',
        batch_size: int = 8,
    ) -> None:
        self.name = name or str(network_g.get('type'))
        self.device = _device(device)
        if batch_size < 1:
            raise InputError(f'batch_size is {batch_size}', where='victim.batch_size', do='Give 1 or more')
        self.batch_size = batch_size
        self._multiple = size_multiple(network_g)
        network = build_network(network_g, where='victim.network_g')
        load_weights(network, weights, param_keys=(param_key,) if param_key else ('params_ema', 'params'))
        self.fingerprint = _fingerprint(network_g, network)
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

    @torch.inference_mode()
    def _answer(self, batch: np.ndarray) -> list[np.ndarray]:
        lq = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        output = forward_padded(self._network, lq, self._multiple)
        output = output.clamp(0, 1).mul(255).round().to(torch.uint8)
        return list(output.permute(0, 2, 3, 1).cpu().numpy())

    def _find_scale(self) -> int:
        size = 16 * self._multiple
        answer = self._answer(np.zeros((1, size, size, 3), np.uint8))[0]
        scale, rest = divmod(answer.shape[0], size)
        if rest or answer.shape != (scale * size, scale * size, 3):
            raise InputError(
                f'{self.name} turns {size}x{size} pixels into an array {answer.shape}',
                where='victim.network_g',
                do='Use a network from RGB image to RGB image',
            )
        return scale


def _device(name: str) -> torch.device:
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device '{name}' here", where='victim.device', do='Use auto or cpu') from error
    return device


def _fingerprint(options: Mapping[str, Any], network: nn.Module) -> str:
    """A hash of the network's options and of every weight: where the file lies and how it was saved does not matter."""
    state = {key: hash_array(value.numpy()) for key, value in network.state_dict().items()}
    return hash_json({'type': 'basicsr', 'network_g': dict(options), 'state': state})
