"""Bicubic resizing as MATLAB's ``imresize`` does it, and as BasicSR's port of it does; needs no toolbox."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from mea_plugin.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

__all__ = ['Like', 'bicubic', 'check_scale', 'downscale', 'mod_crop']

Like = Literal['matlab', 'basicsr']
"""Whose result: ``matlab`` is ``imresize`` on an 8-bit image, ``basicsr`` the toolbox's port of it."""


def bicubic(image: np.ndarray, factor: Fraction | float, *, like: Like = 'matlab') -> np.ndarray:
    r"""Resize an image with Keys' bicubic kernel (a = -1/2), antialiased when it shrinks.

    Along an axis of length ``n``, output ``i`` of ``ceil(s n)`` lies at ``u = (i + 1/2) / s - 1/2`` and is

    .. math:: y_i = \sum_k w_{ik} x_k / \sum_k w_{ik}, \qquad w_{ik} = h(c\,(u - k)), \quad c = \min(s, 1),

    where ``x`` is mirrored beyond its ends, edge pixel included. Rows first, then columns; on an 8-bit image MATLAB
    rounds between the two. BasicSR's ``imresize`` keeps the fractions and differs by one grey level in a tenth of the
    pixels, by more at sharp edges. (Measured on the x4 images of Set5 and Set14: equal but for the 4 pixels along the
    border, where those repeat the edge pixel instead of mirroring it.)

    Args:
        image: uint8 ``(H, W, 3)``, of any size.
        factor: Output size by input size, above 0; a float such as ``1 / 3`` stands for the nearest simple fraction.
        like: ``'matlab'``, or ``'basicsr'`` to get what ``basicsr.utils.matlab_functions.imresize`` gives: photographs
            are equal to the bit at factors 2, 3, 4 and their inverses; of noise, one pixel in 10,000 may lie beside a
            tie and be rounded the other way.

    Returns:
        uint8 ``(ceil(factor * H), ceil(factor * W), 3)``, rounded and clipped.

    Raises:
        ValueError: The image is no uint8 ``(H, W, 3)``, the factor is not above 0, or ``like`` is neither of the two.

    Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f'expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}; convert it first')
    factor = Fraction(factor).limit_denominator(64)
    if factor <= 0:
        raise ValueError(f'the factor is {factor}; give a number above 0')
    if like == 'basicsr':
        return _resize_floats(image, factor)
    if like != 'matlab':
        raise ValueError(f"like is {like!r}; give 'matlab' or 'basicsr'")
    rows = _resize_rows(image, factor)
    columns = _resize_rows(rows.transpose(1, 0, 2), factor)
    return np.ascontiguousarray(columns.transpose(1, 0, 2))


def _resize_rows(image: np.ndarray, factor: Fraction) -> np.ndarray:
    """Resize the first axis of a uint8 array ``(N, M, 3)``: one matrix product, then round half up as MATLAB does."""
    values = _matrix(len(image), factor) @ image.reshape(len(image), -1).astype(float)
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8).reshape(-1, *image.shape[1:])


@functools.lru_cache(maxsize=64)
def _matrix(length: int, factor: Fraction) -> csr_array:
    """The weights as a sparse float64 matrix ``(output length, length)``, those of mirrored pixels summed up."""
    from scipy.sparse import csr_array

    weights, first = _weights(length, factor)
    outputs, taps = weights.shape
    period = (first[:, None] + np.arange(taps)) % (2 * length)
    sources = np.minimum(period, 2 * length - 1 - period)
    ends = np.arange(outputs + 1) * taps
    return csr_array((weights.numpy().astype(float).ravel(), sources.ravel(), ends), shape=(outputs, length))


@functools.lru_cache(maxsize=64)
def _weights(length: int, factor: Fraction) -> tuple[torch.Tensor, np.ndarray]:
    """Weights ``(output length, taps)`` and the first pixel of each row of them, before mirroring.

    In float32, as BasicSR computes them: doubles would round some ties of existing images the other way.
    """
    import torch

    scale = float(factor)
    width = 4 / min(scale, 1)
    outputs = torch.arange(1, math.ceil(length * factor) + 1, dtype=torch.float32)
    centres = outputs / scale + 0.5 * (1 - 1 / scale)  # counted from 1
    first = torch.floor(centres - width / 2)
    # One tap more at either end: its weight is 0, and a float32 sum depends on how many numbers it adds.
    distances = centres[:, None] - first[:, None] - torch.arange(math.ceil(width) + 2, dtype=torch.float32)
    x = (distances * min(scale, 1)).abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = torch.where(x <= 1, near, torch.where(x <= 2, far, 0))
    return (weights / weights.sum(1, keepdim=True))[:, 1:-1].contiguous(), first.numpy().astype(int)


def _resize_floats(image: np.ndarray, factor: Fraction) -> np.ndarray:
    """Resize in float32 without rounding in between, each sum by the call with which BasicSR's ``imresize`` adds it."""
    values = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255
    result = np.stack([_resize_plane(plane, factor) for plane in values], 2) * 255
    return result.round().clip(0, 255).astype(np.uint8)  # half to even, as the toolbox's own tensor2img


def _resize_plane(plane: np.ndarray, factor: Fraction) -> np.ndarray:
    """Resize float32 ``(H, W)``: a matrix and a vector for each row of the result, then for each column."""
    import torch

    weights, first, padded = _pad(plane, 0, factor)
    rows = torch.stack([padded[k : k + len(w)].T.mv(w) for k, w in zip(first, weights, strict=True)])
    weights, first, padded = _pad(rows.numpy(), 1, factor)
    return torch.stack([padded[:, k : k + len(w)].mv(w) for k, w in zip(first, weights, strict=True)], 1).numpy()


def _pad(plane: np.ndarray, axis: int, factor: Fraction) -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """Weights along an axis, where each row of them starts, and the plane mirrored as far as they reach."""
    import torch

    size = plane.shape[axis]
    weights, first = _weights(size, factor)
    reach = (max(0, -first[0]), max(0, first[-1] + weights.shape[1] - size))
    padded = np.pad(plane, [reach if each == axis else (0, 0) for each in (0, 1)], mode='symmetric')
    return weights, (first + reach[0]).tolist(), torch.from_numpy(padded)


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
