"""Losses of the extraction, free of any toolbox."""

from __future__ import annotations

from typing import Any

from mea_plugin.losses.registry import LOSSES, register_loss

__all__ = [*sorted(LOSSES.built_in), 'register_loss']


def __getattr__(name: str) -> Any:
    if name in LOSSES.built_in:
        return LOSSES.find(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
