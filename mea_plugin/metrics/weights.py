"""Where learned metrics find their weights: a folder, or an address that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ['WeightSource']


@dataclass(frozen=True)
class WeightSource:
    """Where weight files are looked for.

    Attributes:
        folder: Holds weight files under their published names; None: the environment variable
            ``MEA_METRIC_WEIGHTS``, or nowhere.
        urls: By file name, where the user wants a missing file to be downloaded from, into the folder.
    """

    folder: Path | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
