"""A work-around for controlnet-aux 0.0.10, which MMagic imports, beside a mediapipe without ``solutions``."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path

__all__ = ['hide_broken_mediapipe', 'mediapipe_lacks_solutions']

_USER = 'controlnet_aux.mediapipe_face.mediapipe_face_common'


def mediapipe_lacks_solutions() -> bool:
    """Whether a mediapipe is installed without ``mediapipe.solutions``; it is not imported."""
    spec = importlib.util.find_spec('mediapipe')
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return bool(folders) and not any((folder / 'python' / 'solutions').is_dir() for folder in folders)


def hide_broken_mediapipe() -> None:
    """Let controlnet-aux, and with it ``mmagic.apis``, be imported beside a mediapipe without ``solutions``.

    One module of controlnet-aux uses them as soon as it finds a mediapipe, and does without where it finds none. So
    that module is shown none; all others import mediapipe as ever.
    """
    if _USER not in sys.modules and mediapipe_lacks_solutions():
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target) if fullname == _USER else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module that finds no mediapipe."""

    def exec_module(self, module: types.ModuleType) -> None:
        mine = {name: part for name, part in sys.modules.items() if name.partition('.')[0] == 'mediapipe'}
        sys.modules['mediapipe'] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', message="The module 'mediapipe' is not installed")
                super().exec_module(module)
        finally:
            del sys.modules['mediapipe']
            sys.modules.update(mine)
