"""Modules of the user's own that a tool imports before it reads an option file, and its child processes do, too."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded

__all__ = ['ENVIRONMENT', 'import_from_environment', 'import_plugin']

ENVIRONMENT = 'MEA_IMPORT'
"""The environment variable that holds the modules, separated like ``PATH``: what tools pass on to their children."""

_ADAPTERS = {'basicsr': 'mea_plugin.basicsr', 'mmagic': 'mea_plugin.mmagic', 'mmcv': 'mea_plugin.mmagic'}


def import_plugin(module: str) -> None:
    """Import a module for what it registers, and note it in :data:`ENVIRONMENT` for child processes.

    It runs the module's code.

    Args:
        module: A module's name (``hat.archs``), or the path of a ``.py`` file, whose folder becomes the last one that
            Python looks for modules in.

    Raises:
        InputError: There is no such module, or importing it fails.
    """
    name, noted = module, module
    if module.endswith('.py'):
        path = expanded(module).resolve()
        name, noted = _find_file(path), str(path)
    try:
        importlib.import_module(name)
    except InputError as error:
        raise InputError(f'{module} cannot be imported ({error.what})', where='--import', do=error.do) from error
    except ModuleNotFoundError as error:
        if error.name is None or not f'{name}.'.startswith(f'{error.name}.'):
            raise _failure(module, error) from error
        do = 'Install it, add its folder to PYTHONPATH, or give the path of a .py file'
        raise InputError(f'there is no module {module}', where='--import', do=do) from error
    except Exception as error:  # it runs the user's code
        if os.environ.get('MEA_DEBUG'):
            raise
        raise _failure(module, error) from error
    known = _noted()
    if noted not in known:
        os.environ[ENVIRONMENT] = os.pathsep.join([*known, noted])


def import_from_environment() -> None:
    """Import the modules that :data:`ENVIRONMENT` holds.

    Raises:
        InputError: As :func:`import_plugin`.
    """
    for module in _noted():
        import_plugin(module)


def _noted() -> list[str]:
    return [module for module in os.environ.get(ENVIRONMENT, '').split(os.pathsep) if module]


def _find_file(path: Path) -> str:
    """Make a file importable by its name, so that its classes can be sent to other processes; returns the name."""
    if not path.is_file():
        raise InputError(f'there is no file {path}', where='--import', do='Check the path')
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
        importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ValueError, ModuleNotFoundError):  # a module not found by its name (the tool itself), or a dot in the name
        spec = None
    found = spec.origin if spec is not None else None
    if found is None or Path(found).resolve() != path:
        what = f"{path} cannot be imported as '{path.stem}'" + (f', which is {found}' if found else '')
        raise InputError(what, where='--import', do='Rename the file, to a name that no other module has')
    return path.stem


def _failure(module: str, error: Exception) -> InputError:
    what = f'{module} cannot be imported ({type(error).__name__}: {" ".join(str(error).split())})'
    do = 'Correct it; with MEA_DEBUG=1 the whole traceback is shown'
    folders = {part for frame in traceback.extract_tb(error.__traceback__) for part in Path(frame.filename).parts}
    for toolbox, adapter in _ADAPTERS.items():
        if toolbox in folders and adapter not in sys.modules:
            do = f'Write --import {adapter} before it, which lets {toolbox} run with new versions of torch and numpy'
    return InputError(what, where='--import', do=do)
