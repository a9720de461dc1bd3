"""Defences that answer with less: compression, fewer levels, fewer pixels."""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np

from mea_plugin.core.schema import Number, Whole
from mea_plugin.core.signatures import checked

__all__ = ['Jpeg', 'Levels', 'Resize']


class Jpeg:
    """Answers as JPEG would show them: its blocks, its colours at half the resolution.

    Args:
        quality: libjpeg's, from 1 to 100.

    Raises:
        InputError: The quality is none.
    """

    @checked('defence jpeg')
    def __init__(self, quality: Annotated[int, Whole(1, 100)] = 75) -> None:
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._quality = quality

    def describe(self) -> dict[str, Any]:
        """The quality, and the version that decides over the last grey level."""
        return {'type': 'jpeg', 'quality': self._quality, 'opencv': cv2.__version__.split('.')[:2]}

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Encode and decode."""
        _, data = cv2.imencode('.jpg', cv2.cvtColor(answer, cv2.COLOR_RGB2BGR), self._parameters)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


class Levels:
    """Answers rounded to fewer levels per channel, black and white among them.

    Args:
        levels: How many, from 2 to 256.

    Raises:
        InputError: The number is none of these.
    """

    @checked('defence levels')
    def __init__(self, levels: Annotated[int, Whole(2, 256)] = 32) -> None:
        self._levels = levels
        steps = levels - 1
        self._table = np.rint(np.rint(np.arange(256) * steps / 255) * 255 / steps).astype(np.uint8)

    def describe(self) -> dict[str, Any]:
        """The number of levels."""
        return {'type': 'levels', 'levels': self._levels}

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Round."""
        return np.asarray(cv2.LUT(answer, self._table))


class Resize:
    """Answers made smaller and large again: their finest detail is gone, their size stays.

    Args:
        factor: By how much, above 1 and at most 16. Down by the mean of the area, up by bicubic interpolation.

    Raises:
        InputError: The factor is none of these.
    """

    @checked('defence resize')
    def __init__(self, factor: Annotated[float, Number(1.01, 16)] = 2.0) -> None:
        self._factor = factor

    def describe(self) -> dict[str, Any]:
        """The factor."""
        return {'type': 'resize', 'factor': self._factor, 'opencv': cv2.__version__.split('.')[:2]}

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Down and up."""
        height, width = answer.shape[:2]
        small = (max(1, round(width / self._factor)), max(1, round(height / self._factor)))
        return cv2.resize(
            cv2.resize(answer, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )

    def operators(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The same as matrices: rounding aside, ``apply`` is ``A @ answer @ B.T`` for each channel.

        Returns:
            float32 ``(height, height)`` and ``(width, width)``.
        """
        return self._operator(height), self._operator(width)

    def _operator(self, size: int) -> np.ndarray:
        small = max(1, round(size / self._factor))
        down = cv2.resize(np.eye(size, dtype=np.float32), (size, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(down, (size, size), interpolation=cv2.INTER_CUBIC))
