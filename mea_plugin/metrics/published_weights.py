"""The weight files of the learned metrics, as their authors publish them; told without importing anything heavy."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ['FOLDER_VARIABLE', 'KNOWN', 'WeightFile', 'candidates', 'fault', 'hub_folder', 'is_file', 'named_folder']

FOLDER_VARIABLE = 'MEA_METRIC_WEIGHTS'
"""The environment variable that names the folder of weight files."""


class WeightFile(NamedTuple):
    """A weight file as it is published.

    Attributes:
        name: Its published name; the digits at its end are the first of its SHA-256.
        sha256: SHA-256 of its content.
        size: Its size in bytes.
        url: Where its author publishes it.
        purpose: The metrics that need it.
        also: Other names that the same content is published under.
    """

    name: str
    sha256: str
    size: int
    url: str
    purpose: str
    also: tuple[str, ...] = ()


_TORCHVISION = 'https://download.pytorch.org/models'

KNOWN = {
    file.name: file
    for file in (
        WeightFile(
            name='alexnet-owt-7be5be79.pth',
            sha256='7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02',
            size=244_408_911,
            url=f'{_TORCHVISION}/alexnet-owt-7be5be79.pth',
            purpose='LPIPS with AlexNet',
        ),
        WeightFile(
            name='vgg16-397923af.pth',
            sha256='397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0',
            size=553_433_881,
            url=f'{_TORCHVISION}/vgg16-397923af.pth',
            purpose='LPIPS with VGG',
        ),
        WeightFile(
            name='squeezenet1_1-b8a52dc0.pth',
            sha256='b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b',
            size=4_958_839,
            url=f'{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth',
            purpose='LPIPS with SqueezeNet',
        ),
        WeightFile(
            name='pt_inception-2015-12-05-6726825d.pth',
            sha256='6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
            size=95_628_359,
            url='https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
            purpose='FID and KID',
            also=('weights-inception-2015-12-05-6726825d.pth',),  # torch-fidelity's name for it
        ),
    )
}
"""The files by their names."""


def named_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of weight files that the environment names."""
    named = environment.get(FOLDER_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def hub_folder(environment: Mapping[str, str]) -> Path:
    """Where torch keeps downloaded weights."""
    cache = environment.get('XDG_CACHE_HOME') or '~/.cache'
    return (Path(environment.get('TORCH_HOME') or Path(cache) / 'torch') / 'hub' / 'checkpoints').expanduser()


def candidates(file: WeightFile, folder: Path | None, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where a weight file may lie, the first that is there to be taken: in a folder, then where torch keeps its own."""
    for each in (folder, hub_folder(environment)):
        if each is not None:
            yield from (each / name for name in (file.name, *file.also))


def is_file(path: Path) -> bool:
    """Whether a path is a file's; one into a folder that may not be entered, or too long for the disk, is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises there


def fault(path: Path, file: WeightFile) -> str:
    """In what a file's content is not the published one; nothing if it is.

    Raises:
        OSError: It cannot be read.
    """
    state = path.stat()
    # The size first: that of a file of half a gigabyte which was cut short is known at once.
    if state.st_size != file.size:
        return f'has {state.st_size} bytes, not {file.size}'
    if _hash(path, state.st_mtime_ns, state.st_size) != file.sha256:
        return f'has other content than {file.name} (its SHA-256 does not begin with {file.sha256[:8]})'
    return ''


@functools.lru_cache(maxsize=32)
def _hash(path: Path, changed: int, size: int) -> str:
    """SHA-256 of a file; hashed again only when it was changed."""
    digest = hashlib.sha256()
    with path.open('rb') as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
