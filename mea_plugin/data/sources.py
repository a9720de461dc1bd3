"""Where images are taken from: folders, files, globs, LMDB, or the embedded ones."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import EXTENSIONS, list_images
from mea_plugin.core.paths import expanded
from mea_plugin.data.embedded import photographs
from mea_plugin.data.lmdb_images import is_lmdb
from mea_plugin.data.references import FileRef, ImageRef, lmdb_references, state_of
from mea_plugin.data.resize import downscale

__all__ = ['by_stem', 'image_references', 'image_source', 'merge_sources', 'read_shrunk']

_EMBEDDED = 'embedded:'


def image_source(spec: str | Path, *, where: str = '') -> dict[str, Path]:
    """The image files that an option names.

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
            raise _same_name(other, path, path.stem, where)
    return dict(sorted(found.items()))


def image_references(spec: str | Path | Sequence[str | Path], *, where: str = '') -> dict[str, ImageRef]:
    """The images that an option names, of any kind of source; a folder of 100,000 files takes half a second.

    Args:
        spec: One or several of: a folder; a file; a glob such as ``photos/**/*.png``, where ``**`` stands for any
            number of folders; an LMDB folder of BasicSR's format; ``embedded:query`` or ``embedded:test``. In a glob,
            files of different folders may have the same name; those are called by their path below the glob's fixed
            part. An image that several of the specs name counts once.
        where: The option, for errors.

    Returns:
        Name (without extension) to image, sorted by name. No image is opened.

    Raises:
        InputError: A source is missing, holds no image or cannot be read, or two images have the same name.
    """
    specs: Sequence[str | Path] = [spec] if isinstance(spec, str | Path) else spec
    if not specs or not all(str(one).strip() for one in specs):  # '' would be the current folder
        raise InputError('no images are named', where=where, do='Give a folder, a glob or an LMDB')
    if len(specs) == 1:
        return _sorted(_references(specs[0], where))
    found: dict[str, ImageRef] = {}
    seen: set[str] = set()
    for each in specs:
        for name, image in _references(each, where).items():
            if str(image) in seen:
                continue
            seen.add(str(image))
            if name in found:
                raise _same_name(found[name], image, name, where)
            found[name] = image
    return _sorted(found)


def read_shrunk(images: Iterable[ImageRef], shrink: int) -> Iterator[np.ndarray]:
    """Images one after the other, made smaller by MATLAB's bicubic as they are asked about.

    Args:
        images: Which.
        shrink: The factor; 1: as they are.
    """
    for image in images:
        yield downscale(image.read(), shrink) if shrink > 1 else image.read()


def _sorted(images: dict[str, ImageRef]) -> dict[str, ImageRef]:
    return {name: images[name] for name in sorted(images)}  # sorting items would take twice as long


def _references(spec: str | Path, where: str) -> dict[str, ImageRef]:
    if str(spec).startswith(_EMBEDDED):
        return {name: FileRef.of(path) for name, path in image_source(spec, where=where).items()}
    path = expanded(spec)
    if is_lmdb(path):
        return lmdb_references(path, where=where)
    if path.is_dir():
        return _by_name(_scan(str(path)), f'no images in {path}', where)
    if path.is_file():
        if path.suffix.lower() not in EXTENSIONS:
            raise InputError(f'{path} is not an image', where=where, do=f'Known: {", ".join(EXTENSIONS)}')
        return {path.stem: FileRef.of(path)}
    if glob.has_magic(str(path)):
        return _by_name(_called_apart(list(_match(str(path))), str(path)), f'no images match {path}', where)
    raise InputError(f'{path} does not exist', where=where, do='Give a folder, a file, a glob or an LMDB')


def _by_name(images: Iterable[FileRef], none: str, where: str) -> dict[str, ImageRef]:
    found: dict[str, ImageRef] = {}
    for image in images:
        other = found.setdefault(image.name, image)
        if other is not image:
            one, two = sorted((str(other), str(image)))  # a folder is listed in no order
            raise _same_name(one, two, image.name, where)
    if not found:
        raise InputError(none, where=where, do=f'Put {", ".join(EXTENSIONS)} files there')
    return found


def _scan(folder: str) -> Iterator[FileRef]:
    """The images of a folder; :class:`~pathlib.Path` would take several seconds for 100,000."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem = _stem(entry.name)
            if stem is not None and entry.is_file():
                yield FileRef(stem, entry.path, state_of(entry.stat()))


def _match(pattern: str) -> Iterator[FileRef]:
    """The images that a glob matches."""
    for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - pathlib's takes no absolute pattern, and is slow
        stem = _stem(path[path.rfind(os.sep) + 1 :])
        if stem is not None:
            try:
                status = os.stat(path)  # noqa: PTH116 - as above
            except FileNotFoundError:  # a link to nowhere
                continue
            if stat.S_ISREG(status.st_mode):
                yield FileRef(stem, path, state_of(status))


def _stem(file: str) -> str | None:
    """The name without extension of what may be an image; hidden files are left out."""
    stem, dot, extension = file.rpartition('.')
    return stem if stem and file[0] != '.' and dot + extension.lower() in EXTENSIONS else None


def _called_apart(images: list[FileRef], pattern: str) -> Iterator[FileRef]:
    """Images whose name another folder has too, by their path below the part of the glob that has no wildcard."""
    counts: dict[str, int] = {}
    for image in images:
        counts[image.name] = counts.get(image.name, 0) + 1
    first = min(pattern.find(character) for character in '*?[' if character in pattern)
    start = pattern.rfind(os.sep, 0, first) + 1
    for image in images:
        if counts[image.name] == 1:
            yield image
        else:
            below = image.path[start:].rpartition('.')[0]
            yield FileRef(below.replace(os.sep, '/'), image.path, image.state)


def _same_name(one: object, other: object, name: str, where: str) -> InputError:
    return InputError(f"{one} and {other} are both called '{name}'", where=where, do='Rename one of them')
