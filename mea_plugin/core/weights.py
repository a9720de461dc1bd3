"""Weight files of both toolboxes, read without executing code, and fitted to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional
from mea_plugin.core.paths import expanded
from mea_plugin.core.schema import shortened
from mea_plugin.core.torch_files import TorchScriptError, any_stub, fault, read_torch_file

__all__ = ['fit', 'load_weights', 'read_checkpoint', 'select']

_NAMED = 8  # of the names that a file has, in an error


def load_weights(
    network: nn.Module,
    path: str | Path,
    *,
    param_keys: Sequence[str] = ('params_ema', 'params'),
    strict: bool = True,
    trusted: bool | None = None,
) -> list[str]:
    """Load a weight file into a network without executing code.

    Args:
        network: Where the weights go.
        path: A ``.pth`` file (a dict that holds state dicts under names, or one state dict) or a ``.safetensors`` file.
        param_keys: The first of these names that the file has is loaded; a plain state dict is loaded as it is.
        strict: Refuse weights that do not fit; otherwise load those that do.
        trusted: See :func:`read_checkpoint`.

    Returns:
        What was left out, one line per tensor; empty when ``strict``.

    Raises:
        InputError: The file is missing or damaged, would execute code, lacks the names, or does not fit the network.
    """
    path = expanded(path)
    return fit(network, select(read_checkpoint(path, trusted=trusted), param_keys, path), path, strict=strict)


def read_checkpoint(path: str | Path, *, trusted: bool | None = None) -> dict[str, Any]:
    """What a file saved by ``torch.save``, or a ``.safetensors`` file, holds, read without executing code in it.

    See :mod:`mea_plugin.core.torch_files`. Whatever a checkpoint holds besides tensors and plain values, such as
    MMEngine's log, is an inert stand-in in the result.

    Args:
        path: The file.
        trusted: Whether a file that holds no state dict when it is read like that (a whole module, for example) may be
            read in the way that executes code in it. None: no, and the user has no option to say so.

    Raises:
        InputError: The file is missing or damaged, or holds no dict, or is not trusted.
    """
    path = expanded(path)
    if not path.is_file():
        raise InputError('no such weight file', where=path, do='Check the path of the weights')
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    try:
        do = 'Give a state dict saved by torch.save'
        return _read_plain(path, do if trusted is None else f'{do}, or add trusted: true')
    except TorchScriptError:
        raise
    except InputError:
        wrong = fault(path) if _is_archive(path) else None
        if wrong:  # damage is no matter of trust
            raise InputError(wrong, where=path, do='Get the file again') from None
        if trusted is not True:
            raise
    return _read_freely(path)


def _is_archive(path: Path) -> bool:
    """Test for the first bytes of a zip archive; :mod:`zipfile` raises errors on some that are damaged."""
    with path.open('rb') as file:
        return file.read(4) == b'PK\x03\x04'


def _read_plain(path: Path, do: str) -> dict[str, Any]:
    state = read_torch_file(path, has_stub=any_stub, do=do)
    if not isinstance(state, dict):
        raise InputError('holds no state dict that can be read without executing code', where=path, do=do)
    return state


def _read_freely(path: Path) -> dict[str, Any]:
    """With whatever code the file names; a whole module stands for its weights."""
    try:
        state = torch.load(path, map_location='cpu', weights_only=False)
    except Exception as error:
        raise InputError(
            f'cannot be read ({type(error).__name__}: {error})', where=path, do='Give a state dict saved by torch.save'
        ) from error
    state = state.state_dict() if isinstance(state, nn.Module) else state
    if not isinstance(state, dict):
        raise InputError(f'holds a {type(state).__name__}', where=path, do='Give a state dict saved by torch.save')
    return state


def _read_safetensors(path: Path) -> dict[str, Any]:
    load_file = import_optional('safetensors.torch', 'the file', where=str(path)).load_file
    try:
        return load_file(path)
    except Exception as error:  # its errors have no base class of their own in every version
        raise InputError(f'is no safetensors file ({error})', where=path, do='Check the file') from error


def select(state: dict[str, Any], param_keys: Sequence[str], path: Path) -> dict[str, Tensor]:
    """The state dict under the first of the keys that is there, or the dict itself if it is one.

    Raises:
        InputError: There is none.
    """
    key = next((key for key in param_keys if key in state), None)
    if key is not None:
        state = state[key]
    elif any(isinstance(value, dict) for value in state.values()):
        found = shortened(', '.join(map(str, list(state)[:_NAMED])))[1:-1]
        raise InputError(f'the file has {found}, not {" or ".join(param_keys)}', where=path, do='Set param_key')
    right = isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())
    if not right or not all(isinstance(key, str) for key in state):
        raise InputError('holds no state dict', where=path, do='Give a file written by BasicSR or MMagic')
    return {key.removeprefix('module.'): value for key, value in state.items()}


def fit(network: nn.Module, state: Mapping[str, Tensor], path: Path, *, strict: bool = True) -> list[str]:
    """Put a state dict into a network; see :func:`load_weights`."""
    own = network.state_dict()
    odd = [f'{key} is missing' for key in own if key not in state]
    odd += [f'{shortened(key)[1:-1]} is not in the network' for key in state if key not in own]
    common = [key for key in own if key in state]
    misfits = [key for key in common if state[key].shape != own[key].shape]
    odd += [f'{key} is {tuple(state[key].shape)}, the network has {tuple(own[key].shape)}' for key in misfits]
    if odd and strict:
        name = type(network).__name__
        raise InputError(
            f'the weights do not fit {name} ({len(odd)} tensors; {odd[0]})', where=path, do='Check its options'
        )
    network.load_state_dict({key: state[key] for key in common if key not in misfits}, strict=strict)
    return odd
