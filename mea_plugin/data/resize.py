"""Bicubic resizing as MATLAB's ``imresize`` does it, with the toolbox's own weights."""

from __future__ import annotations

import functools
import importlib.util
import math
from fractions import Fraction
from types import ModuleType
from typing import Literal

import numpy as np

from mea_plugin.core.errors import InputError

__all__ = ['Like', 'bicubic', 'check_scale', 'downscale', 'mod_crop']

Like = Literal['matlab', 'basicsr']
"""Whose result: ``matlab`` is ``imresize`` on an 8-bit image, ``basicsr`` the toolbox's port of it."""


def bicubic(image: np.ndarray, factor: Fraction | float, *, like: Like = 'matlab') -> np.ndarray:
    r"""Resize an image with Keys' bicubic kernel (a = -1/2), antialiased when it shrinks.

    Along an axis of length ``n``, output ``i`` of ``ceil(s n)`` lies at ``u = (i + 1/2) / s - 1/2`` and is

    .. math:: y_i = \sum_k w_{ik} x_k / \sum_k w_{ik}, \qquad w_{ik} = c\,h(c\,(u - k)), \quad c = \min(s, 1),

    where ``x`` is mirrored beyond its ends, edge pixel included. Rows first, then columns; on an 8-bit image MATLAB
    rounds between the two. BasicSR's ``imresize`` keeps the fractions and differs by one grey level in a tenth of the
    pixels, by more at sharp edges. (Measured on the x4 images of Set5 and Set14: equal but for the 4 pixels along the
    border, where those repeat the edge pixel instead of mirroring it.)

    Args:
        image: uint8 ``(H, W, 3)``, of any size.
        factor: Output size by input size, above 0; a float such as ``1 / 3`` stands for the nearest simple fraction.
        like: ``'matlab'``, or ``'basicsr'`` to get what ``basicsr.utils.matlab_functions.imresize`` gives.

    Returns:
        uint8 ``(ceil(factor * H), ceil(factor * W), 3)``, rounded and clipped.

    Raises:
        ValueError: The image is no uint8 ``(H, W, 3)``, the factor is not above 0, or ``like`` is neither of the two.
        InputError: BasicSR is not installed.

    Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f'expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}; convert it first')
    factor = Fraction(factor).limit_denominator(64)
    if factor <= 0:
        raise ValueError(f'the factor is {factor}; give a number above 0')
    if like == 'basicsr':
        return _imresize(image, factor)
    if like != 'matlab':
        raise ValueError(f"like is {like!r}; give 'matlab' or 'basicsr'")
    rows = _resize_rows(image, factor)
    columns = _resize_rows(np.ascontiguousarray(rows.transpose(1, 0, 2)), factor)
    return np.ascontiguousarray(columns.transpose(1, 0, 2))


def _resize_rows(image: np.ndarray, factor: Fraction) -> np.ndarray:
    """Resize the first axis of a uint8 array ``(N, M, 3)`` and round."""
    weights, sources = _weights(len(image), factor)
    result = np.zeros((len(weights), *image.shape[1:]))
    for tap in range(weights.shape[1]):
        result += weights[:, tap, None, None] * image[sources[:, tap]]
    return _to_uint8(result)


@functools.lru_cache(maxsize=64)
def _weights(length: int, factor: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Weights, float64, and the pixels they belong to, both ``(output length, taps)``."""
    out_length = math.ceil(length * factor)
    weights, indices, before, _ = _toolbox().calculate_weights_indices(
        length, out_length, float(factor), 'cubic', 4, antialiasing=True
    )
    # The toolbox counts from its padded image's start, whose padding fails for images smaller than the kernel.
    period = indices.numpy().astype(int) - before
    period %= 2 * length
    return weights.numpy().astype(float), np.minimum(period, 2 * length - 1 - period)


def _imresize(image: np.ndarray, factor: Fraction) -> np.ndarray:
    """The toolbox's ``imresize`` itself, for sizes that it rounds up wrongly or is too small for, too."""
    height, width = (math.ceil(size * factor) for size in image.shape[:2])
    scale = float(factor)
    if Fraction(scale) > factor:  # 35 * 0.2 is above 7, and the toolbox would make 8 pixels of it
        scale = math.nextafter(scale, 0)
    margin = 0
    if min(image.shape[:2]) < 3 / factor:
        margin = factor.denominator * math.ceil(3 / factor)  # a whole number of output pixels
        image = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode='symmetric')
    result = _toolbox().imresize(image.astype(np.float32) / 255, scale) * 255
    start = int(margin * factor)
    result = result[start : start + height, start : start + width]
    return result.round().clip(0, 255).astype(np.uint8)  # half to even, as the toolbox's own tensor2img


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round half up and clip, as MATLAB's ``uint8`` and ``imwrite`` do for what is not negative."""
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


@functools.cache
def _toolbox() -> ModuleType:
    if importlib.util.find_spec('basicsr') is None:
        raise InputError('bicubic resizing needs BasicSR', do='Install it with: pip install -e ".[basicsr]"')
    from mea_plugin.toolboxes import basicsr_compat as compat

    compat.apply()
    return importlib.import_module('basicsr.utils.matlab_functions')


def check_scale(scale: int, *, where: str = 'scale') -> int:
    """The scale, when it is a whole number of at least 1.

    Raises:
        InputError: It is not.
    """
    if not isinstance(scale, int) or isinstance(scale, bool) or scale < 1:
        raise InputError(f'the scale is {scale!r}', where=where, do='Give a whole number of at least 1')
    return scale


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """The image without the rightmost columns and lowest rows beyond a multiple of ``scale``, as benchmarks are made.

    Args:
        image: ``(H, W, ...)``.
        scale: At least 1.

    Returns:
        A view ``(H - H % scale, W - W % scale, ...)``; empty when the image is smaller than ``scale``.
    """
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def downscale(image: np.ndarray, scale: int, *, like: Like = 'matlab') -> np.ndarray:
    """The low-resolution image of a benchmark: cropped to a multiple of ``scale``, then shrunk.

    Args:
        image: uint8 ``(H, W, 3)``, at least ``scale`` pixels high and wide.
        scale: At least 1.
        like: See :func:`bicubic`.

    Returns:
        uint8 ``(H // scale, W // scale, 3)``.
    """
    return bicubic(mod_crop(image, scale), Fraction(1, scale), like=like)
