"""Packages that not everybody needs: how to see that one is missing, and what to type to get it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from mea_plugin.core.errors import InputError

__all__ = [
    *('PackagesMissingError', 'check_installed', 'import_optional'),
    *('lacking', 'missing', 'require_packages', 'to_install'),
]

# Where `pip install MODULE` is not what to type. A toolbox comes with the bounds that it holds with (setup.py).
_WORDS = {
    'PIL': 'Pillow',
    'basicsr': '-e ".[basicsr]"',
    'cv2': 'opencv-python-headless',
    'mmagic': '-e ".[mmagic]" mmcv-lite==2.1.0',
    'mmcv': 'mmcv-lite==2.1.0',
    'prometheus_client': 'prometheus-client',
    'python_multipart': 'python-multipart',
    'pywt': 'PyWavelets',
    'skimage': 'scikit-image',
    'torch_fidelity': 'torch-fidelity',
    'typing_extensions': 'typing-extensions',
    'yaml': 'PyYAML',
}


class PackagesMissingError(ModuleNotFoundError):
    """Modules cannot be imported, because the packages that provide them are not installed.

    Args:
        modules: Their names, at least one.
    """

    def __init__(self, modules: list[str]) -> None:
        super().__init__(f'no {", ".join(modules)} installed. Type: {to_install(*modules)}', name=modules[0])
        self.modules = modules


def to_install(*modules: str) -> str:
    """The command that installs what provides some modules.

    Args:
        modules: Names as Python imports them; of dotted ones, the first part counts.

    Example:
        >>> to_install('cv2', 'httpx')
        'pip install opencv-python-headless httpx'
    """
    names = dict.fromkeys(module.partition('.')[0] for module in modules)
    return ' '.join(['pip install', *(_WORDS.get(name, name) for name in names)])


def lacking(*modules: str) -> list[str]:
    """Those of some modules that are not installed; none is imported."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


def check_installed(*modules: str) -> None:
    """Raise what importing the first module that is not installed would; it names all of them.

    Raises:
        PackagesMissingError: One of them is not installed.
    """
    if absent := lacking(*modules):
        raise PackagesMissingError(absent)


def missing(what: str, error: ImportError, where: str = '') -> InputError:
    """The error for something that needs a package that is not installed.

    Args:
        what: What needs it.
        error: What importing it gave.
        where: The file and option.
    """
    return _needs(what, error.modules if isinstance(error, PackagesMissingError) else [str(error.name)], where)


def require_packages(what: str, *modules: str, where: str = '') -> None:
    """Refuse to begin where a package is not installed.

    Args:
        what: What needs them.
        modules: Names as Python imports them.
        where: The file and option that ask for it.

    Raises:
        InputError: One of them is not installed; it names all that are not.
    """
    if absent := lacking(*modules):
        raise _needs(what, absent, where)


def import_optional(module: str, what: str, *, where: str = '') -> ModuleType:
    """A module of a package that not everybody needs.

    Args:
        module: Name as Python imports it.
        what: What needs it.
        where: The file and option that ask for it.

    Raises:
        InputError: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(what, error, where) from error
    except ImportError as error:  # it is there and broken: say why
        raise InputError(f'{what} needs {module} ({error})', where=where, do=f'Type: {to_install(module)}') from error


def _needs(what: str, modules: list[str], where: str) -> InputError:
    are = 'which is' if len(modules) == 1 else 'which are'
    text = f'{what} needs {", ".join(modules)}, {are} not installed'
    return InputError(text, where=where, do=f'Type: {to_install(*modules)}')
