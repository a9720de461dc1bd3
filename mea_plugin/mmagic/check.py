"""Checks of an MMagic config before anything is built."""

from __future__ import annotations

from typing import Any

__all__ = ['check_config']


def check_config(cfg: Any, *, where: str, launcher: str = 'none', data: bool = True) -> None:
    """Placeholder until written below in this session"""
