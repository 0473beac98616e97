"""Every interval and test against values worked out by hand or by SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from multirun_analysis import inference


class TestIntervals:
    def test_t_interval_by_hand(self):
        # mean 2, sd 1, t(0.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138
        assert inference.t_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)

    def test_t_interval_is_scipys(self):
        sample = np.random.default_rng(1).normal(90, 3, 7)
        expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        assert inference.t_interval(sample) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize("sample", [[], [3.0]])
    def test_fewer_than_two_values_have_no_interval(self, sample):
        assert all(math.isnan(end) for end in inference.t_interval(sample))

    @pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 10), (1, 1), (0, 1)])
    def test_proportion_interval_is_clopper_and_pearsons(self, successes, trials):
        low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
        high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
        assert inference.proportion_interval(successes, trials) == pytest.approx((low, high))

    def test_no_trials_have_no_interval(self):
        assert all(math.isnan(end) for end in inference.proportion_interval(0, 0))


class TestAccuracyIntervals:
    def test_by_hand(self):
        # mean 90, se 1/sqrt(3) points; on the logit scale 0.005773503 / 0.09 times t(0.975, 2) = 4.302653
        half = 4.302653 * 0.0057735027 / 0.09
        ends = [100 / (1 + math.exp(-(math.log(9) + side * half))) for side in (-1, 1)]
        assert inference.accuracy_interval([89, 90, 91]) == pytest.approx(ends, abs=1e-5)

    @pytest.mark.parametrize("sample", [[99.9, 98], [0, 100], [0.1, 0.2, 4], [100, 100, 99.99], [97, 99.8, 100]])
    def test_stays_within_0_and_100_and_around_the_mean(self, sample):
        low, high = inference.accuracy_interval(sample)
        assert 0 <= low < np.mean(sample) < high <= 100

    @pytest.mark.parametrize("sample", [[97.0], [97.1] * 3, [0.0, 0.0], [100.0] * 5, []])
    def test_is_none_of_nothing(self, sample):
        assert all(math.isnan(end) for end in inference.accuracy_interval(sample))
        assert all(math.isnan(end) for end in inference.t_interval(sample))

    def test_holds_the_mean_in_19_of_20_samples(self):
        rng = np.random.default_rng(5)
        shares = rng.beta(90, 10, size=(4000, 5)) * 100
        held = [low < 90 < high for low, high in map(inference.accuracy_interval, shares)]
        assert np.mean(held) == pytest.approx(0.95, abs=0.015)


class TestDifferences:
    def test_is_welchs_interval(self):
        one, other = np.random.default_rng(6).normal(90, [[2], [5]], (2, 6))
        expected = stats.ttest_ind(other, one, equal_var=False).confidence_interval()
        assert inference.difference_interval(one, other) == pytest.approx((expected.low, expected.high))

    def test_of_accuracies_ends_at_100_points(self):
        assert inference.difference_interval([0, 30], [70, 100])[1] == 100
        assert inference.difference_interval([70, 100], [0, 30])[0] == -100

    @pytest.mark.parametrize("samples", [([90], [91, 92]), ([90, 90], [95, 95]), ([90.1] * 3, [97.3] * 2), ([], [1, 2])])
    def test_is_none_of_nothing(self, samples):
        assert all(math.isnan(end) for end in inference.difference_interval(*samples))
        assert math.isnan(inference.equivalence_test(*samples, 1.0))

    def test_one_sample_without_spread_is_enough(self):
        low, high = inference.difference_interval([97.0, 97.0], [96.0, 98.0])
        assert low < 0 < high


class TestPermutations:
    @pytest.mark.parametrize(("first", "second", "p"), [
        ([1, 2, 3], [4, 5, 6], 2 / 20), ([1, 2], [1, 2], 1.0), ([5, 5], [5, 5, 5], 1.0), ([0, 0], [1, 1, 1], 1 / 10),
        ([90] * 5, [95] * 5, 2 / 252),
    ])  # fmt: skip
    def test_by_hand(self, first, second, p):
        assert inference.permutation_test(first, second) == pytest.approx(p)

    def test_is_scipys(self):
        one, other = np.random.default_rng(7).normal([[0], [0.7]], 1, (2, 6))
        expected = stats.permutation_test((one, other), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=np.inf)
        assert inference.permutation_test(one, other) == pytest.approx(expected.pvalue)

    def test_rounding_does_not_split_equal_means(self):
        assert inference.permutation_test([0.1, 0.6], [0.2, 0.5]) == inference.permutation_test([1, 6], [2, 5]) == 1.0

    def test_above_ten_runs_each_it_draws_the_same_every_time(self):
        one, other = np.random.default_rng(8).normal([[0], [0.8]], 1, (2, 14))
        p = inference.permutation_test(one, other)
        assert p == inference.permutation_test(one, other) == pytest.approx(stats.ttest_ind(one, other).pvalue, abs=0.01)

    def test_five_against_five_reach_5_percent_in_a_family_of_six(self):
        separated = [inference.permutation_test(range(5), range(10, 15)) for _ in range(6)]
        assert inference.holm(separated).max() < 0.05
        paired = [inference.sign_flip_test([10, 11, 12, 13, 14]) for _ in range(6)]
        assert inference.holm(paired).min() == 0.375

    @pytest.mark.parametrize("sizes", [(2, 2), (2, 5), (3, 3), (4, 6), (5, 5)])
    def test_the_smallest_p_is_that_of_separated_samples(self, sizes):
        assert inference.smallest_p(*sizes) == pytest.approx(inference.permutation_test([0] * sizes[0], [1] * sizes[1]))

    def test_one_value_is_no_test(self):
        assert math.isnan(inference.permutation_test([1], [2, 3]))
        assert math.isnan(inference.smallest_p(1, 3))


class TestShares:
    def test_is_barnards(self):
        assert inference.share_test((0, 5), (5, 5)) == pytest.approx(2 * 0.5**10)
        assert inference.share_test((8, 2), (8, 8)) == pytest.approx(stats.barnard_exact([[8, 2], [0, 6]]).pvalue)

    @pytest.mark.parametrize(("successes", "trials"), [((5, 5), (5, 5)), ((0, 0), (5, 5)), ((0, 1), (1, 5))])
    def test_nothing_is_tested_where_all_or_none_train(self, successes, trials):
        assert math.isnan(inference.share_test(successes, trials))

    @pytest.mark.parametrize("trials", [(3, 3), (5, 5), (5, 3), (8, 8)])
    def test_leaving_those_tables_out_of_the_family_keeps_the_level(self, trials):
        """Given that some train and some do not, the chance of a p below any level that Holm asks for is below that level."""
        share = np.linspace(0.005, 0.995, 199)
        counted = 1 - share ** sum(trials) - (1 - share) ** sum(trials)
        tables = {t: inference.share_test(t, trials) for t in itertools.product(range(trials[0] + 1), range(trials[1] + 1))}
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
        assert inference.equivalence_test(one, other, 0.2) == pytest.approx(max(above, below))

    def test_a_difference_beyond_the_margin_is_none(self):
        assert inference.equivalence_test([97.0, 97.1, 97.2], [99.0, 99.1, 99.2], 0.2) > 0.99


class TestPower:
    def test_is_that_of_tables(self):
        # Cohen (1988): d = 0.8 takes 26 a group, d = 0.5 takes 64
        sample = np.array([-1.0, 1.0]) / math.sqrt(2)
        assert inference.seeds_needed(sample, sample, 0.8) == 26
        assert inference.seeds_needed(sample, sample, 0.5) == 64

    def test_what_enough_runs_would_show_they_show(self):
        rng = np.random.default_rng(10)
        one, other = rng.normal(0, 1, (2, 6))
        difference = inference.detectable(one, other)
        spread = math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
        found = [stats.ttest_ind(a, b).pvalue < 0.05 for a, b in rng.normal([[0], [difference]], spread, (1500, 2, 6))]
        assert np.mean(found) == pytest.approx(0.8, abs=0.03)

    def test_three_against_three_can_show_nothing(self):
        assert math.isnan(inference.detectable([1, 2, 3], [1, 2, 3]))
        assert not math.isnan(inference.detectable([1, 2, 3, 4], [1, 2, 3, 4]))
        assert inference.seeds_needed([1, 2, 3], [1, 2, 3], 100) == 4

    def test_without_spread_there_is_nothing_to_go_by(self):
        assert math.isnan(inference.detectable([97.0] * 5, [98.0] * 5))
        assert math.isnan(inference.seeds_needed([97.0] * 5, [98.0] * 5, 0.2))


class TestSignFlip:
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
        assert inference.sign_flip_test(differences) == p

    @pytest.mark.parametrize("pairs", [9, 16])
    def test_up_to_sixteen_pairs_it_tries_all_assignments(self, pairs):
        sample = np.random.default_rng(2).normal(0.5, 1, pairs).round(2)
        signs = np.array(list(itertools.product([-1, 1], repeat=pairs)))
        far = np.abs(signs @ sample) >= abs(sample.sum()) - 1e-9
        assert inference.sign_flip_test(sample) == far.mean()

    def test_rounding_does_not_split_equal_sums(self):
        assert inference.sign_flip_test([0.1, 0.2, 0.3, -0.6]) == 1.0  # 0.1 + 0.2 + 0.3 is not quite 0.6 in floats
        thirds = [100 / 3, -100 / 3, 200 / 3, 0.1, 0.2, -0.3]
        assert inference.sign_flip_test(thirds) == inference.sign_flip_test([1000, -1000, 2000, 3, 6, -9])

    def test_above_sixteen_pairs_it_samples_the_same_every_time(self):
        sample = np.random.default_rng(3).normal(0.45, 1, 24)
        p = inference.sign_flip_test(sample)
        assert p == inference.sign_flip_test(sample)
        assert p == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, abs=0.01)
        assert 0 < inference.sign_flip_test([1.0] * 24) == 1 / 100_001  # the observed signs are among those drawn

    def test_one_pair_is_no_test(self):
        assert math.isnan(inference.sign_flip_test([4.0]))


class TestHolm:
    def test_by_hand(self):
        # sorted 0.01, 0.03, 0.04 times 3, 2, 1, never decreasing
        assert inference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_never_above_one_and_no_test_is_not_counted(self):
        assert inference.holm([0.5, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
        assert inference.holm([0.02, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)
