"""One level of the 1-D discrete wavelet transform as a banded matrix, cut into small dense blocks.

A level takes ``n`` samples to ``m`` low-pass and ``m`` high-pass coefficients, with ``PyWavelets``' numbering and
signal extension. As a matrix it is zero except near its diagonal, and so is its transpose: a few rows at a time touch
only a few neighbouring columns. Multiplying block by block costs time linear in ``n`` at the speed of the machine's
matrix product; the whole matrix is quadratic in ``n``, and a strided convolution slower. Away from the ends of the
signal the blocks lie at equal distances, so that one batched product does them all: few calls, few waits for threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pywt
import torch
from torch import Tensor

from mea_plugin.core.errors import suggestion

__all__ = ['MODES', 'Analysis', 'Banded', 'Run', 'analysis', 'discrete_wavelet', 'smallest_size']

MODES = ('zero', 'reflect', 'symmetric', 'periodization')

# Rows of a block. On a CPU 16 is the fastest for filters up to 20 taps and within a fifth of it for longer ones.
CPU_ROWS = 16
GPU_ROWS = 128

# Operators kept; the least recently used goes first. Training needs two per level, validation two per image size.
CACHED_OPERATORS = 64


def discrete_wavelet(name: str) -> pywt.Wavelet:
    """The discrete wavelet of this name.

    Args:
        name: A name out of ``pywt.wavelist(kind='discrete')``, in either case.

    Returns:
        The wavelet.

    Raises:
        ValueError: The name is not one; the message names the nearest.
    """
    known = pywt.wavelist(kind='discrete')
    lowered = name.lower() if isinstance(name, str) else ''
    if lowered in known:
        return pywt.Wavelet(lowered)
    if lowered in pywt.wavelist(kind='continuous'):
        raise ValueError(f"wave '{name}' is a continuous wavelet. Use a discrete one, for example 'db3'")
    raise ValueError(f'unknown wave {name!r}. {suggestion(str(name), known)}')


def smallest_size(taps: int, level: int) -> int:
    """The fewest samples for which ``pywt.dwt_max_level(samples, taps)`` reaches ``level``.

    ``floor(log2(n / (taps - 1))) >= level`` in integers: ``n >= (taps - 1) * 2^level``.
    """
    return (taps - 1) * 2**level


class Run(NamedTuple):
    """Equal blocks of a banded matrix, one below the other.

    Block ``i`` holds the rows ``start + i * r`` to ``start + (i + 1) * r``, which are zero outside the columns
    ``first + i * step`` to ``first + i * step + k``.

    Attributes:
        start: The first row.
        first: The first column.
        step: Columns from a block to the next.
        matrices: ``(count, r, k)``.
        transposed: ``(count, k, r)``, the same transposed and contiguous.
    """

    start: int
    first: int
    step: int
    matrices: Tensor
    transposed: Tensor


class Banded(NamedTuple):
    """A banded matrix ``M`` of shape ``(rows, columns)``.

    The products are written into ``out``: nothing is allocated, and autocast leaves such products alone.
    """

    rows: int
    columns: int
    runs: tuple[Run, ...]

    def left(self, x: Tensor, out: Tensor) -> None:
        """``out = M x`` with ``x`` (columns, any) and ``out`` (rows, any), both contiguous."""
        for start, first, step, matrices, _ in self.runs:
            count, r, k = matrices.shape
            windows = x[first : first + (count - 1) * step + k].unfold(0, k, step).transpose(1, 2)
            torch.bmm(matrices, windows, out=out[start : start + count * r].unflatten(0, (count, r)))

    def right(self, x: Tensor, out: Tensor) -> None:
        """``out = x M^T`` with ``x`` (any, columns) and ``out`` (any, rows), both contiguous."""
        for start, first, step, _, transposed in self.runs:
            count, k, r = transposed.shape
            windows = x[:, first : first + (count - 1) * step + k].unfold(1, k, step).transpose(0, 1)
            target = out[:, start : start + count * r].unflatten(1, (count, r)).transpose(0, 1)
            torch.bmm(windows, transposed, out=target)


class Analysis(NamedTuple):
    """One level and its adjoint. Even rows of ``forward`` are low-pass coefficients, odd rows high-pass ones."""

    forward: Banded
    adjoint: Banded


@lru_cache(maxsize=CACHED_OPERATORS)
def analysis(wave: str, size: int, mode: str, device: torch.device, dtype: torch.dtype) -> Analysis:
    """The operator of one level along an axis, built once and kept.

    Args:
        wave: Name of a discrete wavelet.
        size: Samples along the axis, at least 2.
        mode: One of :data:`MODES`.
        device: Where the operator is used.
        dtype: ``torch.float32`` or ``torch.float64``.

    Returns:
        The operator ``(2 * m, size)`` and its adjoint, where ``m`` is ``pywt.dwt_coeff_len(size, taps, mode)``.
    """
    rows, columns, values = _coefficients(discrete_wavelet(wave), size, mode)
    count = int(rows.max()) + 1
    step = CPU_ROWS if device.type == 'cpu' else GPU_ROWS
    # Built while validating under inference_mode, an ordinary tensor all the same: training uses it next.
    with torch.inference_mode(mode=False):
        return Analysis(
            Banded(count, size, _runs(rows, columns, values, step, device, dtype)),
            Banded(size, count, _runs(columns, rows, values, step, device, dtype)),
        )


def _coefficients(wavelet: pywt.Wavelet, size: int, mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix as (row, column, value); values of the same place add up.

    Coefficient ``k`` of filter ``f`` is ``sum_j f[j] x[2 k + 1 - j]``, with ``x`` extended beyond its ends;
    ``periodization`` makes the size even by repeating the last sample and starts half a filter later.
    """
    filters = np.array([wavelet.dec_lo, wavelet.dec_hi])
    taps = filters.shape[1]
    periodic = mode == 'periodization'
    count = (size + 1) // 2 if periodic else (size + taps - 1) // 2
    offset = taps // 2 if periodic else 1
    samples = 2 * np.arange(count)[:, None, None] + offset - np.arange(taps)
    columns, inside = _extend(samples, size, mode)
    rows = 2 * np.arange(count)[:, None, None] + np.arange(2)[:, None]
    shape = (count, 2, taps)
    keep = np.broadcast_to(inside, shape)
    return (
        np.broadcast_to(rows, shape)[keep],
        np.broadcast_to(columns, shape)[keep],
        np.broadcast_to(filters, shape)[keep],
    )


def _extend(samples: np.ndarray, size: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Which sample stands at an index beyond the ends, and whether one does."""
    everywhere = np.ones(samples.shape, dtype=bool)
    if mode == 'zero':
        return samples, (samples >= 0) & (samples < size)
    if mode == 'periodization':
        return np.minimum(samples % (size + size % 2), size - 1), everywhere
    period = 2 * size if mode == 'symmetric' else 2 * size - 2
    folded = samples % period
    mirrored = period - folded - (1 if mode == 'symmetric' else 0)
    return np.where(folded < size, folded, mirrored), everywhere


def _runs(
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    step: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Run, ...]:
    """The matrix in blocks of ``step`` rows, those of one shape at equal distances joined."""
    blocks = list(_blocks(rows, columns, values, step))
    runs = []
    while blocks:
        count = _equal(blocks)
        (start, first, _), distance = blocks[0], blocks[1][1] - blocks[0][1] if count > 1 else 1
        matrices = torch.tensor(np.stack([content for _, _, content in blocks[:count]]), dtype=dtype, device=device)
        runs.append(Run(start, first, distance, matrices, matrices.transpose(1, 2).contiguous()))
        blocks = blocks[count:]
    return tuple(runs)


def _equal(blocks: list[tuple[int, int, np.ndarray]]) -> int:
    """How many blocks, from the first on, have its shape and lie as far apart as the first two."""
    (_, first, content), *rest = blocks
    distance = rest[0][1] - first if rest else 0
    count = 1
    for _, column, other in rest:
        if distance < 1 or column != first + count * distance or other.shape != content.shape:
            break
        count += 1
    return count


def _blocks(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, step: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """First row, first column and content of each block of ``step`` rows."""
    order = np.argsort(rows, kind='stable')
    rows, columns, values = rows[order], columns[order], values[order]
    count = int(rows[-1]) + 1
    for start in range(0, count, step):
        stop = min(start + step, count)
        part = slice(*np.searchsorted(rows, (start, stop)))
        first, last = int(columns[part].min()), int(columns[part].max()) + 1
        block = np.zeros((stop - start, last - first))
        np.add.at(block, (rows[part] - start, columns[part] - first), values[part])
        yield start, first, block
