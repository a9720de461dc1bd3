"""The table of all losses, from which both toolboxes register them."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ['LOSSES', 'find_loss']

LOSSES = {
    'HighFrequencyLoss': 'mea_plugin.losses.high_frequency:HighFrequencyLoss',
    'FocalFrequencyLoss': 'mea_plugin.losses.focal_frequency:FocalFrequencyLoss',
}
"""``module:class`` by name; a module is imported when its loss is asked for."""


def find_loss(name: str) -> Any:
    """The class of a loss.

    Raises:
        KeyError: There is no loss of that name.
    """
    module, _, attribute = LOSSES[name].partition(':')
    return getattr(importlib.import_module(module), attribute)
