"""A victim that is any network of any package or folder, as it is."""

from __future__ import annotations

import contextlib
import importlib
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.core.networks import check_call
from mea_plugin.core.paths import expanded
from mea_plugin.core.signatures import checked
from mea_plugin.core.weights import load_weights
from mea_plugin.victims.checks import check_trusted, one_line
from mea_plugin.victims.network import NetworkOptions, NetworkVictim, hash_weights

__all__ = ['PythonVictim']

_KEYS = ('params_ema', 'params', 'state_dict')


class PythonVictim(NetworkVictim):
    """A network that a callable of another package makes.

    Args:
        entry: ``module:callable``: a class of ``torch.nn.Module``, or a function that returns one.
        arguments: What the callable is called with.
        weights: A ``.pth`` or ``.safetensors`` file; none if the callable loads its own.
        param_key: Which weights of the file; by default the first of ``params_ema``, ``params`` and ``state_dict``.
        path: A folder to import from: it is at the head of the import path while the callable is imported and called.
        trusted: Must be true: this runs the module's code (and reads weights with code in them, if they need that).
        options: See :class:`~mea_plugin.victims.network.NetworkOptions`; ``name`` is by default the callable's.

    The fingerprint holds the entry, its arguments, the module's own file and every weight; of the other files that the
    module imports it knows nothing.

    Raises:
        InputError: It is not trusted, cannot be imported or called, makes no module, or the weights do not fit it.
    """

    @checked('victim')
    def __init__(
        self,
        entry: str,
        arguments: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        param_key: str | None = None,
        path: str | Path | None = None,
        trusted: bool = False,
        **options: Unpack[NetworkOptions],
    ) -> None:
        check_trusted(trusted, f'importing {entry} runs its code', 'victim.entry')
        arguments = dict(arguments or {})
        with _importing_from(path) as folder:
            make, source = _find(entry, folder)
            network = _call(make, arguments, entry)
        if weights is not None:
            load_weights(network, weights, param_keys=(param_key,) if param_key else _KEYS, trusted=trusted)
        description = {
            'type': 'python',
            'entry': entry,
            'arguments': _plain(arguments),
            'source': hash_file(source) if source else None,
            'state': hash_weights(network),
        }
        super().__init__(network, description, defaults={'name': entry.rpartition(':')[2]}, **options)


@contextlib.contextmanager
def _importing_from(path: str | Path | None) -> Iterator[Path | None]:
    """Import from a folder before all others, and only meanwhile."""
    if path is None:
        yield None
        return
    folder = expanded(path).resolve()
    if not folder.is_dir():
        raise InputError('no such folder', where=folder, do='Correct victim.path')
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield folder
    finally:
        with contextlib.suppress(ValueError):  # the module took it out itself
            sys.path.remove(str(folder))


def _find(entry: str, folder: Path | None) -> tuple[Callable[..., Any], Path | None]:
    """The callable, and the file of its module if it has one."""
    where = 'victim.entry'
    name, colon, attribute = entry.partition(':')
    if not (name and colon and attribute):
        raise InputError(f"entry is '{entry}'", where=where, do="Write it as 'module:callable'")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # its code runs, and raises what it likes
        raise InputError(
            f'{name} cannot be imported ({type(error).__name__}: {one_line(error)})',
            where=where,
            do='Install its package, or set path to the folder it lies in',
        ) from error
    file = getattr(module, '__file__', None)
    source = Path(file).resolve() if file else None
    if folder and (source is None or folder not in source.parents):
        raise InputError(
            f'{name} is already imported from {source}, not from {folder}', where=where, do='Rename the module'
        )
    try:
        make = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise InputError(f"{name} has no '{attribute}'", where=where, do='Correct the name after the colon') from error
    if not callable(make):
        raise InputError(f'{entry} is a {type(make).__name__}', where=where, do='Name a class or a function')
    return make, source


def _call(make: Callable[..., Any], arguments: dict[str, Any], entry: str) -> nn.Module:
    check_call(make, arguments, 'victim.arguments')
    try:
        network = make(**arguments)
    except Exception as error:  # likewise
        raise InputError(
            f'{entry} cannot be called ({type(error).__name__}: {one_line(error)})',
            where='victim.arguments',
            do='Correct them',
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f'{entry} makes a {type(network).__name__}', where='victim.entry', do='Name what makes a torch.nn.Module'
        )
    return network


def _plain(value: Any) -> Any:
    """As JSON has it: what it cannot hold is written out."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
