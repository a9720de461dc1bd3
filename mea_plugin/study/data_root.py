"""Reading images from another folder than an option file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ['place_data']

_SOURCES = ('images', 'lq', 'gt', 'target')
_STANDS = 'datasets'


def place_data(options: Any, folder: Path, key: str = '') -> Any:
    """A copy of options in which sources of images below ``datasets`` lie below another folder.

    Args:
        options: Sections and lists of any depth; values of ``images``, ``lq``, ``gt`` and ``target`` are changed.
        folder: What stands for ``datasets``.
        key: Under which ``options`` stand.
    """
    if isinstance(options, Mapping):
        return {name: place_data(value, folder, str(name)) for name, value in options.items()}
    if isinstance(options, list):
        return [place_data(one, folder, key) for one in options]
    if key in _SOURCES and isinstance(options, str) and Path(options).parts[:1] == (_STANDS,):
        return str(folder.joinpath(*Path(options).parts[1:]))
    return options
