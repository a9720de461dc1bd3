"""Which images of a source an attacker asks about."""

from __future__ import annotations

import numpy as np
import pywt

from mea_plugin.core.errors import InputError
from mea_plugin.data.references import ImageRef
from mea_plugin.data.sources import image_references, read_shrunk
from mea_plugin.metrics.planes import Y_WEIGHTS
from mea_plugin.study.options import ImageSource, QuerySource

__all__ = ['detail', 'source_images']

_SCORES: dict[tuple[str | int, ...], float] = {}  # a study looks several times, and reading a source takes a while


def source_images(source: ImageSource, *, where: str) -> dict[str, ImageRef]:
    """The images of a source that budgets are drawn from, by name: all, or those with the most or the least detail.

    Raises:
        InputError: There are none.
    """
    images = image_references(source.images, where=where)
    if not isinstance(source, QuerySource) or source.pick is None:
        return images
    scores = {name: _score(image, source.shrink) for name, image in images.items()}
    order = sorted(images, key=lambda name: (scores[name], name), reverse=source.pick == 'busiest')
    count = int(source.share * len(order))
    if count == 0:
        raise InputError(f'{source.share} of {len(order)} images is none', where=where, do='Raise share')
    return {name: images[name] for name in sorted(order[:count])}


def detail(image: np.ndarray) -> float:
    """How much fine detail an image has: the mean square of the finest Haar bands of luma, in squared grey levels.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
    """
    _, bands = pywt.dwt2(image @ np.asarray(Y_WEIGHTS), 'haar', mode='periodization')
    return float(np.mean([np.mean(band**2) for band in bands]))


def _score(image: ImageRef, shrink: int) -> float:
    key = (shrink, *image.signature())
    if key not in _SCORES:
        _SCORES[key] = detail(next(read_shrunk([image], shrink)))
    return _SCORES[key]
