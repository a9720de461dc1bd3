"""Paths as users write them; needs no package, so that every tool's ``--help`` may import it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mea_plugin.core.errors import InputError

__all__ = ['expanded']


def expanded(path: str | PathLike[str]) -> Path:
    """A path with its leading ``~`` replaced by the home folder that it stands for.

    Raises:
        InputError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError('there is no such user', where=path, do='Write the folder in full') from None
