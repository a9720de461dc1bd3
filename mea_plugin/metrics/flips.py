"""Consistency under flips: whether a model answers a mirrored query with the mirrored answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.psnr_ssim import to_db
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['METRICS', 'flip_psnr']


def flip_psnr(ask: Callable[[np.ndarray], np.ndarray], query: np.ndarray, answer: np.ndarray) -> float:
    """PSNR on RGB between a model's answer and its answers to the flipped queries, flipped back.

    ``10 log10(255^2 / mean_f mean (answer - f(ask(f(query))))^2)`` over the flips ``f``, upside down and left to
    right; no border is cut. ``inf`` for a model that commutes with both.

    Args:
        ask: From one uint8 query ``(H, W, 3)`` to the model's answer; asked twice.
        query: uint8 ``(H, W, 3)``.
        answer: The model's answer to it, uint8.

    Raises:
        ValueError: The model answers a flipped query in another size.
    """
    errors = []
    for axis in (0, 1):
        flipped = np.flip(ask(np.ascontiguousarray(np.flip(query, axis))), axis)
        if flipped.shape != answer.shape:
            raise ValueError(f'the answer to a flipped query is {flipped.shape}, the one to the query {answer.shape}')
        difference = np.subtract(answer, flipped, dtype=np.float64)
        errors.append(float(np.square(difference).mean()))
    return to_db(sum(errors) / len(errors))


def _make(name: str, _: WeightSource) -> Metric:
    return Metric(
        name=name,
        title='Flip PSNR',
        unit='dB',
        digits=2,
        better='higher',
        kind='model',
        protocol=(
            "PSNR on R, G and B between a model's answer and its answers to the query flipped upside down and left to "
            'right, flipped back, of their joint mean squared error, peak 255, no border cut; infinite where equal'
        ),
        measure=flip_psnr,
    )


METRICS: dict[str, Maker] = {'flip_psnr': _make}
