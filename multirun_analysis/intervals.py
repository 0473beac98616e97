"""Intervals at 95 %, for samples of numbers, one number per seed.

What a sample is too small or too uniform for is NaN, never a guess.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import stats

LEVEL = 0.95
ALIKE = 1e-9  # a spread below this, relative to the mean, is rounding: the values are alike

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)


def t_interval(values: Iterable[float]) -> Interval:
    """Student's t-interval of a mean: mean ± t(0.975, n-1) sd / √n. NaN for fewer than two values, or if all are alike."""
    sample = as_array(values)
    if not varies(sample):
        return NONE
    half = _t_quantile(len(sample) - 1) * _standard_error(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def accuracy_interval(values: Iterable[float]) -> Interval:
    """Interval of a mean accuracy in percent, which stays between 0 and 100.

    It is Student's t-interval on the logit scale, where 0 and 100 % are infinitely far away: with share p = mean / 100, from
    logit(p) - h to logit(p) + h, transformed back, where h = t(0.975, n-1) se(p) / (p (1 - p)) by the delta method. Away from
    the ends it is the ordinary t-interval. NaN for fewer than two values, or if all are alike.
    """
    shares = as_array(values) / 100
    if not varies(shares):
        return NONE
    mean = shares.mean()
    half = _t_quantile(len(shares) - 1) * _standard_error(shares) / (mean * (1 - mean))
    centre = math.log(mean / (1 - mean))
    return tuple(float(100 / (1 + np.exp(-(centre + side * half)))) for side in (-1, 1))  # type: ignore[return-value]


def difference_interval(first: Iterable[float], second: Iterable[float]) -> Interval:
    """Welch's interval of mean(second) - mean(first), two accuracies in percent, cut where a difference ends, at ±100.

    NaN if a sample has fewer than two values, or if neither varies.
    """
    one, other = as_array(first), as_array(second)
    if min(len(one), len(other)) < 2 or not (varies(one) or varies(other)):
        return NONE
    difference, error, freedom = welch(one, other)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
    return max(-100.0, difference - half), min(100.0, difference + half)


@lru_cache(maxsize=1000)
def proportion_interval(successes: int, trials: int) -> Interval:
    """Exact interval of a share (Clopper & Pearson 1934), between 0 and 1. NaN without trials."""
    if trials == 0:
        return NONE
    interval = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


@lru_cache(maxsize=1000)
def _t_quantile(freedom: int) -> float:
    """Half the width of a t-interval, in standard errors. Thousands of cells have the same number of seeds."""
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def _standard_error(sample: np.ndarray) -> float:
    """Of the mean. scipy.stats.sem returns the same, in a millisecond where this takes some microseconds."""
    return float(sample.std(ddof=1) / len(sample) ** 0.5)


def welch(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The difference of two means, its standard error and Welch's degrees of freedom; SciPy warns of one that is alike."""
    variances = [sample.var(ddof=1) / len(sample) if varies(sample) else 0.0 for sample in (one, other)]
    squares = sum(variance**2 / (len(sample) - 1) for variance, sample in zip(variances, (one, other), strict=True))
    return float(other.mean() - one.mean()), math.sqrt(sum(variances)), sum(variances) ** 2 / squares


def as_array(values: Iterable[float]) -> np.ndarray:
    """The sample as an array of floats, shape (n,)."""
    return np.asarray(list(values), dtype=float)


def varies(sample: np.ndarray) -> bool:
    """Whether there are two values or more that are not all alike."""
    return len(sample) > 1 and bool(np.ptp(sample) > ALIKE * max(1e-3, np.abs(sample).max()))
