"""Intervals cover what they say, the test is exact, and nothing is called better by chance."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats

from mea_plugin.evaluation import statistics
from mea_plugin.evaluation.statistics import holm, mean_interval, paired_difference


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def expanded(count, confidence=0.95):
    """The confidence whose normal quantile is what Hesterberg's expansion gives."""
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * math.sqrt(count / (count - 1))
    return 1 - 2 * stats.norm.cdf(-reach)


@pytest.mark.parametrize('count', [8, 32, 256])
def test_the_interval_is_scipys_bca_at_the_expanded_confidence(generator, count):
    values = np.round(64 * generator.lognormal(size=count)) / 64  # sums in any order, and the mean, are exact
    ours = mean_interval(values, resamples=8000, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the argument has a new name in newer versions
        theirs = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=8000,
            confidence_level=expanded(count),
            random_state=np.random.default_rng(3),  # and so the same resamples
        ).confidence_interval
    assert ours.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours.count == count
    assert ours.bounds == (ours.low, ours.high)


@pytest.mark.parametrize(('count', 'least', 'most'), [(5, 0.88, 0.95), (8, 0.92, 0.97), (30, 0.93, 0.97)])
def test_the_interval_covers_the_mean_as_often_as_it_says(generator, count, least, most):
    samples = generator.normal(3, 2, (1000, count))
    intervals = [mean_interval(sample) for sample in samples]
    assert least <= np.mean([interval.low <= 3 <= interval.high for interval in intervals]) <= most


@pytest.mark.parametrize('count', [3, 5, 8, 30])
def test_nothing_is_better_by_chance_more_often_than_it_may_be(generator, count):
    pairs = generator.normal(30, 3, (400, 1, count)) + generator.normal(0, 1, (400, 2, count))
    verdicts = [paired_difference(first, second, resamples=4000).verdict for first, second in pairs]
    decided = np.mean([verdict != 'undecided' for verdict in verdicts])
    assert decided <= (0.08 if count > 5 else 0)


@pytest.mark.parametrize(
    ('seeds', 'count', 'spread'), [(3, 20, (1, 0.1, 0.3)), (3, 20, (0.02, 1, 0.1)), (2, 8, (1, 1, 1))]
)
def test_seeds_that_move_a_model_are_not_taken_for_a_difference(generator, seeds, count, spread):
    """Each model with effects of its seeds, of the images, and of both; the truth is no difference."""
    covered = decided = 0
    for _ in range(300):
        first, second = (
            generator.normal(0, spread[0], (seeds, 1))
            + generator.normal(0, spread[1], count)
            + generator.normal(0, spread[2], (seeds, count))
            for _ in range(2)
        )
        difference = paired_difference(first, second, resamples=600)
        covered += difference.low <= 0 <= difference.high
        decided += difference.verdict != 'undecided'
    assert covered / 300 >= 0.9
    assert decided / 300 <= 0.09


def test_a_difference_that_is_there_is_found(generator):
    images = generator.normal(30, 3, 20)
    first, second = images + generator.normal(0.3, 0.2, 20), images
    found = paired_difference(first, second)
    assert (found.verdict, found.count, found.seeds, found.left_out) == ('better', 20, 1, 0)
    assert 0 < found.low < found.mean < found.high
    assert found.mean == pytest.approx((first - second).mean())
    assert found.p < 0.001
    assert paired_difference(second, first).verdict == 'worse'
    assert paired_difference(first, second, better='lower').verdict == 'worse'
    assert paired_difference(second, first, better='lower').verdict == 'better'


def test_over_seeds_and_images_a_difference_that_is_there_is_found(generator):
    images = generator.normal(30, 3, 20)
    first, second = (
        images + level + generator.normal(0, 0.1, (3, 1)) + generator.normal(0, 0.1, (3, 20)) for level in (1.0, 0.0)
    )
    found = paired_difference(first, second)
    assert (found.verdict, found.count, found.seeds) == ('better', 20, 3)
    assert 0.3 < found.low < found.mean < found.high < 1.7
    assert paired_difference(first, second, better='lower').verdict == 'worse'
    # One seed looks far surer than three seeds are.
    alone = paired_difference(first[0], second[0])
    assert alone.high - alone.low < (found.high - found.low) / 2


def test_degrees_of_freedom_and_p_are_welchs_where_only_seeds_matter():
    first, second = np.array([1.0, 2.0, 4.0]), np.array([5.0, 5.5, 7.0, 9.0])
    images = np.zeros(6)
    found = paired_difference(first[:, None] + images, second[:, None] + images)
    assert found.p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-9)
    assert (found.seeds, found.count) == (3, 6)


def test_a_model_without_seeds_is_compared_with_each_seed(generator):
    surrogate, bicubic = generator.normal(1, 0.1, (4, 12)), generator.normal(0, 0.1, 12)
    found = paired_difference(surrogate, bicubic)
    assert (found.verdict, found.seeds) == ('better', 4)
    assert found.mean == pytest.approx(surrogate.mean() - bicubic.mean())
    assert paired_difference(bicubic, surrogate).mean == pytest.approx(-found.mean)


@pytest.mark.parametrize('differences', [[1.0, 2.0, -0.5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.3, 0.0, -0.3, 1.0]])
def test_p_is_exact_by_enumeration(differences):
    signs = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(math.fsum(s * d for s, d in zip(sign, differences, strict=True))) for sign in signs]
    expected = np.mean([total >= abs(math.fsum(differences)) - 1e-9 for total in sums])
    found = paired_difference(differences, np.zeros(len(differences)))
    assert found.p == pytest.approx(expected, abs=1e-12)


def test_p_by_monte_carlo_comes_near_the_exact_one_and_is_never_zero(generator):
    differences = generator.normal(0.4, 1, 16)
    exact = paired_difference(differences, np.zeros(16), resamples=2**16).p
    drawn = paired_difference(differences, np.zeros(16), resamples=20_000).p
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))
    assert paired_difference(np.arange(1.0, 101), np.zeros(100), resamples=999).p == pytest.approx(1 / 1000)


def test_p_is_scipys(generator):
    differences = generator.normal(0.5, 1, 10)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type='samples', n_resamples=10_000)
    assert paired_difference(differences, np.zeros(10)).p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_few_images_decide_nothing():
    found = paired_difference(np.array([1.0, 1.1, 1.2, 1.3, 1.4]), np.zeros(5))
    assert found.low > 0
    assert (found.p, found.verdict) == (0.0625, 'undecided')
    assert paired_difference(np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]), np.zeros(6)).verdict == 'better'


def test_images_without_a_value_are_left_out_and_counted():
    first = np.array([30.0, 31, 33, math.inf, math.nan, 35, 30.5, 31.5, 32.5])
    second = np.array([29.0, 30.5, 32, math.inf, 30, math.inf, 29, 30, 31])
    found = paired_difference(first, second)
    assert (found.count, found.left_out) == (6, 3)
    assert found.mean == pytest.approx((1 + 0.5 + 1 + 1.5 * 3) / 6)
    interval = mean_interval(first)
    assert (interval.count, interval.mean) == (7, pytest.approx(np.mean(first[np.isfinite(first)])))


@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize(('better', 'sign'), [('higher', 1), ('lower', -1)])
def test_an_image_that_is_infinitely_better_forbids_worse(generator, better, sign, seeds):
    second = sign * generator.normal(30, 1, (seeds, 20))
    first = second - sign * generator.normal(1, 0.1, (seeds, 20))
    assert paired_difference(first, second, better=better).verdict == 'worse'
    first[:, 3] = sign * math.inf
    found = paired_difference(first, second, better=better)
    assert (found.verdict, found.left_out) == ('undecided', 1)
    assert paired_difference(second, first, better=better).verdict == 'undecided'
    second[:, 3] = sign * math.inf  # both equal their reference
    assert paired_difference(first, second, better=better).verdict == 'worse'
    first[:, 3] = sign * 30  # the other is infinitely better
    assert paired_difference(first, second, better=better).verdict == 'worse'


def test_an_image_that_one_seed_lacks_is_left_out_of_all():
    first = np.array([[1.0, 2, 3, 4], [1.5, math.nan, 3.5, 4.25]])
    found = paired_difference(first, np.zeros((2, 4)))
    assert (found.count, found.left_out) == (3, 1)
    assert found.mean == pytest.approx(np.mean([1, 3, 4, 1.5, 3.5, 4.25]))


@pytest.mark.parametrize(
    ('first', 'second', 'mean', 'count'),
    [
        ([], [], math.nan, 0),
        ([2.0], [1.0], 1.0, 1),
        ([2.1, 3.1, 4.1], [1.1, 2.1, 3.1], 1.0, 3),  # equal up to rounding
        ([5.0] * 8, [5.0] * 8, 0.0, 8),
        ([math.nan] * 3, [1.0] * 3, math.nan, 0),
        ([math.inf] * 3, [math.inf] * 3, math.nan, 0),
        (np.ones((3, 1)), np.zeros((3, 1)), 1.0, 1),
        (np.ones((3, 5)), np.ones((3, 5)), 0.0, 5),
        (np.full((2, 4), math.nan), np.ones((2, 4)), math.nan, 0),
    ],
)
def test_where_nothing_varies_nothing_is_decided(first, second, mean, count):
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert (found.count, found.verdict, found.bounds) == (count, 'undecided', None)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.p)


@pytest.mark.parametrize(('values', 'mean'), [([], math.nan), ([3.0], 3.0), ([0.1] * 9, 0.1), ([math.nan], math.nan)])
def test_a_mean_without_an_interval(values, mean):
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert interval.bounds is None


def test_an_outlier_crashes_nothing():
    for values in ([0.0] * 99 + [1e9], [1e-300, 2e-300, 0], [1.0, 2.0], [1e9, 1e9 + 1e-3, 1e9]):
        interval = mean_interval(values, resamples=200)
        assert interval.bounds is None or interval.low <= interval.mean <= interval.high
        paired_difference(values, np.zeros(len(values)), resamples=200)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r'\(2,\).*\(3,\)'):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r'\(2, 2, 2\).*\(2, 2\)'):
        paired_difference(np.ones((2, 2, 2)), np.ones((2, 2)))


def test_the_same_seed_gives_the_same_interval_and_blocks_change_nothing(generator, monkeypatch):
    values, seeds = generator.normal(size=50), generator.normal(size=(3, 50))
    before = mean_interval(values), paired_difference(values, -values), paired_difference(seeds, -seeds)
    monkeypatch.setattr(statistics, '_BLOCK', 50 * 128)
    after = mean_interval(values), paired_difference(values, -values), paired_difference(seeds, -seeds)
    for one, other in zip(before, after, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high), rel=1e-9)
    assert mean_interval(values, seed=1) != mean_interval(values)


def test_memory_is_bounded(generator):
    values = generator.normal(size=20_000)
    tracemalloc.start()
    mean_interval(values, resamples=500)
    paired_difference(values, -values, resamples=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 * 2**20  # at once, the draws alone would take 80 MB, and what is made of them as much again


def test_it_is_quick(generator):
    """200 images, 10 metrics, 4 pairs: far below what a forward pass of one image costs."""
    values = generator.normal(size=(10, 8, 200))
    start = time.perf_counter()
    for metric in values:
        for first, second in zip(metric[:4], metric[4:], strict=True):
            paired_difference(first, second)
    assert time.perf_counter() - start < 4  # measured: 0.2 s


@pytest.mark.parametrize(
    ('p_values', 'expected'),
    [
        ([], []),
        ([0.03], [0.03]),
        # By hand: 4 * 0.005, 3 * 0.01, 2 * 0.03, then 0.04 lifted to what precedes it.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6, 0.9], [1.0, 1.0, 1.0]),
        ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
)
def test_holm(p_values, expected):
    assert holm(p_values) == pytest.approx(expected, nan_ok=True)
