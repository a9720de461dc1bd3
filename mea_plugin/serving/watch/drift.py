"""Whether what a customer sends is of the kind that customers send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.data.texture import FEATURES, PATCH, patch_features

__all__ = ['Ordinary', 'content_features']

_SIDE = 4  # patches per row and column of a grid over the image


def content_features(image: np.ndarray) -> np.ndarray | None:
    """The mean of the domain distance's features over 16 patches on a grid: float64 ``(10,)``; None below 24 pixels.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
    """
    height, width = image.shape[:2]
    if min(height, width) < PATCH:
        return None
    tops, lefts = (np.linspace(0, size - PATCH, _SIDE).astype(int) for size in (height, width))
    patches = [image[top : top + PATCH, left : left + PATCH] for top in tops for left in lefts]
    return np.asarray(patch_features(np.asarray(patches, np.float64)).mean(axis=0))


@dataclass(frozen=True)
class Ordinary:
    """What ordinary customers send.

    For customers ``c`` and their images ``x`` the features are taken as ``f = m + b_c + w_x`` with ``b`` of covariance
    ``B`` (customers have themes) and ``w`` of covariance ``W``.

    Attributes:
        mean: ``m``.
        between: ``B``.
        within: ``W``.
    """

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray

    @classmethod
    def fit(cls, streams: Sequence[Iterable[np.ndarray]]) -> Ordinary:
        """Estimate it from ordinary customers' images.

        Args:
            streams: The images of each customer: uint8 ``(H, W, 3)``, RGB.

        Raises:
            InputError: There are fewer than two customers with two images each.
        """
        found = [
            np.array([features for image in stream if (features := content_features(image)) is not None])
            for stream in streams
        ]
        found = [one for one in found if len(one) > 1]
        if len(found) < 2:
            what = f'{len(found)} ordinary customers with two images or more are too few'
            raise InputError(what, do='Give two or more')
        within = sum((len(one) - 1) * np.cov(one, rowvar=False) for one in found) / sum(len(one) - 1 for one in found)
        means = np.array([one.mean(axis=0) for one in found])
        noise = within * np.mean([1 / len(one) for one in found])
        values, vectors = np.linalg.eigh(np.cov(means, rowvar=False) - noise)
        between = (vectors * np.clip(values, 0, None)) @ vectors.T
        return cls(means.mean(axis=0), between, np.asarray(within))

    def distance(self, mean: np.ndarray, count: float) -> float:
        """How far a customer's mean of ``count`` images is out: 1 is what customers have on average.

        ``sqrt((f - m)' (B + W / count)^-1 (f - m) / 10)``
        """
        offset = mean - self.mean
        covariance = self.between + self.within / count
        # Few customers span few directions: the others are not without variance.
        covariance = covariance + np.eye(FEATURES) * np.trace(covariance) / FEATURES * 1e-2
        return float(np.sqrt(offset @ np.linalg.solve(covariance, offset) / FEATURES))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {name: getattr(self, name).tolist() for name in ('mean', 'between', 'within')}

    @classmethod
    def from_json(cls, value: Any, where: str) -> Ordinary:
        """From :meth:`to_json`.

        Raises:
            InputError: It is something else.
        """
        shapes = {'mean': (FEATURES,), 'between': (FEATURES, FEATURES), 'within': (FEATURES, FEATURES)}
        try:
            found = {name: np.asarray(value[name], np.float64) for name in shapes}
            if any(found[name].shape != shape or not np.isfinite(found[name]).all() for name, shape in shapes.items()):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError('that describes no ordinary use', where=where, do='Calibrate the detector anew') from None
        return cls(**found)
