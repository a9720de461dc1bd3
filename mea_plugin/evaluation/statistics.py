"""How sure a mean is, and whether one model is better than another on the same images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit

__all__ = ['Interval', 'PairedDifference', 'Verdict', 'holm', 'mean_interval', 'paired_difference']

Verdict = Literal['better', 'worse', 'undecided']

_BLOCK = 1 << 21  # numbers drawn at a time: memory stays the same for any number of images


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: Over the finite values; NaN without any.
        low: NaN, as ``high``, where there is no interval: of fewer than two values, or of equal ones.
        high: See ``low``.
        count: How many values were finite.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def bounds(self) -> tuple[float, float] | None:
        """``(low, high)``, or None where there is no interval."""
        return None if math.isnan(self.low) else (self.low, self.high)


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference ``first - second`` over the same images.

    Attributes:
        mean: Over the images on which all values are finite; NaN without any.
        low: NaN, as ``high``, where there is no interval: of fewer than two images, or of equal differences.
        high: See ``low``.
        p: Of the two-sided test that the mean is zero; NaN where there is none.
        count: How many images it is over.
        seeds: How many seeds of each model; of the smaller number, where the two differ and none is 1.
        verdict: ``better`` or ``worse`` says that of the first, where the interval excludes zero, the test agrees, and
            no image that is left out says the opposite by an infinite value; everything else is ``undecided``.
        left_out: How many images are left out, because a value is infinite (equal images) or not defined.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int
    seeds: int
    verdict: Verdict
    left_out: int

    @property
    def bounds(self) -> tuple[float, float] | None:
        """``(low, high)``, or None where there is no interval."""
        return None if math.isnan(self.low) else (self.low, self.high)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The mean of one value per image, with its BCa bootstrap interval.

    The bootstrap's intervals are too narrow for few values. The quantiles are therefore taken further out, at
    ``Phi(-sqrt(n / (n - 1)) t)`` with ``t`` Student's quantile of ``n - 1`` degrees of freedom. That holds to about six
    values; an interval of fewer covers less than it says, because none can go beyond the smallest and largest value.

    Sources: Efron, Better bootstrap confidence intervals, JASA 82, 1987 (as ``scipy.stats.bootstrap``); Hesterberg,
    What teachers should know about the bootstrap, The American Statistician 69, 2015 (as ``expand`` in his R package
    ``resample``).

    Args:
        values: ``(images,)``; what is not finite is left out.
        confidence: The probability with which such intervals cover the mean.
        resamples: How often the images are drawn anew.
        seed: Of the drawing.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    mean = math.fsum(finite) / len(finite) if len(finite) else math.nan
    low, high = _bca(finite, mean, confidence, resamples, seed)
    return Interval(mean, low, high, len(finite))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    better: Literal['higher', 'lower'] = 'higher',
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Whether the first model is better than the second, over images, or over seeds and images.

    Over images (both are ``(images,)``): the interval of :func:`mean_interval`, and the sign-flip permutation test of
    the mean, exact where it can be enumerated (``2^n <= resamples``), else by Monte Carlo with
    ``p = (b + 1) / (m + 1)``. Unlike Wilcoxon's, it tests the mean that is reported. With fewer than six images its p
    is above 0.05 whatever they are, so they decide nothing at 95 %.

    Over seeds and images (one or both are ``(seeds, images)``): images are drawn anew for both models at once, and each
    model's seeds on their own, as seeds of two methods have nothing in common. With ``a`` and ``b`` the models' means
    over images, one per seed, and ``d`` the difference of their means over seeds, one per image,

        V = var(d) / images + var(a) / seeds_a + var(b) / seeds_b

    The quantiles' distances from the mean are brought to the scale of ``t sqrt(V)``, ``t`` and the test's degrees of
    freedom being Welch and Satterthwaite's: three seeds by themselves would give far too narrow an interval. V holds
    what seeds and images do together more than once, so that it errs to the side of 'undecided'. A model with one
    seed is taken as it is.

    Sources: Pitman, Significance tests which may be applied to samples from any populations, 1937; Phipson and Smyth,
    Permutation p-values should never be zero, 2010; Owen and Eckles, Bootstrapping data arrays of arbitrary order,
    Annals of Applied Statistics 6, 2012; Satterthwaite, An approximate distribution of estimates of variance
    components, Biometrics Bulletin 2, 1946.

    Args:
        first: Values of the first model; an image on which a value of either is not finite is left out.
        second: Values of the second, on the same images in the same order; seeds may be fewer or more.
        better: Which values are better.
        confidence: Of the interval; the test decides at ``1 - confidence``.
        resamples: How often the images and seeds are drawn, and signs flipped.
        seed: Of the drawing.

    Raises:
        ValueError: The two have different numbers of images.
    """
    firsts, seconds = (np.atleast_2d(np.asarray(values, np.float64)) for values in (first, second))
    if firsts.ndim != 2 or seconds.ndim != 2 or firsts.shape[1] != seconds.shape[1]:
        raise ValueError(f'values of shapes {np.shape(first)} and {np.shape(second)} are not of the same images')
    kept = np.isfinite(np.concatenate([firsts, seconds])).all(axis=0)
    beyond = _infinite_signs(firsts[:, ~kept], seconds[:, ~kept])
    firsts, seconds = firsts[:, kept], seconds[:, kept]
    differences = firsts.mean(axis=0) - seconds.mean(axis=0) if kept.any() else np.empty(0)
    count = len(differences)
    mean = math.fsum(differences) / count if count else math.nan
    if len(firsts) == len(seconds) == 1:
        low, high = _bca(differences, mean, confidence, resamples, seed)
        p = _sign_flip(differences, resamples, seed)
    else:
        low, high, p = _crossed(firsts, seconds, mean, confidence, resamples, seed)
    verdict: Verdict = 'undecided'
    contradicted = bool((beyond * mean < 0).any())
    if (low > 0 or high < 0) and p <= 1 - confidence and not contradicted:
        verdict = 'better' if (mean > 0) == (better == 'higher') else 'worse'
    seeds = min((len(values) for values in (firsts, seconds) if len(values) > 1), default=1)
    return PairedDifference(mean, low, high, p, count, seeds, verdict, len(kept) - count)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected for there being several.

    With ``p_(1) <= ... <= p_(m)``: ``max_(j <= i) min(1, (m - j + 1) p_(j))``. NaN stays NaN and does not count.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _bca(values: np.ndarray, mean: float, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Bias-corrected and accelerated interval of a mean, its quantiles expanded for few values."""
    count = len(values)
    if _are_equal(values):
        return math.nan, math.nan
    deviations = values - mean
    unit = float(np.abs(deviations).max())
    deviations /= unit
    means = np.concatenate([weights @ deviations for weights in _draws(count, resamples, seed)]) / count
    means[np.abs(means) < 1e-12] = 0  # the same values in another order: few images often meet them
    below = ((means < 0).mean() + (means <= 0).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    # The jackknife's means deviate by -d / (n - 1); the factor cancels.
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    reach = stdtrit(count - 1, (1 + confidence) / 2) * math.sqrt(count / (count - 1))
    quantiles = [_accelerate(bias, side * reach, acceleration) for side in (-1, 1)]
    low, high = mean + unit * np.quantile(means, quantiles)
    return float(low), float(high)


def _accelerate(bias: float, normal: float, acceleration: float) -> float:
    """The quantile that BCa takes in place of ``Phi(normal)``."""
    shifted = bias + normal
    slope = 1 - acceleration * shifted
    if slope <= 0:  # beyond the formula's pole, which few values reach: the outermost is meant
        return float(normal > 0)
    return float(ndtr(bias + shifted / slope))


def _sign_flip(differences: np.ndarray, resamples: int, seed: int) -> float:
    """Two-sided p-value of a mean of zero, if each difference is as likely to have the other sign."""
    count = len(differences)
    if count < 2 or _are_equal(differences):
        return math.nan
    size = np.abs(differences).sum()
    reached = abs(differences.sum()) - 1e-12 * size  # sums of equal terms in another order are equal
    if exact := 2**count <= resamples:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        sums = (1 - 2.0 * flips) @ differences
    else:
        sums = np.concatenate([signs @ differences for signs in _signs(count, resamples, seed)])
    extreme = int((np.abs(sums) >= reached).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def _crossed(
    firsts: np.ndarray, seconds: np.ndarray, mean: float, confidence: float, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Interval and p-value of a mean difference over seeds and images."""
    count = firsts.shape[1]
    parts = [_variance(firsts.mean(axis=0) - seconds.mean(axis=0)) if count > 1 else (math.nan, 1)]
    parts += [_variance(values.mean(axis=1)) for values in (firsts, seconds) if len(values) > 1 and count > 1]
    variance = sum(part for part, _ in parts)
    if not variance > 1e-24 * max(np.abs(firsts).max(initial=0), np.abs(seconds).max(initial=0)) ** 2:
        return math.nan, math.nan, math.nan
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    sizes = (count, len(firsts), len(seconds))
    rows = max(1, _BLOCK // max(sizes))
    draws = zip(*(_draws(size, resamples, seed + stream, rows) for stream, size in enumerate(sizes)), strict=True)
    means = np.concatenate(
        [
            np.einsum('ri,ri->r', images, first @ firsts / len(firsts) - second @ seconds / len(seconds)) / count
            for images, first, second in draws
        ]
    )
    tail = (1 - confidence) / 2
    scale = stdtrit(freedom, 1 - tail) / ndtri(1 - tail) * math.sqrt(variance) / means.std()
    low, high = mean + scale * (np.quantile(means, [tail, 1 - tail]) - mean)
    p = 2 * stdtr(freedom, -abs(mean) / math.sqrt(variance))
    return float(low), float(high), float(p)


def _variance(values: np.ndarray) -> tuple[float, int]:
    """Variance of a mean, and its degrees of freedom."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1


def _infinite_signs(firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The signs of the infinite ones among differences ``first - second``."""
    with np.errstate(invalid='ignore'):  # infinity less infinity is no difference
        differences = firsts.mean(axis=0) - seconds.mean(axis=0)
    return np.sign(differences[np.isinf(differences)])


def _are_equal(values: np.ndarray) -> bool:
    """Whether there is nothing to draw from: fewer than two values, or equal ones up to rounding."""
    return len(values) < 2 or float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def _draws(count: int, resamples: int, seed: int, rows: int | None = None) -> Iterator[np.ndarray]:
    """How often each of ``count`` values is drawn in each resample, in blocks of ``(rows, count)``."""
    rows = rows or max(1, _BLOCK // count)
    if resamples <= rows:
        yield _drawn(count, resamples, seed)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        yield _tally(generator, count, min(rows, resamples - start))


def _signs(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Random signs, in blocks of ``(rows, count)``."""
    rows = max(1, _BLOCK // count)
    if resamples <= rows:
        yield _flipped(count, resamples, seed)
        return
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        yield _flip(generator, count, min(rows, resamples - start))


@lru_cache(maxsize=8)
def _flipped(count: int, resamples: int, seed: int) -> np.ndarray:
    return _flip(np.random.default_rng(seed), count, resamples)


def _flip(generator: np.random.Generator, count: int, rows: int) -> np.ndarray:
    return 1 - 2 * generator.integers(0, 2, (rows, count), np.int8)


@lru_cache(maxsize=8)  # the same for every metric and pair of models on a test set
def _drawn(count: int, resamples: int, seed: int) -> np.ndarray:
    return _tally(np.random.default_rng(seed), count, resamples)


def _tally(generator: np.random.Generator, count: int, rows: int) -> np.ndarray:
    picks = generator.integers(0, count, (rows, count))
    picks += np.arange(rows)[:, None] * count
    return np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count).astype(np.uint32)
