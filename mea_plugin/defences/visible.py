"""A watermark that customers see."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import AfterValidator

from mea_plugin.core.schema import Number, refusal, shortened
from mea_plugin.core.signatures import checked
from mea_plugin.defences.base import rounded

__all__ = ['VisibleWatermark']

_FONT, _LONGEST = cv2.FONT_HERSHEY_SIMPLEX, 64
_HIDDEN = 0.98  # weight from which on a grey level of the answer is less than one of the picture


def _check_text(text: str) -> str:
    if not 0 < len(text) <= _LONGEST or not (text.isascii() and text.isprintable()):
        raise refusal(f'got {shortened(text)}', do=f'Give up to {_LONGEST} printable ASCII characters')
    return text


class VisibleWatermark:
    """White text with a dark edge, in a corner or all over the answer.

    Args:
        text: Up to 64 printable ASCII characters: OpenCV's font has no others.
        opacity: Above 0, at most 1.
        width: Of the text, as a share of the answer's width; at most 1: a watermark larger than the image is refused.
        tiled: All over, so that no crop is free of it; else at the lower right.

    Raises:
        InputError: An option is out of range, or the text is none.
    """

    @checked('defence visible_watermark')
    def __init__(
        self,
        text: Annotated[str, AfterValidator(_check_text)],
        opacity: Annotated[float, Number(0.01, 1)] = 0.3,
        width: Annotated[float, Number(0.01, 1)] = 0.4,
        tiled: bool = False,
    ) -> None:
        self._text, self._opacity, self._width, self._tiled = text, opacity, width, tiled
        self._mark = functools.lru_cache(maxsize=8)(self._draw)  # services answer images of few sizes

    def describe(self) -> dict[str, Any]:
        """All options."""
        return {
            'type': 'visible_watermark',
            'text': self._text,
            'opacity': self._opacity,
            'width': self._width,
            'tiled': self._tiled,
            'opencv': cv2.__version__.split('.')[:2],
        }

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Blend it in."""
        colour, weight = self._mark(*answer.shape[:2])
        return rounded(answer + weight * (colour - answer))

    def undo(self, answer: np.ndarray) -> np.ndarray:
        """Take it away again, up to rounding; where it hides the answer it stays."""
        colour, weight = self._mark(*answer.shape[:2])
        share = np.maximum(1 - weight, 1 - _HIDDEN)
        return np.where(weight < _HIDDEN, rounded((answer - weight * colour) / share), answer)

    def _draw(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Grey levels and weights, float32 ``(H, W, 1)``."""
        text, wanted = self._text, self._width * width
        (unit, _), _ = cv2.getTextSize(text, _FONT, 1, 1)
        scale = wanted / unit
        thickness = max(1, round(2 * scale))
        (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, thickness)
        edge, face = (np.zeros((height, width), np.uint8) for _ in range(2))
        right, bottom = width - text_width - text_height // 2, height - below - text_height // 2
        places = [(max(0, right), max(text_height, bottom))]
        if self._tiled:
            step = max(1, 3 * (text_height + below))
            rows = range(text_height, height + step, step)
            places = [
                (x - (row % 2) * text_width // 2, y)
                for row, y in enumerate(rows)
                for x in range(0, width + text_width, max(1, round(1.3 * text_width)))
            ]
        for place in places:
            cv2.putText(edge, text, place, _FONT, scale, 255, thickness + max(2, thickness), cv2.LINE_AA)
            cv2.putText(face, text, place, _FONT, scale, 255, thickness, cv2.LINE_AA)
        weight = np.maximum(edge, face).astype(np.float32)[..., None] * (self._opacity / 255)
        return face.astype(np.float32)[..., None], weight
