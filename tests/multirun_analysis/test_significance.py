"""Every test against p-values worked out by hand or by SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from multirun_analysis import significance


class TestPermutations:
    @pytest.mark.parametrize(("first", "second", "p"), [
        ([1, 2, 3], [4, 5, 6], 2 / 20), ([1, 2], [1, 2], 1.0), ([5, 5], [5, 5, 5], 1.0), ([0, 0], [1, 1, 1], 1 / 10),
        ([90] * 5, [95] * 5, 2 / 252),
    ])  # fmt: skip
    def test_by_hand(self, first, second, p):
        assert significance.permutation_test(first, second) == pytest.approx(p)

    def test_is_scipys(self):
        one, other = np.random.default_rng(7).normal([[0], [0.7]], 1, (2, 6))
        expected = stats.permutation_test((one, other), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=np.inf)
        assert significance.permutation_test(one, other) == pytest.approx(expected.pvalue)

    def test_rounding_does_not_split_equal_means(self):
        assert significance.permutation_test([0.1, 0.6], [0.2, 0.5]) == significance.permutation_test([1, 6], [2, 5]) == 1.0

    def test_above_ten_runs_each_it_draws_the_same_every_time(self):
        one, other = np.random.default_rng(8).normal([[0], [0.8]], 1, (2, 14))
        p = significance.permutation_test(one, other)
        assert p == significance.permutation_test(one, other) == pytest.approx(stats.ttest_ind(one, other).pvalue, abs=0.01)

    def test_five_against_five_reach_5_percent_in_a_family_of_six(self):
        separated = [significance.permutation_test(range(5), range(10, 15)) for _ in range(6)]
        assert significance.holm(separated).max() < 0.05
        paired = [significance.paired_test([10, 11, 12, 13, 14]) for _ in range(6)]
        assert significance.holm(paired).min() == 0.375

    @pytest.mark.parametrize("sizes", [(2, 2), (2, 5), (3, 3), (4, 6), (5, 5)])
    def test_the_smallest_p_is_that_of_separated_samples(self, sizes):
        assert significance.smallest_p(*sizes) == pytest.approx(significance.permutation_test([0] * sizes[0], [1] * sizes[1]))

    def test_one_value_is_no_test(self):
        assert math.isnan(significance.permutation_test([1], [2, 3]))
        assert math.isnan(significance.smallest_p(1, 3))


class TestPaired:
    @pytest.mark.parametrize(
        ("differences", "p"),
        [
            ([1, 2, 3], 2 / 8),  # only all signs alike are as far from 0
            ([1, 1, -1], 1.0),  # |sum| 1 is the least there is
            ([2, 2, 2, -1], 4 / 16),  # sums 5 and 7, either sign
            ([0, 0, 0], 1.0),
            ([5.0] * 5, 2 / 32),
        ],
    )
    def test_by_hand(self, differences, p):
        assert significance.paired_test(differences) == p

    @pytest.mark.parametrize("pairs", [9, 16])
    def test_up_to_sixteen_pairs_it_tries_all_assignments(self, pairs):
        sample = np.random.default_rng(2).normal(0.5, 1, pairs).round(2)
        signs = np.array(list(itertools.product([-1, 1], repeat=pairs)))
        far = np.abs(signs @ sample) >= abs(sample.sum()) - 1e-9
        assert significance.paired_test(sample) == far.mean()

    def test_rounding_does_not_split_equal_sums(self):
        assert significance.paired_test([0.1, 0.2, 0.3, -0.6]) == 1.0  # 0.1 + 0.2 + 0.3 is not quite 0.6 in floats
        thirds = [100 / 3, -100 / 3, 200 / 3, 0.1, 0.2, -0.3]
        assert significance.paired_test(thirds) == significance.paired_test([1000, -1000, 2000, 3, 6, -9])

    def test_above_sixteen_pairs_it_samples_the_same_every_time(self):
        sample = np.random.default_rng(3).normal(0.45, 1, 24)
        p = significance.paired_test(sample)
        assert p == significance.paired_test(sample)
        assert p == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, abs=0.01)
        assert 0 < significance.paired_test([1.0] * 24) == 1 / 100_001  # the observed signs are among those drawn

    def test_one_pair_is_no_test(self):
        assert math.isnan(significance.paired_test([4.0]))


class TestShares:
    def test_is_barnards(self):
        assert significance.share_test((0, 5), (5, 5)) == pytest.approx(2 * 0.5**10)
        assert significance.share_test((8, 2), (8, 8)) == pytest.approx(stats.barnard_exact([[8, 2], [0, 6]]).pvalue)

    @pytest.mark.parametrize(("successes", "trials"), [((5, 5), (5, 5)), ((0, 0), (5, 5)), ((0, 1), (1, 5))])
    def test_nothing_is_tested_where_all_or_none_train(self, successes, trials):
        assert math.isnan(significance.share_test(successes, trials))

    @pytest.mark.parametrize("trials", [(3, 3), (5, 5), (5, 3), (8, 8)])
    def test_leaving_those_tables_out_of_the_family_keeps_the_level(self, trials):
        """Given that some train and some do not, the chance of a p below any level that Holm asks for is below that level."""
        share = np.linspace(0.005, 0.995, 199)
        counted = 1 - share ** sum(trials) - (1 - share) ** sum(trials)
        tables = {t: significance.share_test(t, trials) for t in itertools.product(range(trials[0] + 1), range(trials[1] + 1))}
        for tests in range(1, 14):
            level = 0.05 / tests
            found = sum(
                (
                    math.prod(stats.binom.pmf(k, n, share) for k, n in zip(t, trials, strict=True))
                    for t, p in tables.items()
                    if p <= level
                ),
                np.zeros_like(share),
            )
            assert (found / counted).max() <= level


class TestEquivalence:
    def test_is_two_one_sided_tests(self):
        one, other = np.random.default_rng(9).normal(98, 0.1, (2, 10))
        above = stats.ttest_ind(other + 0.2, one, equal_var=False, alternative="greater").pvalue
        below = stats.ttest_ind(other - 0.2, one, equal_var=False, alternative="less").pvalue
        assert significance.equivalence_test(one, other, 0.2) == pytest.approx(max(above, below))

    def test_a_difference_beyond_the_margin_is_none(self):
        assert significance.equivalence_test([97.0, 97.1, 97.2], [99.0, 99.1, 99.2], 0.2) > 0.99

    @pytest.mark.parametrize("samples", [([90], [91, 92]), ([90, 90], [95, 95]), ([90.1] * 3, [97.3] * 2), ([], [1, 2])])
    def test_nothing_is_tested_without_spread(self, samples):
        assert math.isnan(significance.equivalence_test(*samples, 1.0))


class TestHolm:
    def test_by_hand(self):
        # sorted 0.01, 0.03, 0.04 times 3, 2, 1, never decreasing
        assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_never_above_one_and_no_test_is_not_counted(self):
        assert significance.holm([0.5, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
        assert significance.holm([0.02, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)
