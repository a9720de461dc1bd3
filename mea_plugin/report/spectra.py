"""Mean power spectra of the pictures that the page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mea_plugin.core.images import image_size
from mea_plugin.report.images import Picture

__all__ = ['Spectra']

_RINGS = 96  # as many as a curve of a column's width shows


class Spectra:
    """Collects the radial power spectrum of every answer, and averages each model's over the images of a set.

    Args:
        pictures: All that will come; the smallest of a set decides how many rings its spectra have.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._rings: dict[tuple[int, str], int] = {}
        self._sums: dict[tuple[int, str], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
        for picture in pictures:
            answer = next(path for key, path in picture.files.items() if key != 'query' or len(picture.files) == 1)
            rings = min(_RINGS, min(image_size(answer)) // 2)
            key = picture.source, picture.set_name
            self._rings[key] = min(self._rings.get(key, rings), rings)

    def add(self, picture: Picture, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up one image: uint8 arrays ``(H, W, 3)`` by the keys of its files."""
        from mea_plugin.metrics.spectrum import radial_spectrum

        rings = self._rings[picture.source, picture.set_name]
        for key, array in arrays.items():
            if key != 'query' and rings:
                _, decibels = radial_spectrum(array, rings=rings)
                self._sums[picture.source, picture.set_name][key].append(decibels)

    def mean(self, source: int, set_name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Radii in cycles per pixel, and decibels by key, averaged over the images; empty where none was shown."""
        found = self._sums.get((source, set_name), {})
        means = {key: np.mean(spectra, axis=0) for key, spectra in found.items()}
        length = len(next(iter(means.values()), ()))
        return np.linspace(0, 0.5, length), means
