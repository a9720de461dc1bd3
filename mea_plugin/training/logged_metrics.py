"""Metrics as a toolbox's validation logs them: toolboxes' images, and NaN with one warning for what is missing."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['ChannelOrder', 'LoggedMetric', 'check_weights', 'logged_metric', 'to_rgb']

ChannelOrder = Literal['bgr', 'rgb']

Warn = Callable[[str], Any]
"""Writes a warning into a toolbox's log."""


class LoggedMetric:
    """A metric of :mod:`mea_plugin.metrics` between two images, for a log in which nothing may stop a training.

    What cannot be computed is NaN, and is said once per process: weights that are not here, images that are too small.

    Args:
        metric: Of kind ``pair``; of a metric of another kind, what is missing can be announced.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._said: set[str] = set()

    def announce(self, warn: Warn) -> None:
        """Say, unless that has been said, that the metric will be NaN."""
        if self.metric.missing:
            self._say('missing', f'{self.metric.name} is NaN in this log: {self.metric.missing}', warn)

    def __call__(self, image: np.ndarray | None, reference: np.ndarray | None, *, border: int, warn: Warn) -> float:
        """The metric of two images as :func:`to_rgb` gives them.

        Args:
            image: uint8 ``(H, W, 3)``, RGB; None where it is not finite, which makes the metric NaN.
            reference: The same.
            border: Pixels to cut at each edge, also for metrics that elsewhere take whole images (LPIPS).
            warn: Where to say that the value is NaN for want of something.

        Raises:
            ValueError: The images differ in size.
        """
        self.announce(warn)
        if image is None or reference is None or self.metric.missing:
            return math.nan
        height, width = image.shape[:2]
        value = self._value(_cut(image, border), _cut(reference, border))
        if math.isnan(value):
            what = f'{self.metric.name} is NaN for {width}x{height} pixels less a border of {border}: too small'
            self._say('size', what, warn)
        return value

    def _value(self, image: np.ndarray, reference: np.ndarray) -> float:
        try:
            planes = [Planes(one, border=0) for one in (image, reference)]
        except InputError:  # smaller than any window
            return math.nan
        return float(self.metric.measure(*planes))

    def _say(self, what: str, text: str, warn: Warn) -> None:
        if what not in self._said:
            self._said.add(what)
            warn(text)


@functools.cache
def logged_metric(name: str, weights: str | None = None) -> LoggedMetric:
    """The metric of a name; made once per process, since some hold a network.

    Args:
        name: One of :func:`~mea_plugin.metrics.catalogue.metric_names`.
        weights: The folder of weight files; None: where ``MEA_METRIC_WEIGHTS`` points to.

    Raises:
        InputError: A weight file has the wrong content.
    """
    (metric,) = find_metrics([name], sources=_weight_source(weights))
    return LoggedMetric(metric)


def _weight_source(weights: str | None) -> WeightSource:
    """Where weight files are looked for, by an option ``weights: FOLDER``."""
    return WeightSource(folder=expanded(weights) if weights else None)


def check_weights(names: Sequence[str], weights: Any, *, where: str) -> None:
    """Check the folder of weights before a training; what is not in it is no error.

    Args:
        names: The metrics that need it.
        weights: The option's value: a folder, or nothing.
        where: The metric's section, for errors.

    Raises:
        InputError: There is no such folder, or a weight file in it has the wrong content.
    """
    if weights is not None and not (isinstance(weights, str) and expanded(weights).is_dir()):
        raise InputError(
            f'weights is {weights!r}, which is no folder', where=where, do='Give the folder that holds them'
        )
    find_metrics(names, sources=_weight_source(weights), where=where)


def _cut(image: np.ndarray, border: int) -> np.ndarray:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def to_rgb(image: Any, *, axes: str, order: ChannelOrder) -> np.ndarray | None:
    """An image as the metrics take it: what a PNG file of it would hold.

    Args:
        image: uint8 or float array of three channels, grey levels from 0 to 255; floats are rounded and clipped.
        axes: ``HWC`` or ``CHW``.
        order: Of its channels.

    Returns:
        uint8 ``(H, W, 3)``, RGB; None if a value is not finite.

    Raises:
        ValueError: It has not three channels, or ``axes`` is something else.
    """
    if axes not in ('HWC', 'CHW'):
        raise ValueError(f"input_order is '{axes}'; give HWC or CHW")
    array = np.asarray(image)
    if array.ndim == 3 and axes == 'CHW':
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f'expected an image of three channels, got an array of {array.shape}; use colour images')
    if array.dtype != np.uint8:
        if not np.isfinite(array).all():
            return None
        array = np.rint(array).clip(0, 255).astype(np.uint8)
    return array if order == 'rgb' else np.ascontiguousarray(array[..., ::-1])
