"""NIQE, which judges one image without a reference, through the toolbox that is installed."""

from __future__ import annotations

import functools
import importlib
import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from mea_plugin.core.packages import lacking, to_install
from mea_plugin.metrics.metric import Maker, Metric, cannot_measure
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['BLOCK', 'METRICS', 'basicsr_niqe', 'measure_niqe', 'mmagic_niqe']

BLOCK = 96

Niqe = Callable[[np.ndarray], float]
"""A toolbox's NIQE on Y of a uint8 BGR image ``(H, W, 3)``."""


def measure_niqe(image: Planes, *, niqe: Niqe) -> float:
    """The natural image quality evaluator: how far an image's statistics are from those of pristine photographs.

    ``sqrt((v_1 - v_2)^T ((S_1 + S_2) / 2)^-1 (v_1 - v_2))`` with mean and covariance of 36 features of the image's 96 x
    96 blocks, and those of the authors' photographs. From Mittal et al., *Making a "Completely Blind" Image Quality
    Analyzer*, IEEE Signal Processing Letters 2013, equation 10.

    Args:
        image: The image; its border is left out.
        niqe: The toolbox's function.

    Returns:
        The distance; NaN where fewer than two blocks fit into the image or have a variance.
    """
    height, width = image.image.shape[:2]
    if (height // BLOCK) * (width // BLOCK) < 2:
        return math.nan
    try:
        with np.errstate(invalid='ignore'):  # blocks of one colour; the toolboxes leave them out
            return float(niqe(np.ascontiguousarray(image.image[..., ::-1])))
    except np.linalg.LinAlgError:  # the covariance of fewer than two blocks: the others are of one colour
        return math.nan


def basicsr_niqe() -> Niqe:
    """BasicSR's.

    Raises:
        ImportError: BasicSR is not installed.
    """
    from mea_plugin.toolboxes import basicsr_compat as compat

    compat.apply()
    return partial(importlib.import_module('basicsr.metrics.niqe').calculate_niqe, crop_border=0, convert_to='y')


def mmagic_niqe() -> Niqe:
    """MMagic's.

    Raises:
        ImportError: MMagic is not installed.
    """
    from mea_plugin.toolboxes import mmagic_compat as compat

    compat.apply()
    return partial(importlib.import_module('mmagic.evaluation.metrics.niqe').niqe, crop_border=0, convert_to='y')


_TOOLBOXES = {'basicsr': basicsr_niqe, 'mmagic': mmagic_niqe}


@functools.cache
def _niqe_of(toolbox: str) -> Niqe:
    return _TOOLBOXES[toolbox]()


def _measure(image: Planes, *, toolbox: str) -> float:
    """With the toolbox's function, which is imported when it is needed."""
    return measure_niqe(image, niqe=_niqe_of(toolbox))


def _make(name: str, _: WeightSource) -> Metric:
    toolbox = next((one for one in _TOOLBOXES if not lacking(one)), None)
    # Of a block of one colour, once for each; a filter cannot be set in one of several threads alone.
    warnings.filterwarnings('ignore', 'Mean of empty slice', RuntimeWarning)
    return Metric(
        name=name,
        title='NIQE',
        unit='',
        digits=3,
        better='lower',
        kind='single',
        channel='y',
        protocol=(
            f"NIQE on Y of ITU-R BT.601, rounded, border cut, {BLOCK}x{BLOCK} blocks (at least two), the authors' "
            'parameters (Mittal et al., IEEE SPL 2013)'
        ),
        measure=partial(_measure, toolbox=toolbox) if toolbox else cannot_measure,
        missing='' if toolbox else f'BasicSR or MMagic, which compute it: {to_install("basicsr")}',
    )


METRICS: dict[str, Maker] = {'niqe': _make}
