"""OpenCV's photo filters as a victim: a style service that needs no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json
from mea_plugin.core.schema import Number, Text
from mea_plugin.core.signatures import checked

__all__ = ['STYLES', 'OpenCVVictim']

StyleName = Literal[
    'stylization', 'pencil_sketch', 'pencil_sketch_color', 'edge_preserving', 'edge_preserving_ncv', 'detail_enhance'
]


@dataclass(frozen=True)
class Style:
    """One of OpenCV's functions.

    Attributes:
        parameters: Those it takes, with OpenCV's defaults.
        apply: From a BGR image and the parameters to a BGR image.
    """

    parameters: dict[str, float]
    apply: Callable[..., np.ndarray]


STYLES: dict[StyleName, Style] = {
    'stylization': Style({'sigma_s': 60, 'sigma_r': 0.45}, lambda bgr, **p: cv2.stylization(bgr, **p)),
    'pencil_sketch': Style(
        {'sigma_s': 60, 'sigma_r': 0.07, 'shade_factor': 0.02},
        lambda bgr, **p: cv2.cvtColor(cv2.pencilSketch(bgr, **p)[0], cv2.COLOR_GRAY2BGR),
    ),
    'pencil_sketch_color': Style(
        {'sigma_s': 60, 'sigma_r': 0.07, 'shade_factor': 0.02}, lambda bgr, **p: cv2.pencilSketch(bgr, **p)[1]
    ),
    'edge_preserving': Style(
        {'sigma_s': 60, 'sigma_r': 0.4}, lambda bgr, **p: cv2.edgePreservingFilter(bgr, flags=1, **p)
    ),
    'edge_preserving_ncv': Style(
        {'sigma_s': 60, 'sigma_r': 0.4}, lambda bgr, **p: cv2.edgePreservingFilter(bgr, flags=2, **p)
    ),
    'detail_enhance': Style({'sigma_s': 10, 'sigma_r': 0.15}, lambda bgr, **p: cv2.detailEnhance(bgr, **p)),
}
"""By name; ``edge_preserving`` is OpenCV's recursive filter, ``edge_preserving_ncv`` its normalised convolution."""


class OpenCVVictim:
    """A named stylisation of OpenCV's ``photo`` module (Gastal and Oliveira, SIGGRAPH 2011); scale 1.

    Args:
        style: A key of :data:`STYLES`.
        name: How tables call it; by default the style.
        sigma_s: How far the filter reaches, in pixels; above 0, at most 200.
        sigma_r: How different colours may be that are averaged; above 0, at most 1.
        shade_factor: Brightness of a pencil sketch; above 0, at most 0.1. Parameters that are left out have OpenCV's
            defaults for that style.

    Raises:
        InputError: No such style, a parameter that it does not take, or one out of range.
    """

    @checked('victim')
    def __init__(
        self,
        style: StyleName,
        name: Text | None = None,
        sigma_s: Annotated[float, Number(above=0, most=200)] | None = None,
        sigma_r: Annotated[float, Number(above=0, most=1)] | None = None,
        shade_factor: Annotated[float, Number(above=0, most=0.1)] | None = None,
    ) -> None:
        given = {'sigma_s': sigma_s, 'sigma_r': sigma_r, 'shade_factor': shade_factor}
        self._style = STYLES[style]
        self._parameters = {key: float(value) for key, value in self._style.parameters.items()}
        for key, value in given.items():
            if value is None:
                continue
            if key not in self._parameters:
                do = f'It takes {", ".join(self._parameters)}'
                raise InputError(f'{style} has no {key}', where=f'victim.{key}', do=do)
            self._parameters[key] = value
        self.name = name or style
        self.scale = 1
        # The filters' results may change from one OpenCV to the next.
        version = cv2.__version__.split('.')[:2]
        self.fingerprint = hash_json({'type': 'opencv', 'style': style, **self._parameters, 'opencv': version})

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Stylise each image.

        Args:
            images: uint8 arrays ``(H, W, 3)``, RGB, of any sizes.

        Returns:
            uint8 arrays of the same sizes, RGB, in the same order.
        """
        return [self._answer(image) for image in images]

    def _answer(self, image: np.ndarray) -> np.ndarray:
        # The filters read beyond the edge of images of one pixel's height or width: give them a second one.
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, int(height < 2)), (0, int(width < 2)), (0, 0)), mode='edge')
        bgr = self._style.apply(np.ascontiguousarray(padded[..., ::-1]), **self._parameters)
        return np.ascontiguousarray(bgr[:height, :width, ::-1])
