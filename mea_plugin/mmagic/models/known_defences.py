"""The argument ``known_defences`` of the extraction models."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mea_plugin.defences.through import ThroughDefences

__all__ = ['TrainsThrough']


class TrainsThrough:
    """Mixin before MMagic's models: in training the generator's output is shown as the victim's answers are."""

    _through: ThroughDefences | None

    def _build_through(self, known: list[dict[str, Any]] | None) -> None:
        self._through = ThroughDefences(known, where='model.known_defences') if known else None

    def _shown(self, output: Tensor) -> Tensor:
        """An output as the victim's answers are shown, if the defences on them are known."""
        return self._through(output) if self._through else output
