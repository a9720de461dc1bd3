"""Lets modules of other packages read weight files and pickles as data, where they would run what a file says.

BasicSR 1.4.2, MMEngine 0.10 and MMagic 1.2 call plain ``torch.load``, which runs code before torch 2.6, and
``pickle.load``, which always does.
"""

from __future__ import annotations

import importlib
import os
import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from mea_plugin.core.errors import InputError
from mea_plugin.core.plain_pickle import Name, PickleError, read_pickle
from mea_plugin.core.torch_files import any_stub, no_stub, read_torch_file
from mea_plugin.core.torch_pickle import Storage, TensorBuilder

__all__ = [
    'load',
    'load_pickle',
    'load_url',
    'load_with_stubs',
    'read_published_weights_as_data',
    'read_safely',
    'unpickle_safely',
]

_DO = 'Give a file that torch.save wrote, with tensors and plain values'
_MAX_PICKLE = 1 << 30


def load(file: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
    """In place of ``torch.load``: tensors on the CPU and plain values.

    Raises:
        InputError: See :func:`~mea_plugin.core.torch_files.read_torch_file`; or the file is none on this disk.
    """
    return _load(file, no_stub)


def load_with_stubs(file: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
    """As :func:`load`, with inert stand-ins for whatever else is in the file: MMEngine's checkpoints hold its log."""
    return _load(file, any_stub)


def _load(file: str | os.PathLike[str], has_stub: Callable[[Name], bool]) -> Any:
    if not isinstance(file, str | os.PathLike):
        raise InputError('weights are read from files only', do='Download the file, and give its path')
    return read_torch_file(file, has_stub=has_stub, do=_DO)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    **kwargs: Any,
) -> Any:
    """In place of ``torch.hub.load_state_dict_from_url``: the same folder, and the file is read by :func:`load`."""
    folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
    path = folder / (file_name or Path(urlsplit(url).path).name)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        found = torch.hub.HASH_REGEX.search(path.name) if check_hash else None
        torch.hub.download_url_to_file(url, str(path), found[1] if found else None, progress=progress)
    return load(path)


def load_pickle(file: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of ``pickle.load``: plain values and numpy's arrays of numbers.

    Raises:
        InputError: It holds something else, or is damaged.
    """
    where = getattr(file, 'name', '')
    builder = TensorBuilder(_no_storage, 0, lambda name: False)
    try:
        return read_pickle(file.read(_MAX_PICKLE), builder)[0]
    except PickleError as error:
        raise InputError(f'as a pickle, {error}', where=str(where), do='Give a pickle of plain values') from error


def read_safely(module: types.ModuleType, loader: Callable[..., Any] = load) -> None:
    """Let a module's ``torch.load`` be :func:`load`, and its ``load_url`` be :func:`load_url`. Idempotent.

    Args:
        module: Any that is imported.
        loader: In place of :func:`load`.
    """
    if not isinstance(getattr(module, 'torch', None), _Replaced):
        vars(module)['torch'] = _Replaced(torch, load=loader)
    for name in ('load_url', 'load_state_dict_from_url'):
        if name in vars(module):
            vars(module)[name] = load_url


def unpickle_safely(module: types.ModuleType) -> None:
    """Let a module's ``pickle.load`` be :func:`load_pickle`. Idempotent."""
    if not isinstance(getattr(module, 'pickle', None), _Replaced):
        vars(module)['pickle'] = _Replaced(pickle, load=load_pickle)


def read_published_weights_as_data() -> None:
    """Let torchvision read what lies in torch's folder of downloads as data; it relies on torch, safe since 2.6."""
    module = importlib.import_module('torchvision.models._api')
    if 'load_state_dict_from_url' in vars(module):
        vars(module)['load_state_dict_from_url'] = load_url


class _Replaced(types.ModuleType):
    """A module with some functions in place of its own."""

    def __init__(self, module: types.ModuleType, **functions: Any) -> None:
        super().__init__(module.__name__)
        vars(self).update(functions)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)['_module'], name)


def _no_storage(*args: Any) -> Storage:
    raise PickleError('has tensors in it')
