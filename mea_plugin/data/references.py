"""References to images that are not read yet: files, and entries of an LMDB."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import decode_rgb, decode_size, image_size, read_rgb
from mea_plugin.data.lmdb_images import lmdb_bytes, lmdb_entries

__all__ = ['FileRef', 'ImageRef', 'LmdbRef', 'lmdb_references']


class ImageRef(Protocol):
    """Where an image lies, and what tells whether it has changed; ``str()`` of it names it in errors.

    Frozen, small and picklable: a set has hundreds of thousands of them, and workers of other processes get them.
    """

    @property
    def name(self) -> str:
        """What the image is called, without extension; unique in its source."""
        ...

    def read(self) -> np.ndarray:
        """The pixels, uint8 ``(H, W, 3)``, RGB.

        Raises:
            InputError: As :func:`~mea_plugin.core.images.read_rgb`.
        """
        ...

    def size(self) -> tuple[int, int]:
        """Height and width, from the header.

        Raises:
            InputError: As :func:`~mea_plugin.core.images.image_size`.
        """
        ...

    def signature(self) -> tuple[str | int, ...]:
        """Where the image lies and which state of the file was found there when it was listed; no file is touched.

        With an equal signature, the content is equal too, as far as the file system tells. It was taken before any
        read, so what is kept under it and was read of a file that has changed since is not found again.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileRef:
    """An image file.

    Attributes:
        name: See :class:`ImageRef`.
        path: The file.
        state: Size, time of the last change in ns, inode.
    """

    name: str
    path: str
    state: tuple[int, int, int]

    @classmethod
    def of(cls, path: str | Path, name: str | None = None) -> FileRef:
        """The reference to a file, called by its stem unless a name is given.

        Raises:
            InputError: It is gone.
        """
        try:
            state = state_of(os.stat(path))  # noqa: PTH116 - pathlib's stat costs twice as much
        except OSError as error:
            raise InputError(f'cannot be read ({error.strerror})', where=path, do='Check the path') from None
        return cls(Path(path).stem if name is None else name, str(path), state)

    def read(self) -> np.ndarray:
        """See :class:`ImageRef`."""
        return read_rgb(self.path)

    def size(self) -> tuple[int, int]:
        """See :class:`ImageRef`."""
        return image_size(self.path)

    def signature(self) -> tuple[str | int, ...]:
        """See :class:`ImageRef`."""
        return (self.path, *self.state)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class LmdbRef:
    """An entry of an LMDB folder in BasicSR's format.

    Attributes:
        name: See :class:`ImageRef`; the key.
        folder: The LMDB.
        state: Of its ``data.mdb``: size, time of the last change in ns, inode.
    """

    name: str
    folder: str
    state: tuple[int, int, int] = field(repr=False)

    def read(self) -> np.ndarray:
        """See :class:`ImageRef`."""
        return decode_rgb(lmdb_bytes(self.folder, self.name), where=str(self))

    def size(self) -> tuple[int, int]:
        """See :class:`ImageRef`."""
        return decode_size(lmdb_bytes(self.folder, self.name), where=str(self))

    def signature(self) -> tuple[str | int, ...]:
        """See :class:`ImageRef`."""
        return (self.folder, *self.state, self.name)

    def __str__(self) -> str:
        return f'{self.folder}[{self.name}]'


def state_of(stat: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file's content does."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def lmdb_references(folder: str | Path, *, where: str = '') -> dict[str, ImageRef]:
    """The images of an LMDB by key, in the order of its ``meta_info.txt``.

    Raises:
        InputError: See :func:`~mea_plugin.data.lmdb_images.lmdb_entries`.
    """
    entries = lmdb_entries(folder, where=where)
    state = FileRef.of(Path(folder) / 'data.mdb').state
    return {entry.key: LmdbRef(entry.key, str(folder), state) for entry in entries}
