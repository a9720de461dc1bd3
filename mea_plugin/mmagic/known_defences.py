"""The argument ``known_defences`` of the extraction models."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mea_plugin.defences.through import ThroughDefences
from mea_plugin.errors import InputError
from mea_plugin.options import check_keys, require

__all__ = ['TrainsThrough', 'through_defences']

_ORDERS = ('rgb', 'bgr')


def through_defences(
    known: Any, preprocessor: nn.Module | None = None, *, where: str = 'model.known_defences'
) -> ThroughDefences | None:
    """What shows outputs as the victim's answers are shown; None without the option.

    Args:
        known: ``defences``, a list as in option files, and ``channel_order`` of what the pipelines load (``rgb``).
        preprocessor: The model's, which says what range outputs have.
        where: The option, for errors.

    Raises:
        InputError: The defences cannot be made, or not be imitated.
    """
    if not known:
        return None
    check_keys(known, ('defences', 'channel_order'), where)
    order = known.get('channel_order', 'rgb')
    if order not in _ORDERS:
        raise InputError(f'channel_order is {order!r}', where=where, do='Write rgb or bgr')
    low, high = _value_range(preprocessor)
    entries = require(known, 'defences', where)
    return ThroughDefences(entries, low=low, high=high, channel_order=order, where=f'{where}.defences')


def _value_range(preprocessor: Any) -> tuple[float, float]:
    """What a preprocessor makes of 0 and 255."""
    if not getattr(preprocessor, '_enable_normalize', False):
        return 0.0, 255.0
    mean, std = preprocessor.mean.flatten(), preprocessor.std.flatten()
    if (mean != mean[0]).any() or (std != std[0]).any():
        what = 'mean or std differs from channel to channel'
        raise InputError(what, where='model.data_preprocessor', do='Give one for all, or remove known_defences')
    return -float(mean[0]) / float(std[0]), (255 - float(mean[0])) / float(std[0])


class TrainsThrough:
    """Mixin before MMagic's models: in training the generator's output is shown as the victim's answers are."""

    _through: ThroughDefences | None

    def _build_through(self, known: Any) -> None:
        self._through = through_defences(known, getattr(self, 'data_preprocessor', None))

    def _shown(self, output: Tensor) -> Tensor:
        """An output as the victim's answers are shown, if the defences on them are known."""
        return self._through(output) if self._through else output
