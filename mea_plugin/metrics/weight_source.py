"""Where learned metrics find their weights: a folder, torch's folder, or an address that the user gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.paths import expanded
from mea_plugin.metrics.download import download
from mea_plugin.metrics.published_weights import KNOWN, WeightFile, candidates, fault, hub_folder, is_file, named_folder

__all__ = ['WeightSource']

_SCHEMES = ('https', 'http', 'file')


@dataclass(frozen=True)
class WeightSource:
    """Where weight files are looked for.

    First in the folder, then where torch keeps what it has downloaded. Nothing is downloaded but from an address that
    the user has given, and nothing is used whose SHA-256 is not the published one.

    Attributes:
        folder: Holds weight files under their published names, which
            :data:`mea_plugin.metrics.published_weights.KNOWN` lists; None: the folder that the environment variable
            ``MEA_METRIC_WEIGHTS`` names, or none.
        urls: By file name, where a file that is missing is downloaded from, into the folder.

    Raises:
        InputError: There is no such folder, or an address is none, or is that of a file that no metric needs, or there
            is no folder to download into.
    """

    folder: Path | None = None
    urls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self._folder()
        if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - Path's raise where they may not look
            if os.path.exists(folder):  # noqa: PTH110 - likewise
                what, do = 'is not a folder', 'Give the folder that holds the weights of the metrics'
                raise InputError(what, where=folder, do=do)
            if self.folder is not None and not self.urls:
                raise InputError('no such folder', where=folder, do='Check weights.folder')
        names = [name for file in KNOWN.values() for name in (file.name, *file.also)]
        for name, url in self.urls.items():
            if name not in names:
                raise InputError(f"no metric needs '{name}'", where='weights.urls', do=suggestion(str(name), names))
            if not isinstance(url, str) or _scheme(url) not in _SCHEMES:
                what = f'{url!r} is no address'
                raise InputError(what, where=f'weights.urls.{name}', do=f'Begin it with {" or ".join(_SCHEMES)}://')
        if self.urls and folder is None:
            raise InputError('there is no folder to download into', where='weights.urls', do='Set weights.folder')

    def get(self, name: str) -> Path | None:
        """The path of a weight file, its content checked, or None where there is none.

        Args:
            name: Its name in :data:`mea_plugin.metrics.published_weights.KNOWN`.

        Raises:
            InputError: What lies under the name has other content, or the download failed.
        """
        file = KNOWN[name]
        for path in candidates(file, self._folder(), os.environ):
            if is_file(path):
                _check(path, file)
                return path
        folder = self._folder()
        for alias in (file.name, *file.also):
            if alias in self.urls and folder is not None:
                download(self.urls[alias], folder / file.name, file)
                return folder / file.name
        return None

    def advice(self, name: str) -> str:
        """What :attr:`~mea_plugin.metrics.metric.Metric.missing` says where :meth:`get` finds nothing."""
        file, folder = KNOWN[name], self._folder() or hub_folder(os.environ)
        return f'weights: put {file.name} into {folder} or give weights.urls, from {file.url}'

    def _folder(self) -> Path | None:
        return expanded(self.folder).absolute() if self.folder else named_folder(os.environ)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:  # half a pair of brackets
        return ''


def _check(path: Path, file: WeightFile) -> None:
    try:
        what = fault(path, file)
    except OSError as error:
        raise InputError(f'cannot be read ({error.strerror})', where=path, do='Check the rights to it') from None
    if what:
        raise InputError(what, where=path, do=f'Remove it and get it again, from {file.url}')
