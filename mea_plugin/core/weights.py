"""Weight files of both toolboxes, read without executing code, and fitted to a network."""

from __future__ import annotations

import pickle
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import import_optional

__all__ = ['fit', 'load_weights', 'read_checkpoint', 'select']

_TENSOR_PARTS = ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')


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
    path = Path(path).expanduser()
    return fit(network, select(read_checkpoint(path, trusted=trusted), param_keys, path), path, strict=strict)


def read_checkpoint(path: str | Path, *, trusted: bool | None = None) -> dict[str, Any]:
    """What a file saved by ``torch.save``, or a ``.safetensors`` file, holds, read without executing code in it.

    torch's ``weights_only`` loading is tried first. It refuses MMEngine's checkpoints, which hold the log's history
    (always before torch 2.6); those are read with inert stand-ins for everything that is no tensor or plain value.

    Args:
        path: The file.
        trusted: Whether a file that holds no state dict when it is read like that (a whole module, for example) may be
            read in the way that executes code in it. None: no, and the user has no option to say so.

    Raises:
        InputError: The file is missing or damaged, or holds no dict, or is not trusted.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError('no such weight file', where=path, do='Check the path of the weights')
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    if _is_torchscript(path):
        raise InputError(
            'is TorchScript, and loading it can run code',
            where=path,
            do='Give a state dict, or use type: torchscript',
        )
    try:
        state = _read_plain(path)
        if not isinstance(state, dict):
            do = 'Give a file written by BasicSR or MMagic' if trusted is None else 'Give one, or add trusted: true'
            raise InputError('holds no state dict that can be read without executing code', where=path, do=do)
    except InputError:
        if trusted is not True:
            raise
        state = _read_freely(path)
    return state


def _read_plain(path: Path) -> Any:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception:  # torch.load raises almost anything on a damaged file
        return _read_inert(path)


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


def _is_torchscript(path: Path) -> bool:
    """Whether torch would hand the file to ``torch.jit.load``.

    Before torch 2.6 it does so even when it was told to load weights only (CVE-2025-32434). The reader is the one that
    ``torch.load`` asks, so that both see the same.
    """
    try:
        return 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records()
    except RuntimeError:  # no zip file
        return False


def select(state: dict[str, Any], param_keys: Sequence[str], path: Path) -> dict[str, Tensor]:
    """The state dict under the first of the keys that is there, or the dict itself if it is one.

    Raises:
        InputError: There is none.
    """
    key = next((key for key in param_keys if key in state), None)
    if key is not None:
        state = state[key]
    elif any(isinstance(value, dict) for value in state.values()):
        raise InputError(
            f'the file has {", ".join(state)}, not {" or ".join(param_keys)}', where=path, do='Set param_key'
        )
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError('holds no state dict', where=path, do='Give a file written by BasicSR or MMagic')
    return {key.removeprefix('module.'): value for key, value in state.items()}


def fit(network: nn.Module, state: Mapping[str, Tensor], path: Path, *, strict: bool = True) -> list[str]:
    """Put a state dict into a network; see :func:`load_weights`."""
    own = network.state_dict()
    odd = [f'{key} is missing' for key in own if key not in state]
    odd += [f'{key} is not in the network' for key in state if key not in own]
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


class _Inert:
    """Stands for an object of any class that a checkpoint holds besides tensors, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def append(self, item: Any) -> None:
        """As a list's, for what a pickle puts into it."""

    def extend(self, items: Any) -> None:
        """Likewise."""

    def __setitem__(self, key: Any, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Finds what tensors are made of, and an inert stand-in for whatever else it is asked for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return OrderedDict
        if module == 'torch._utils' and name in _TENSOR_PARTS:
            return getattr(torch._utils, name)
        if module == 'torch' and (name.endswith('Storage') or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if (module, name) == ('torch', 'Size'):
            return torch.Size
        return _Inert


def _read_inert(path: Path) -> Any:
    module: Any = types.ModuleType('inert_pickle')
    module.Unpickler, module.load = _Unpickler, _refuse
    try:
        return torch.load(path, map_location='cpu', weights_only=False, pickle_module=module)
    except Exception as error:
        what = 'the weights cannot be read without executing code, or the file is damaged'
        raise InputError(what, where=path, do='Give a state dict saved by torch.save') from error


def _refuse(*args: Any, **kwargs: Any) -> Any:
    """Files from before torch 1.6 are read piece by piece with ``load``, which cannot be restricted."""
    raise pickle.UnpicklingError('the file is in the format of torch before 1.6')
