"""Images that belong together by their names: files of several folders, or keys of several databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError

__all__ = ['by_name', 'check_paired']


def by_name(paths: Iterable[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    """Files by the names that pair them, in the files' order.

    Args:
        paths: Files.
        name_of: Gives a file's name, such as the one without the extension.

    Raises:
        InputError: Two files have the same name, or a name is not UTF-8.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = name_of(path)
        if not name.isascii() and name != name.encode(errors='replace').decode():
            shown = os.fsencode(path.name).decode(errors='backslashreplace')
            raise InputError(f"the name '{shown}' is not UTF-8", where=path.parent, do='Rename the file')
        if name in named:
            what = f"'{named[name].name}' and '{path.name}' are both called '{name}'"
            raise InputError(what, where=path.parent, do='Rename or remove one')
        named[name] = path
    return named


def check_paired(sides: Mapping[str, Mapping[str, Any]], *, where: str | PathLike[str], do: str) -> None:
    """Refuse images without a partner.

    Args:
        sides: By what an error calls them (``queries``, ``responses``), images by name, each compared with the first.
        where: The option or folder, for errors.
        do: What to do, for errors.

    Raises:
        InputError: Two sides have different names; the first name that is alone is given.
    """
    (first, names), *others = sides.items()
    for label, other in others:
        if odd := names.keys() ^ other.keys():
            what = f"{len(names)} {first} and {len(other)} {label} do not pair ('{min(odd)}' is alone)"
            raise InputError(what, where=where, do=do)
