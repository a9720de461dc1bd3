"""The loss written out with PyWavelets in float64: the oracle of these tests."""

from __future__ import annotations

import numpy as np
import pytest
import pywt


def details(images, wave, level, mode):
    """The stacked detail bands of each level, coarsest first, of ``(..., H, W)``."""
    return [np.stack(bands) for bands in pywt.wavedec2(np.asarray(images, np.float64), wave, mode, level)[1:]]


def value(pred, target, wave, level, mode):
    """The loss of weight 1."""
    pairs = zip(details(pred, wave, level, mode), details(target, wave, level, mode), strict=True)
    return sum(np.abs(one - other).mean() for one, other in pairs)


def gradient(pred, target, wave, level, mode):
    """Its gradient in ``pred``, pixel by pixel: the inner product of the signs with the pixel's own transform."""
    difference = np.asarray(pred, np.float64) - np.asarray(target, np.float64)
    H, W = difference.shape[-2:]
    result = np.zeros((*difference.shape[:2], H * W))
    units = details(np.eye(H * W).reshape(-1, H, W), wave, level, mode)
    for bands, unit in zip(details(difference, wave, level, mode), units, strict=True):
        result += np.einsum('bnchw,bphw->ncp', np.sign(bands), unit) / bands.size
    return result.reshape(difference.shape)


class Oracle:
    value = staticmethod(value)
    gradient = staticmethod(gradient)


@pytest.fixture(scope='session')
def oracle():
    return Oracle
