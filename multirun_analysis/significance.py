"""Tests of significance, for samples of numbers, one number per seed: p-values and their correction.

What a sample is too small or too uniform for is NaN, never a guess.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
from scipy import stats

from multirun_analysis.intervals import as_array, varies, welch

ALPHA = 0.05
EXACT = 200_000  # assignments that a permutation test tries at most one by one: enough for 10 runs against 10
DRAWN = 20_000  # assignments drawn where there are more
SIGNS = 100_000  # the same for the paired test, which is exact up to 16 pairs
SEED = 0  # of what is drawn


def permutation_test(first: Iterable[float], second: Iterable[float]) -> float:
    """Two-sided p-value of the exact permutation test on the difference of two means (Fisher 1935, Pitman 1937).

    If the two samples came from one distribution, the values could as well have been dealt out to them the other way. p is the
    share of all ways whose means are at least as far apart as the observed ones. Above 200,000 ways, which are more than 10
    values against 10 have, 20,000 are drawn (with seed 0). NaN if a sample has fewer than two values.
    """
    one, other = as_array(first), as_array(second)
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


@lru_cache(maxsize=4)
def _choices(total: int, chosen: int) -> np.ndarray:
    """All ways to choose some of `total` positions, shape (chosen, ways), which sums fastest."""
    ways = chain.from_iterable(combinations(range(total), chosen))
    flat = np.fromiter(ways, dtype=np.int8, count=math.comb(total, chosen) * chosen)
    return np.ascontiguousarray(flat.reshape(-1, chosen).T)


def smallest_p(first: int, second: int) -> float:
    """The smallest p-value that the permutation test allows for samples of these sizes. NaN where there is no test."""
    return math.nan if min(first, second) < 2 else (1 + (first == second)) / math.comb(first + second, first)


def paired_test(differences: Iterable[float]) -> float:
    """Two-sided p-value of the sign-flip test over the pairs of a seed (Fisher 1935), from the difference within each pair.

    If the two arms were alike, each difference could as well have had the other sign. p is the share of the 2^n assignments of
    signs whose mean is at least as far from 0 as the observed one, and so never below 2 / 2^n. Up to 16 differences the test is
    exact; with more, 100,000 assignments are drawn (with seed 0), and the observed one counts among them. NaN for fewer than
    two differences.
    """
    sample = as_array(differences)
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


def equivalence_test(first: Iterable[float], second: Iterable[float], margin: float) -> float:
    """p-value of two one-sided Welch tests (Schuirmann 1987): small where the means differ by less than `margin`, either way.

    NaN if a sample has fewer than two values, or if neither varies.
    """
    one, other = as_array(first), as_array(second)
    if min(len(one), len(other)) < 2 or not (varies(one) or varies(other)):
        return math.nan
    difference, error, freedom = welch(one, other)
    return float(stats.t.sf((margin - abs(difference)) / error, freedom))  # the larger of the two p-values


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979), in the order given. A NaN is not a test: it stays and does not count."""
    raw = as_array(p_values)
    adjusted = np.full(len(raw), np.nan)
    order = [index for index in np.argsort(raw, kind="stable") if not np.isnan(raw[index])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * raw[index]))
        adjusted[index] = highest
    return adjusted
