"""Where images are taken from: a folder, or the embedded ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mea_plugin.data.embedded import photographs
from mea_plugin.errors import InputError
from mea_plugin.images import list_images

__all__ = ['by_stem', 'image_source', 'merge_sources']

_EMBEDDED = 'embedded:'


def image_source(spec: str | Path, *, where: str = '') -> dict[str, Path]:
    """The images that an option names.

    Args:
        spec: A folder, ``embedded:query`` or ``embedded:test``.
        where: The option, for errors.

    Returns:
        Name (without extension) to file, sorted by name.

    Raises:
        InputError: The folder is missing or empty, two of its files differ in their extension only, or there is no
            such embedded split.
    """
    if str(spec).startswith(_EMBEDDED):
        return photographs(str(spec)[len(_EMBEDDED) :], where=where)
    return by_stem(list_images(spec, where=where), where=where)


def merge_sources(specs: Iterable[str | Path], *, where: str = '') -> dict[str, Path]:
    """The images of several sources together.

    Raises:
        InputError: As :func:`image_source`, or an image's name is in two of them.
    """
    return by_stem([path for spec in specs for path in image_source(spec, where=where).values()], where=where)


def by_stem(paths: Iterable[Path], *, where: str = '') -> dict[str, Path]:
    """Files by their name without extension, sorted.

    Raises:
        InputError: Two have the same.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other != path:
            raise InputError(f"{other} and {path} are both called '{path.stem}'", where=where, do='Rename one of them')
    return dict(sorted(found.items()))
