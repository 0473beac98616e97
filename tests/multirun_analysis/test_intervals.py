"""Every interval against values worked out by hand or by SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from multirun_analysis import intervals


class TestIntervals:
    def test_t_interval_by_hand(self):
        # mean 2, sd 1, t(0.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138
        assert intervals.t_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)

    def test_t_interval_is_scipys(self):
        sample = np.random.default_rng(1).normal(90, 3, 7)
        expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        assert intervals.t_interval(sample) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize("sample", [[], [3.0]])
    def test_fewer_than_two_values_have_no_interval(self, sample):
        assert all(math.isnan(end) for end in intervals.t_interval(sample))

    @pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 10), (1, 1), (0, 1)])
    def test_proportion_interval_is_clopper_and_pearsons(self, successes, trials):
        low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
        high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
        assert intervals.proportion_interval(successes, trials) == pytest.approx((low, high))

    def test_no_trials_have_no_interval(self):
        assert all(math.isnan(end) for end in intervals.proportion_interval(0, 0))


class TestAccuracyIntervals:
    def test_by_hand(self):
        # mean 90, se 1/sqrt(3) points; on the logit scale 0.005773503 / 0.09 times t(0.975, 2) = 4.302653
        half = 4.302653 * 0.0057735027 / 0.09
        ends = [100 / (1 + math.exp(-(math.log(9) + side * half))) for side in (-1, 1)]
        assert intervals.accuracy_interval([89, 90, 91]) == pytest.approx(ends, abs=1e-5)

    @pytest.mark.parametrize("sample", [[99.9, 98], [0, 100], [0.1, 0.2, 4], [100, 100, 99.99], [97, 99.8, 100]])
    def test_stays_within_0_and_100_and_around_the_mean(self, sample):
        low, high = intervals.accuracy_interval(sample)
        assert 0 <= low < np.mean(sample) < high <= 100

    @pytest.mark.parametrize("sample", [[97.0], [97.1] * 3, [0.0, 0.0], [100.0] * 5, []])
    def test_is_none_of_nothing(self, sample):
        assert all(math.isnan(end) for end in intervals.accuracy_interval(sample))
        assert all(math.isnan(end) for end in intervals.t_interval(sample))

    def test_holds_the_mean_in_19_of_20_samples(self):
        rng = np.random.default_rng(5)
        shares = rng.beta(90, 10, size=(4000, 5)) * 100
        held = [low < 90 < high for low, high in map(intervals.accuracy_interval, shares)]
        assert np.mean(held) == pytest.approx(0.95, abs=0.015)


class TestDifferences:
    def test_is_welchs_interval(self):
        one, other = np.random.default_rng(6).normal(90, [[2], [5]], (2, 6))
        expected = stats.ttest_ind(other, one, equal_var=False).confidence_interval()
        assert intervals.difference_interval(one, other) == pytest.approx((expected.low, expected.high))

    def test_of_accuracies_ends_at_100_points(self):
        assert intervals.difference_interval([0, 30], [70, 100])[1] == 100
        assert intervals.difference_interval([70, 100], [0, 30])[0] == -100

    @pytest.mark.parametrize("samples", [([90], [91, 92]), ([90, 90], [95, 95]), ([90.1] * 3, [97.3] * 2), ([], [1, 2])])
    def test_is_none_of_nothing(self, samples):
        assert all(math.isnan(end) for end in intervals.difference_interval(*samples))

    def test_one_sample_without_spread_is_enough(self):
        low, high = intervals.difference_interval([97.0, 97.0], [96.0, 98.0])
        assert low < 0 < high
