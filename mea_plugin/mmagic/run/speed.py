"""The config keys ``channels_last`` and ``compile``: a model's networks laid out and compiled for speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import nn

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.training.speed import compile_network, to_channels_last

__all__ = ['check_speed', 'compile_networks', 'laid_out_as_written', 'lay_out_networks']

_NAMES = ('generator', 'generators', 'discriminator', 'discriminators')
_OPTIONS = ('backend', 'dynamic', 'fullgraph', 'mode', 'options')


def check_speed(cfg: Any, where: str) -> None:
    """Check both keys of a config.

    Raises:
        InputError: A value that is none, or that ``torch.compile`` does not take.
    """
    value = cfg.get('channels_last', False)
    if not isinstance(value, bool):
        raise InputError(f'channels_last is {value!r}', where=where, do='Write True or False')
    value = cfg.get('compile') or {}
    at = f'{where}: compile'
    if value is True:
        return
    if not isinstance(value, Mapping):
        raise InputError(f'compile is {value!r}', where=where, do='Write True, or a dict of options of torch.compile')
    for key in value:
        if key not in _OPTIONS:
            raise InputError(f"unknown option '{key}'", where=at, do=suggestion(str(key), _OPTIONS))
    if value:
        try:
            torch.compile(nn.Identity(), **value)
        except Exception as error:  # torch raises many kinds
            reason = str(error).partition('\n')[0] or type(error).__name__
            raise InputError(reason.rstrip('.'), where=at, do='Correct its options') from error


def lay_out_networks(cfg: Any, model: nn.Module) -> None:
    """Lay the networks' weights out with the channels last, if ``channels_last`` says so; before they are wrapped."""
    if cfg.get('channels_last'):
        for network in _networks(model, 'channels_last'):
            to_channels_last(network)


@contextmanager
def laid_out_as_written(cfg: Any, model: nn.Module) -> Iterator[None]:
    """In the body, which initialises weights, they lie as usual, and random numbers fall into the same ones."""
    if cfg.get('channels_last'):
        for network in _networks(model, 'channels_last'):
            for param in network.parameters():
                param.data = param.data.contiguous(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        lay_out_networks(cfg, model)


def compile_networks(cfg: Any, model: nn.Module) -> None:
    """Let ``torch.compile`` have each network, if ``compile`` says so.

    MMEngine compiles the whole training step, optimizers and second passes with it. It is done after hooks have copied
    networks (for a moving average): a copy would run its original's compiled code, with its original's weights.
    """
    options = cfg.get('compile')
    if options:
        for network in _networks(model, 'compile'):
            compile_network(network, **({} if options is True else dict(options)))


def _networks(model: nn.Module, key: str) -> list[nn.Module]:
    found: list[nn.Module] = []
    for name in _NAMES:
        network: Any = getattr(model, name, None)
        if is_model_wrapper(network):
            network = network.module
        found += network.values() if isinstance(network, nn.ModuleDict) else [network] if network is not None else []
    if not found:
        raise InputError(f'{type(model).__name__} has no generator', where=key, do=f'Remove {key}')
    return found
