"""Metrics by name. Importing this module loads none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mea_plugin.core.registry import Registry

if TYPE_CHECKING:
    from mea_plugin.metrics.metric import Maker

__all__ = ['METRICS', 'register_metric']

METRICS: Registry[Maker] = Registry('metric', {}, group='mea_plugin.metrics', expected='a function that makes a Metric')
"""All metrics; :mod:`~mea_plugin.metrics.catalogue` puts those of this package there. Another package adds to them with
entry points of the group ``mea_plugin.metrics``."""


def register_metric(name: str, maker: Maker | None = None) -> Any:
    """Add a metric of your own; without a maker, a decorator.

    Args:
        name: What the ``metrics`` of option files call it.
        maker: Called with the name and a :class:`~mea_plugin.metrics.weight_source.WeightSource`, where learned metrics
            find their weights; returns a :class:`~mea_plugin.metrics.metric.Metric`.

    Returns:
        The maker, or the decorator.

    Raises:
        InputError: The name is taken.

    Example:
        >>> @register_metric('max_error')
        ... def max_error(name, sources):
        ...     measure = lambda image, reference: float(abs(image.y - reference.y).max())
        ...     return Metric(name, 'Max. error', '', 1, 'lower', 'pair', 'largest difference on Y', measure)
    """
    return METRICS.register(name) if maker is None else METRICS.register(name, maker)
