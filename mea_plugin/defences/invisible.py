"""A watermark that customers do not see, and that a surrogate learns along with the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np

from mea_plugin.core.schema import Number
from mea_plugin.core.signatures import checked
from mea_plugin.defences.base import Key, Secret, rounded

__all__ = ['SIZE', 'InvisibleWatermark', 'KeyedMark', 'symmetric']

SIZE = 5
"""Of the filters, in pixels of the query."""

_FEATURES = 4
_FREQUENCY = 20.0  # of the cosine: far from linear on ordinary texture


class KeyedMark:
    """What a key adds to the answer: a small random network of the query.

        m(x) = 1/2 sum_i c_i (cos(w K_i * x + f_i) - cos f_i),   x in [0, 1],

    with four random filters ``K_i`` of 5x5 pixels and three channels, each of zero mean, of norm 1, and equal under
    flips and rotations by 90 degrees, random phases ``f_i``, and random colours ``c_i`` of norm ``sqrt(3)``; at scale
    ``s`` enlarged by bicubic interpolation. It is a function of the query, which a network learns from the answers as
    it learns the victim, so it does not go away where answers are averaged, cropped, flipped or turned; where the
    query is flat, it is zero.

    Args:
        generator: Of the key.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        filters = symmetric(generator.standard_normal((_FEATURES, 3, SIZE, SIZE)))
        filters -= filters.mean(axis=(2, 3), keepdims=True)
        filters /= np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
        colours = generator.standard_normal((_FEATURES, 3))
        colours *= np.sqrt(3 / (colours**2).sum(axis=1, keepdims=True) / _FEATURES)
        phases = generator.uniform(0, 2 * np.pi, _FEATURES)
        self._filters = np.ascontiguousarray(filters, np.float32) * np.float32(_FREQUENCY / 255)
        self._phases = phases.astype(np.float32)
        # A last column for what is subtracted, so that one matrix makes colours of features.
        self._colours = np.column_stack([colours.T, -colours.T @ np.cos(phases)]).astype(np.float32)

    def draw(self, query: np.ndarray, scale: int) -> np.ndarray:
        """The mark of unit amplitude.

        Args:
            query: uint8 ``(h, w, 3)``, RGB.
            scale: Of the answer.

        Returns:
            float32 ``(scale h, scale w, 3)``.
        """
        channels = cv2.split(query.astype(np.float32))
        features = np.stack([_filtered(channels, of) for of in self._filters], axis=-1)
        mark = cv2.transform(np.cos(features + self._phases), self._colours)
        if scale > 1:
            size = (query.shape[1] * scale, query.shape[0] * scale)
            mark = cv2.resize(mark, size, interpolation=cv2.INTER_CUBIC)
        return np.asarray(mark, np.float32)


def _filtered(channels: Sequence[np.ndarray], filters: np.ndarray) -> np.ndarray:
    found = [
        cv2.filter2D(channel, -1, one, borderType=cv2.BORDER_REFLECT)
        for channel, one in zip(channels, filters, strict=True)
    ]
    return np.sum(found, axis=0)


def symmetric(filters: np.ndarray) -> np.ndarray:
    """Filters ``(..., n, n)`` averaged over flips and rotations by 90 degrees."""
    turned = [np.rot90(one, turns, axes=(-2, -1)) for one in (filters, filters[..., ::-1]) for turns in range(4)]
    return np.asarray(np.mean(turned, axis=0))


class InvisibleWatermark:
    """Adds the mark of a key to the answers, at the strength of a grey level or two.

    Whether a suspect network carries it is what :func:`~mea_plugin.ownership.verify.verify` says.

    Args:
        amplitude: In grey levels: the largest root mean square that the mark has, where the query is full of texture.
            Above 0, at most 16.
        key: The secret; see :class:`~mea_plugin.defences.base.Key`.
        key_file: Or a file that holds it.

    Attributes:
        mark: What is added, before the amplitude.

    Raises:
        InputError: The amplitude is out of range, or there is no key.
    """

    @checked('defence invisible_watermark')
    def __init__(
        self,
        amplitude: Annotated[float, Number(0.01, 16)] = 2.0,
        key: Secret | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        self._amplitude = amplitude
        self._key = Key(key, key_file, 'defence invisible_watermark')
        self.mark = KeyedMark(self._key.generator('mark'))

    def describe(self) -> dict[str, Any]:
        """The amplitude, and the key by its fingerprint."""
        return {'type': 'invisible_watermark', 'amplitude': self._amplitude, 'key': self._key.fingerprint}

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Add the mark."""
        mark = self.mark.draw(query, answer.shape[0] // query.shape[0])
        mark *= self._amplitude
        mark += answer
        return rounded(mark)
