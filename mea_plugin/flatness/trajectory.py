"""The checkpoints of one run, in the order in which training wrote them."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded

__all__ = ['Checkpoint', 'find_checkpoints']

_NUMBER = re.compile(r'(\d+)(?!.*\d)')


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights.

    Attributes:
        path: The file.
        iteration: When it was written, as its name says; None where the name says nothing, or counts epochs.
    """

    path: Path
    iteration: int | None


def find_checkpoints(spec: Any, where: str) -> list[Checkpoint]:
    """The files that an option names, by the number in their names; those without one (``net_g_latest.pth``) come last.

    Args:
        spec: A file or glob such as ``experiments/NAME/models/net_g_*.pth`` or ``work_dirs/NAME/iter_*.pth``, or a list
            of them.
        where: The option, for errors.

    Raises:
        InputError: It names nothing, or no file is there.
    """
    patterns = spec if isinstance(spec, list) else [spec]
    if not patterns or not all(isinstance(one, str | Path) and str(one) for one in patterns):
        raise InputError(f'expected files of weights, got {spec!r}', where=where, do='Give a file, a glob or a list')
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = expanded(pattern)
        matches = [path] if path.is_file() else [Path(one) for one in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - of any place
        files = [one for one in matches if one.is_file()]
        if not files:
            do = f'Write {path / "net_g_*.pth"} or the like' if path.is_dir() else 'Check the path'
            raise InputError(f'no checkpoint matches {pattern}', where=where, do=do)
        found.update(dict.fromkeys(files))
    return [Checkpoint(path, _iteration(path)) for path in sorted(found, key=_order)]


def _order(path: Path) -> tuple[float, str]:
    number = _NUMBER.search(path.stem)
    return (int(number[1]) if number else float('inf'), str(path))


def _iteration(path: Path) -> int | None:
    number = _NUMBER.search(path.stem)
    return int(number[1]) if number and 'epoch' not in path.stem else None
