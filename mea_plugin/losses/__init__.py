"""Losses of the extraction, free of any toolbox."""

from __future__ import annotations

from typing import Any

from mea_plugin.losses.registry import LOSSES, find_loss

__all__ = sorted(LOSSES)


def __getattr__(name: str) -> Any:
    if name in LOSSES:
        return find_loss(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
