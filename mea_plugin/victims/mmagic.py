"""A victim that is any of MMagic's generators with its weights, alone or inside a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

import mea_plugin.mmagic  # noqa: F401 - registers
from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded
from mea_plugin.core.signatures import checked
from mea_plugin.core.weights import fit, read_checkpoint, select
from mea_plugin.optim import frozen_buffers
from mea_plugin.toolboxes.mmagic_networks import build_generator, find_generator, generator_weights
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, hash_weights

__all__ = ['MMagicVictim']


class MMagicVictim(NetworkVictim):
    """An MMagic generator as a black box: uint8 RGB in, uint8 RGB out.

    Only the network that answers is built: no losses, no discriminators, and nothing is downloaded.

    Args:
        checkpoint: A ``.pth`` file (MMEngine's checkpoint, or a state dict of the model or of the network alone) or a
            ``.safetensors`` file.
        config: An MMagic config. It is Python, and reading it runs it: needs ``trusted``.
        model: Instead of a config, without code: a network (``{type: EDSRNet, ...}``) or a whole model
            (``{type: Pix2Pix, generator: ..., ...}``), as in a config.
        trusted: Whether the config, and the checkpoint if it needs to, may run code.
        target_domain: Which generator of a translation model answers; by default that of its ``default_domain``.
        test_mode: ``eval``, or ``train`` for MMagic's own way of testing pix2pix and CycleGAN, with dropout and batch
            statistics: then one image at a time, seeded, so that the same image always gets the same answer.
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`. By default ``name`` is the model's type,
            ``channel_order`` what the config's pipeline loads (MMagic's own translation configs load BGR; ``rgb``
            without a pipeline), ``value_range`` what the model's ``data_preprocessor`` makes of 0 and 255 ([0, 1] for
            a network alone), ``multiple`` what the network's type needs.

    Raises:
        InputError: A config that is not trusted, an unknown type or option, weights that do not fit, another scale.
    """

    @checked('victim')
    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | None = None,
        model: Mapping[str, Any] | None = None,
        trusted: bool = False,
        target_domain: str | None = None,
        test_mode: Literal['eval', 'train'] = 'eval',
        **options: Unpack[NetworkOptions],
    ) -> None:
        found = find_generator(_model_of(config, model, trusted), target_domain)
        network = build_generator(found, where='victim.model')
        path = expanded(checkpoint)
        state = select(read_checkpoint(path, trusted=trusted), ('state_dict', 'params_ema', 'params'), path)
        fit(network, generator_weights(state, found), path)
        self._train_mode = test_mode == 'train'
        if self._train_mode:
            options['batch_size'] = 1
        options['channel_order'] = options.get('channel_order') or found.channel_order
        description = {
            'type': 'mmagic',
            'network': found.network,
            'order': options['channel_order'],
            'range': options.get('value_range') or found.value_range,
            'test_mode': test_mode,
            'state': hash_weights(network),
        }
        defaults: NetworkOptions = {
            'name': found.title,
            'value_range': found.value_range,
            'multiple': found.multiple,
        }
        super().__init__(network, description, defaults=defaults, **options)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may ask at once; not in train mode, which seeds the process's random numbers."""
        return not self._train_mode

    def _run(self, image: Tensor) -> Tensor:
        return self._in_train_mode(image) if self._train_mode else super()._run(image)

    def _in_train_mode(self, image: Tensor) -> Tensor:
        devices = [image.device] if image.is_cuda else []
        self._network.train()
        try:
            with frozen_buffers(self._network), torch.random.fork_rng(devices):
                torch.manual_seed(0)
                return super()._run(image)
        finally:
            self._network.eval()


def _model_of(config: str | Path | None, model: Mapping[str, Any] | None, trusted: bool) -> dict[str, Any]:
    """A whole config's content, or what stands for one: a dict with ``model``."""
    if (config is None) == (model is None):
        raise InputError('give either config or model', where='victim', do='Add one, or remove the other')
    if model is not None:
        return {'model': dict(model)}
    if trusted is not True:
        raise InputError(
            f'reading {config} runs the code in it',
            where='victim.config',
            do='Add trusted: true, or give model instead',
        )
    from mea_plugin.toolboxes.mmagic_config import load_config

    assert config is not None
    content: dict[str, Any] = load_config(config).to_dict()
    return content
