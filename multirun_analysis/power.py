"""The power of a comparison: which difference of two means the runs can show, and how many runs it takes to show one.

What a sample is too small or too uniform for is NaN, never a guess.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from multirun_analysis.intervals import as_array, varies
from multirun_analysis.significance import ALPHA, smallest_p

POWER = 0.8


def detectable(first: Iterable[float], second: Iterable[float]) -> float:
    """The difference of two means that samples of these sizes show with 80 % probability, if values scatter as these do.

    It is that of a two-sided t-test at 5 % with the pooled standard deviation, which the permutation test comes close to. NaN
    if neither varies, or if the samples are so small that no permutation test of theirs can reach 5 %.
    """
    one, other = as_array(first), as_array(second)
    if not smallest_p(len(one), len(other)) < ALPHA or not (spread := _pooled(one, other)):
        return math.nan
    return _standard_errors(len(one) + len(other) - 2) * spread * math.sqrt(1 / len(one) + 1 / len(other))


def seeds_needed(first: Iterable[float], second: Iterable[float], difference: float) -> float:
    """How many values each sample needs to show this difference with 80 % probability, as `detectable` has it."""
    one, other = as_array(first), as_array(second)
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


def _pooled(one: np.ndarray, other: np.ndarray) -> float:
    """The pooled standard deviation of two samples; 0 where neither varies."""
    if not (varies(one) or varies(other)):
        return 0.0
    squares = ((one - one.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum()
    return math.sqrt(squares / (len(one) + len(other) - 2))
