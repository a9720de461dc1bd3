"""The banded matrices against PyWavelets, for every discrete wavelet."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from mea_plugin.losses import wavelet
from mea_plugin.losses.wavelet import CACHED_OPERATORS, CPU_ROWS, MODES, analysis, discrete_wavelet, smallest_size

CPU = torch.device('cpu')
SIZES = (2, 3, 9, 34, 61)


def product(banded, x, side='left'):
    x = torch.as_tensor(x)
    shape = (banded.rows, x.shape[1]) if side == 'left' else (x.shape[0], banded.rows)
    out = torch.full(shape, torch.nan, dtype=x.dtype)
    getattr(banded, side)(x, out)
    return out.numpy()


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('wave', pywt.wavelist(kind='discrete'))
def test_a_level_is_that_of_pywavelets(wave, mode):
    for size in SIZES:
        operator = analysis(wave, size, mode, CPU, torch.float64)
        matrix = product(operator.forward, np.eye(size))
        low, high = pywt.dwt(np.eye(size), wave, mode, axis=0)
        np.testing.assert_allclose(matrix[::2], low, atol=1e-12)
        np.testing.assert_allclose(matrix[1::2], high, atol=1e-12)
        np.testing.assert_allclose(product(operator.adjoint, np.eye(len(matrix))), matrix.T, atol=1e-12)


@pytest.mark.parametrize('mode', MODES)
def test_either_side_multiplies_by_the_same_matrix(mode):
    operator = analysis('bior4.4', 75, mode, CPU, torch.float64)
    x = np.random.default_rng(0).normal(size=(75, 11))
    np.testing.assert_allclose(product(operator.forward, x), product(operator.forward, x.T, 'right').T, atol=1e-12)


@pytest.mark.parametrize('rows', [1, 7, 10_000])
def test_how_the_matrix_is_cut_does_not_matter(rows, monkeypatch):
    whole = product(analysis('db3', 50, 'symmetric', CPU, torch.float64).forward, np.eye(50))
    monkeypatch.setattr(wavelet, 'CPU_ROWS', rows)
    uncached = analysis.__wrapped__('db3', 50, 'symmetric', CPU, torch.float64)
    assert sum(len(run.matrices) for run in uncached.forward.runs) == -(-whole.shape[0] // rows)
    np.testing.assert_allclose(product(uncached.forward, np.eye(50)), whole, atol=1e-15)


def test_blocks_are_narrow_so_that_cost_is_linear_in_the_size():
    for size in (500, 4000):
        for banded in analysis('db3', size, 'reflect', CPU, torch.float32):
            assert max(run.matrices.shape[2] for run in banded.runs) < 2 * CPU_ROWS


def test_operators_are_built_once_and_their_number_is_bounded():
    analysis.cache_clear()
    first = analysis('db2', 40, 'zero', CPU, torch.float32)
    assert analysis('db2', 40, 'zero', CPU, torch.float32) is first
    assert analysis.cache_info().misses == 1
    for size in range(10, 10 + 2 * CACHED_OPERATORS):
        analysis('db2', size, 'zero', CPU, torch.float32)
    assert analysis.cache_info().currsize == CACHED_OPERATORS


@pytest.mark.parametrize('taps', sorted({pywt.Wavelet(wave).dec_len for wave in pywt.wavelist(kind='discrete')}))
def test_smallest_size_is_where_dwt_max_level_reaches_the_level(taps):
    for level in range(1, 6):
        least = smallest_size(taps, level)
        assert pywt.dwt_max_level(least, taps) == level
        assert pywt.dwt_max_level(least - 1, taps) == level - 1


def test_wavelet_names_are_read_in_either_case():
    assert discrete_wavelet('DB3').dec_lo == pywt.Wavelet('db3').dec_lo


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('db33x', "'db33x'.*'db33'"),
        ('simlet', "'simlet'"),
        ('mexh', "'mexh'.*'db3'"),
        ('', "''"),
        (3, r'^[^.]* 3\b'),
        (None, r'^[^.]* None\b'),
    ],
)
def test_other_names_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        discrete_wavelet(name)
