"""SSIM's Gaussian window, slid over images: local means and variances, and how alike two images are under it.

The window is separable: one pass along the columns, one along the rows. A pass is the product with a banded matrix, in
small dense blocks, which a machine's matrix product does several times as fast as sample after sample. All of it goes
strip by strip, so that what is computed in between stays in the processor's cache; numpy lets other threads run
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

__all__ = ['K1', 'K2', 'SIGMA', 'WINDOW', 'Local', 'blur', 'local', 'similarity', 'strips']

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03

_C1, _C2 = (K1 * 255) ** 2, (K2 * 255) ** 2
_MARGIN = WINDOW - 1

# Outputs of a block. Larger ones multiply more zeros, smaller ones are more calls; 16 is the fastest, 8 to 24 are near.
_BLOCK = 16
# Samples of a strip: half a megabyte in float64, a few of which fit into a core's second-level cache.
_STRIP = 2**16


class Local(NamedTuple):
    """An image and its local statistics.

    Attributes:
        values: ``(C, H, W)``, of any type.
        mean: ``(C, H - 10, W - 10)``: under the window at every position where it fits whole.
        variance: The same shape; of the population, as the window is the distribution.
    """

    values: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def local(values: np.ndarray) -> Local:
    """The local statistics of ``values``, ``(C, H, W)``."""
    count, height, width = values.shape
    mean = np.empty((count, height - _MARGIN, width - _MARGIN))
    variance = np.empty_like(mean)
    for plane, part, here in zip(values, mean, variance, strict=True):
        for rows in strips(*part.shape):
            strip = np.asarray(plane[rows.start : rows.stop + _MARGIN], np.float64)
            part[rows] = blur(strip)
            np.subtract(blur(strip * strip), part[rows] ** 2, out=here[rows])
    return Local(values, mean, variance)


def similarity(first: Local, second: Local) -> tuple[np.ndarray, np.ndarray]:
    """SSIM, and the part of it that compares contrast and structure, each ``(C,)``: the mean over all positions.

    ``SSIM = (2 m_a m_b + C1) / (m_a^2 + m_b^2 + C1) * cs`` with ``cs = (2 s_ab + C2) / (s_a^2 + s_b^2 + C2)``,
    ``C1 = (0.01 * 255)^2`` and ``C2 = (0.03 * 255)^2``. Exactly 1 for equal images.
    """
    sums = np.zeros((2, len(first.mean)))
    for index in range(len(first.mean)):
        (values_a, mean_a, variance_a), (values_b, mean_b, variance_b) = (
            tuple(part[index] for part in image) for image in (first, second)
        )
        for rows in strips(*mean_a.shape):
            padded = slice(rows.start, rows.stop + _MARGIN)
            product = mean_a[rows] * mean_b[rows]
            structure = blur(np.multiply(values_a[padded], values_b[padded], dtype=np.float64))
            structure -= product
            structure *= 2
            structure += _C2
            spread = variance_a[rows] + variance_b[rows]
            spread += _C2
            structure /= spread
            product *= 2
            product += _C1
            # m_a^2 + m_b^2 = (m_a - m_b)^2 + 2 m_a m_b
            squares = mean_a[rows] - mean_b[rows]
            squares *= squares
            squares += product
            product /= squares
            sums[1, index] += structure.sum()
            product *= structure
            sums[0, index] += product.sum()
    ssim, contrast = sums / first.mean[0].size
    return ssim, contrast


def blur(values: np.ndarray) -> np.ndarray:
    """Gaussian window at every position where it fits whole: float64 ``(H, W)`` to ``(H - 10, W - 10)``."""
    return _slide(_slide(values).T).T


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an image, in strips that fit into a cache."""
    rows = max(_BLOCK, _STRIP // width)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _slide(values: np.ndarray) -> np.ndarray:
    """The window along the first axis: ``(H, W)`` to ``(H - 10, W)``, in the order in memory that ``values`` has."""
    height, width = values.shape[0] - _MARGIN, values.shape[1]
    out = np.empty((height, width)) if values.flags.c_contiguous else np.empty((width, height)).T
    blocks, rest = divmod(height, _BLOCK)
    if blocks:
        windows, parts = (
            as_strided(array, (blocks, rows, width), (_BLOCK * array.strides[0], *array.strides))
            for array, rows in ((values, _BLOCK + _MARGIN), (out, _BLOCK))
        )
        np.matmul(_weights(_BLOCK), windows, out=parts)
    if rest:
        np.matmul(_weights(rest), values[-rest - _MARGIN :], out=out[-rest:])
    return out


@lru_cache(maxsize=_BLOCK)
def _weights(count: int) -> np.ndarray:
    """The window as a banded matrix ``(count, count + 10)``: each row is the one above, one sample further."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * SIGMA**2))
    window /= window.sum()
    matrix = np.zeros((count, count + _MARGIN))
    for row in range(count):
        matrix[row, row : row + WINDOW] = window
    return matrix
