"""Defences that answer with noise: on every pixel, or on the wavelet bands that a surrogate learns detail from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pywt
from pydantic import AfterValidator

from mea_plugin.core.errors import suggestion
from mea_plugin.core.schema import Number, Whole, refusal, shortened
from mea_plugin.core.signatures import checked
from mea_plugin.defences.base import Key, Secret, rounded

__all__ = ['DetailNoise', 'Noise']

Repeat = Literal['keyed', 'fresh']
Sigma = Annotated[float, Number(0.01, 64)]  # in grey levels


def _check_wave(name: str) -> str:
    known = [one for one in pywt.wavelist(kind='discrete') if pywt.Wavelet(one).orthogonal]
    if name not in known:
        raise refusal(f'no orthogonal wavelet {shortened(name)}', do=suggestion(name, known))
    return name


class _Noise:
    """What both have in common: a strength, a key, and whether a repeated query gets the same noise."""

    def __init__(self, kind: str, sigma: float, repeat: Repeat, key: str | None, key_file: str | Path | None) -> None:
        self._kind, self._sigma, self._repeat = kind, sigma, repeat
        self._key = Key(key, key_file, f'defence {kind}')

    def describe(self) -> dict[str, Any]:
        """All options; the key by its fingerprint."""
        return {'type': self._kind, 'sigma': self._sigma, 'repeat': self._repeat, 'key': self._key.fingerprint}

    def _generator(self, query: np.ndarray, count: int) -> np.random.Generator:
        return self._key.generator(self._kind, query, count if self._repeat == 'fresh' else None)


class Noise(_Noise):
    """Gaussian noise on every pixel and channel.

    Args:
        sigma: Standard deviation in grey levels, above 0 and at most 64.
        repeat: ``keyed``: noise is a function of key and image, so that the mean of repeated queries is no better than
            one of them; an image that differs in one grey level gets other noise. ``fresh``: new for every answer.
        key: The secret; see :class:`~mea_plugin.defences.base.Key`.
        key_file: Or a file that holds it.

    Raises:
        InputError: An option is out of range, or there is no key.
    """

    @checked('defence noise')
    def __init__(
        self,
        sigma: Sigma = 4.0,
        repeat: Repeat = 'keyed',
        key: Secret | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        super().__init__('noise', sigma, repeat, key, key_file)

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Add the noise."""
        noise = self._generator(query, count).standard_normal(answer.shape, dtype=np.float32)
        noise *= self._sigma
        noise += answer
        return rounded(noise)


class DetailNoise(_Noise):
    """Gaussian noise on luma, in the detail bands of a wavelet decomposition alone: mean colours of areas stay.

    White noise is decomposed, its approximation is set to zero, and what is left is scaled to ``sigma``.

    Args:
        sigma: Standard deviation in grey levels, above 0 and at most 64.
        level: Levels of the decomposition, from 1 to 6.
        wave: An orthogonal wavelet of PyWavelets. For ``haar`` this is noise minus its mean over blocks of ``2^level``.
        repeat: As for :class:`Noise`.
        key: As for :class:`Noise`.
        key_file: As for :class:`Noise`.

    Raises:
        InputError: An option is out of range, there is no such wavelet, or no key.
    """

    @checked('defence detail_noise')
    def __init__(
        self,
        sigma: Sigma = 4.0,
        level: Annotated[int, Whole(1, 6)] = 2,
        wave: Annotated[str, AfterValidator(_check_wave)] = 'haar',
        repeat: Repeat = 'keyed',
        key: Secret | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        super().__init__('detail_noise', sigma, repeat, key, key_file)
        self._level, self._wave = level, wave
        self._low = _low_pass(wave, level)

    def describe(self) -> dict[str, Any]:
        """All options; the key by its fingerprint."""
        return {**super().describe(), 'level': self._level, 'wave': self._wave}

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Add the noise to all three channels alike."""
        block = 2**self._level
        height, width = (-(-size // block) * block for size in answer.shape[:2])
        noise = self._generator(query, count).standard_normal((height, width), dtype=np.float32)
        noise = self._details(noise) * np.float32(self._sigma / np.sqrt(1 - block**-2))
        noise = noise[: answer.shape[0], : answer.shape[1]]
        return rounded(answer + noise[..., None])

    def _details(self, noise: np.ndarray) -> np.ndarray:
        """White noise without its approximation; of the variance, ``1 - 4^-level`` is left."""
        low, block = self._low, 2**self._level
        last = len(low) - 1
        means = cv2.sepFilter2D(noise, -1, low, low, anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
        kept = np.zeros_like(noise)
        kept[::block, ::block] = means[::block, ::block]
        # The adjoint: with an orthogonal wavelet, both together project on the approximation.
        back = low[::-1].copy()
        return noise - cv2.sepFilter2D(kept, -1, back, back, anchor=(last, last), borderType=cv2.BORDER_CONSTANT)


def _low_pass(wave: str, level: int) -> np.ndarray:
    """The filter from an image to its approximation after some levels, before every ``2^level``-th value is taken."""
    one = np.asarray(pywt.Wavelet(wave).rec_lo, np.float64)
    found = one
    for number in range(1, level):
        spread = np.zeros((len(one) - 1) * 2**number + 1)
        spread[:: 2**number] = one
        found = np.convolve(found, spread)
    return found.astype(np.float32)
