"""Intervals, exact tests, equivalence and power for samples of numbers, one number a seed.

Every interval is at 95 %. What a sample is too small or too uniform for is NaN, never a guess.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
EXACT = 200_000  # assignments that a permutation test tries at most one by one: enough for 10 runs against 10
DRAWN = 20_000  # assignments drawn where there are more
SIGNS = 100_000  # the same for the sign-flip test, which is exact up to 16 pairs
SEED = 0  # of what is drawn
ALIKE = 1e-9  # a spread below this, relative to the mean, is rounding: the values are alike

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)


# ── intervals ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def t_interval(values: Iterable[float]) -> Interval:
    """Student's t-interval of a mean: mean ± t(0.975, n-1) sd / √n. NaN for fewer than two values, or if all are alike."""
    sample = _array(values)
    if not _varies(sample):
        return NONE
    half = _t_quantile(len(sample) - 1) * _standard_error(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def accuracy_interval(values: Iterable[float]) -> Interval:
    """Interval of a mean accuracy in percent, which stays between 0 and 100.

    It is Student's t-interval on the logit scale, where 0 and 100 % are infinitely far away: with share p = mean / 100, from
    logit(p) - h to logit(p) + h, transformed back, where h = t(0.975, n-1) se(p) / (p (1 - p)) by the delta method. Away from
    the ends it is the ordinary t-interval. NaN for fewer than two values, or if all are alike.
    """
    shares = _array(values) / 100
    if not _varies(shares):
        return NONE
    mean = shares.mean()
    half = _t_quantile(len(shares) - 1) * _standard_error(shares) / (mean * (1 - mean))
    centre = math.log(mean / (1 - mean))
    return tuple(float(100 / (1 + np.exp(-(centre + side * half)))) for side in (-1, 1))  # type: ignore[return-value]


def difference_interval(first: Iterable[float], second: Iterable[float]) -> Interval:
    """Welch's interval of mean(second) - mean(first), two accuracies in percent, cut where a difference ends, at ±100.

    NaN if a sample has fewer than two values, or if neither varies.
    """
    one, other = _array(first), _array(second)
    if min(len(one), len(other)) < 2 or not (_varies(one) or _varies(other)):
        return NONE
    difference, error, freedom = _welch(one, other)
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


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def permutation_test(first: Iterable[float], second: Iterable[float]) -> float:
    """Two-sided p-value of the exact permutation test on the difference of two means (Fisher 1935, Pitman 1937).

    If the two samples came from one distribution, the values could as well have been dealt out to them the other way. p is the
    share of all ways whose means are at least as far apart as the observed ones. Above 200,000 ways, which are more than 10
    values against 10 have, 20,000 are drawn (with seed 0). NaN if a sample has fewer than two values.
    """
    one, other = _array(first), _array(second)
    if min(len(one), len(other)) < 2:
        return math.nan
    both = np.concatenate([one, other])
    if math.comb(len(both), len(one)) <= EXACT:
        sums = both[_choices(len(both), len(one))].sum(axis=0)
        distances = np.abs(sums / len(one) - (both.sum() - sums) / len(other)).round(9)  # sums in any order are equal sums
        return float((distances >= round(abs(one.mean() - other.mean()), 9)).mean())

    def distance(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(a.mean(axis) - b.mean(axis)).round(9)

    test = stats.permutation_test(
        (one, other), distance, alternative="greater", vectorized=True, n_resamples=DRAWN, batch=5000, rng=SEED
    )
    return float(test.pvalue)


def sign_flip_test(differences: Iterable[float]) -> float:
    """Two-sided p-value of the paired randomisation test on the mean difference (Fisher 1935).

    If the two arms were alike, each difference could as well have had the other sign. p is the share of the 2^n assignments of
    signs whose mean is at least as far from 0 as the observed one, and so never below 2 / 2^n. Up to 16 differences the test is
    exact; with more, 100,000 assignments are drawn (with seed 0), and the observed one counts among them. NaN for fewer than
    two differences.
    """
    sample = _array(differences)
    if len(sample) < 2:
        return math.nan

    def distance(signed: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(signed.sum(axis)).round(9)

    test = stats.permutation_test(
        (sample,), distance, permutation_type="samples", alternative="greater", vectorized=True, n_resamples=SIGNS,
        batch=10_000, rng=SEED,
    )  # fmt: skip
    return float(test.pvalue)


def share_test(successes: Sequence[int], trials: Sequence[int]) -> float:
    """Two-sided p-value of Barnard's exact test that two shares are equal (Barnard 1945).

    NaN if a sample has fewer than two trials, and where all trials of both succeed or all fail: nothing is tested there.
    """
    (a, b), (n, m) = successes, trials
    if min(n, m) < 2 or a + b in (0, n + m):
        return math.nan
    return min(1.0, float(stats.barnard_exact([[a, b], [n - a, m - b]]).pvalue))


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979), in the order given. A NaN is not a test: it stays and does not count."""
    raw = _array(p_values)
    adjusted = np.full(len(raw), np.nan)
    order = [index for index in np.argsort(raw, kind="stable") if not np.isnan(raw[index])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * raw[index]))
        adjusted[index] = highest
    return adjusted


def smallest_p(first: int, second: int) -> float:
    """The smallest p-value that the permutation test allows for samples of these sizes. NaN where there is no test."""
    return math.nan if min(first, second) < 2 else (1 + (first == second)) / math.comb(first + second, first)


def equivalence_test(first: Iterable[float], second: Iterable[float], margin: float) -> float:
    """p-value of two one-sided Welch tests (Schuirmann 1987): small where the means differ by less than `margin`, either way.

    NaN if a sample has fewer than two values, or if neither varies.
    """
    one, other = _array(first), _array(second)
    if min(len(one), len(other)) < 2 or not (_varies(one) or _varies(other)):
        return math.nan
    difference, error, freedom = _welch(one, other)
    return float(stats.t.sf((margin - abs(difference)) / error, freedom))  # the larger of the two p-values


# ── power ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def detectable(first: Iterable[float], second: Iterable[float]) -> float:
    """The difference of two means that samples of these sizes show with 80 % probability, if values scatter as these do.

    It is that of a two-sided t-test at 5 % with the pooled standard deviation, which the permutation test comes close to. NaN
    if neither varies, or if the samples are so small that no permutation test of theirs can reach 5 %.
    """
    one, other = _array(first), _array(second)
    if not smallest_p(len(one), len(other)) < ALPHA or not (spread := _pooled(one, other)):
        return math.nan
    return _standard_errors(len(one) + len(other) - 2) * spread * math.sqrt(1 / len(one) + 1 / len(other))


def seeds_needed(first: Iterable[float], second: Iterable[float], difference: float) -> float:
    """How many values each sample needs to show this difference with 80 % probability, as `detectable` has it."""
    one, other = _array(first), _array(second)
    if min(len(one), len(other)) < 2 or not (spread := _pooled(one, other)):
        return math.nan
    by_normal = 2 * ((stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) * spread / difference) ** 2  # never too many
    n = max(4, math.floor(by_normal))  # four against four are the fewest whose permutation test can reach 5 %
    while _standard_errors(2 * n - 2) * spread * math.sqrt(2 / n) > difference:
        n += 1
    return float(n)


@lru_cache(maxsize=1000)
def _standard_errors(freedom: int) -> float:
    """How many standard errors away a mean must be for a two-sided t-test at 5 % to find it with 80 % probability."""
    critical = stats.t.ppf(1 - ALPHA / 2, freedom)
    return float(
        optimize.brentq(
            lambda away: stats.nct.sf(critical, freedom, away) + stats.nct.cdf(-critical, freedom, away) - POWER,
            0.5, 3 * critical,
        )
    )  # fmt: skip


def _welch(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The difference of two means, its standard error and Welch's degrees of freedom; SciPy warns of one that is alike."""
    variances = [sample.var(ddof=1) / len(sample) if _varies(sample) else 0.0 for sample in (one, other)]
    squares = sum(variance**2 / (len(sample) - 1) for variance, sample in zip(variances, (one, other), strict=True))
    return float(other.mean() - one.mean()), math.sqrt(sum(variances)), sum(variances) ** 2 / squares


def _pooled(one: np.ndarray, other: np.ndarray) -> float:
    """The pooled standard deviation of two samples; 0 where neither varies."""
    if not (_varies(one) or _varies(other)):
        return 0.0
    squares = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
    return math.sqrt(squares / (len(one) + len(other) - 2))


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _array(values: Iterable[float]) -> np.ndarray:
    return np.asarray(list(values), dtype=float)


def _varies(sample: np.ndarray) -> bool:
    """Whether there are two values or more that are not all alike."""
    return len(sample) > 1 and bool(np.ptp(sample) > ALIKE * max(1e-3, np.abs(sample).max()))


@lru_cache(maxsize=4)
def _choices(total: int, chosen: int) -> np.ndarray:
    """All ways to choose some of `total` positions, shape (chosen, ways), which sums fastest."""
    ways = chain.from_iterable(combinations(range(total), chosen))
    flat = np.fromiter(ways, dtype=np.int8, count=math.comb(total, chosen) * chosen)
    return np.ascontiguousarray(flat.reshape(-1, chosen).T)
