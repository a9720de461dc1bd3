"""What a metric is to those who run it, tabulate it and log it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mea_plugin.metrics.planes import Channel
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['Kind', 'Maker', 'Metric', 'cannot_measure']

Kind = Literal['pair', 'single', 'model', 'set']


@dataclass(frozen=True)
class Metric:
    """A metric under a stated protocol.

    Attributes:
        name: What option files and JSON call it, such as ``psnr_y``.
        title: What tables call it, such as ``Y-PSNR``.
        unit: ``dB``, or nothing.
        digits: Digits after the point in tables.
        better: Which values are better: ``higher`` or ``lower``.
        kind: What ``measure`` is given.

            * ``pair``: ``measure(image: Planes, reference: Planes) -> float``;
            * ``single``: ``measure(image: Planes) -> float``;
            * ``model``: ``measure(ask, query, answer) -> float``, with ``ask`` a function from one uint8 query
              ``(H, W, 3)`` to the model's answer, and uint8 arrays ``query`` and ``answer``;
            * ``set``: ``measure(images: ImageFeatures, references: ImageFeatures) -> float``
              (:mod:`mea_plugin.metrics.features`).

            Several threads call it at once, on the same images too. A value may be ``inf`` (equal images) or NaN (not
            defined for this image, such as one that is too small).
        protocol: One sentence: everything that the value depends on, and its source.
        measure: Computes it.
        fidelity_only: Only the victim's answer is a sensible reference, never a ground truth.
        channel: What it looks at: ``rgb`` or ``y``; a name that ends in ``_CHANNEL`` has a namesake on another one.
        backbone: The network it is computed with, if any; the name then ends in ``_BACKBONE``.
        missing: Why it cannot be computed here and how to change that, such as ``weights: put FILE into FOLDER``;
            nothing where it can. ``measure`` must not be called then.
        extractor: Of kind ``set``: makes what ``measure`` is given, ``extractor.collect(cache) -> ImageFeatures``; one
            object for all metrics that compare the same features.
    """

    name: str
    title: str
    unit: str
    digits: int
    better: Literal['higher', 'lower']
    kind: Kind
    protocol: str
    measure: Callable[..., Any]
    missing: str = ''
    fidelity_only: bool = False
    channel: Channel = 'rgb'
    backbone: str = ''
    extractor: Any = None


Maker = Callable[[str, WeightSource], Metric]
"""Makes the metric of a name."""


def cannot_measure(*_: Any) -> float:
    """:attr:`Metric.measure` of a metric that misses something.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError('this metric cannot be computed here; its attribute `missing` says why')
