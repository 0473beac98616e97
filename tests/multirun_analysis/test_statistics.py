"""Every statistic against values worked out by hand or by SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from synthetic import frame, pairs

from multirun_analysis import published, statistics


class TestIntervals:
    def test_t_interval_by_hand(self):
        # mean 2, sd 1, t(0.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138
        assert statistics.t_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)

    def test_t_interval_is_scipys(self):
        sample = np.random.default_rng(1).normal(90, 3, 7)
        expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        assert statistics.t_interval(sample) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize("sample", [[], [3.0]])
    def test_fewer_than_two_values_have_no_interval(self, sample):
        assert all(math.isnan(end) for end in statistics.t_interval(sample))

    @pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 10), (1, 1), (0, 1)])
    def test_proportion_interval_is_clopper_and_pearsons(self, successes, trials):
        low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
        high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
        assert statistics.proportion_interval(successes, trials) == pytest.approx((low, high))

    def test_no_trials_have_no_interval(self):
        assert all(math.isnan(end) for end in statistics.proportion_interval(0, 0))


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
        assert statistics.sign_flip_test(differences) == p

    @pytest.mark.parametrize("pairs", [9, 16])
    def test_up_to_sixteen_pairs_it_tries_all_assignments(self, pairs):
        sample = np.random.default_rng(2).normal(0.5, 1, pairs).round(2)
        signs = np.array(list(itertools.product([-1, 1], repeat=pairs)))
        far = np.abs(signs @ sample) >= abs(sample.sum()) - 1e-9
        assert statistics.sign_flip_test(sample) == far.mean()

    def test_rounding_does_not_split_equal_sums(self):
        assert statistics.sign_flip_test([0.1, 0.2, 0.3, -0.6]) == 1.0  # 0.1 + 0.2 + 0.3 is not quite 0.6 in floats
        thirds = [100 / 3, -100 / 3, 200 / 3, 0.1, 0.2, -0.3]
        assert statistics.sign_flip_test(thirds) == statistics.sign_flip_test([1000, -1000, 2000, 3, 6, -9])

    def test_above_sixteen_pairs_it_samples_the_same_every_time(self):
        sample = np.random.default_rng(3).normal(0.45, 1, 24)
        p = statistics.sign_flip_test(sample)
        assert p == statistics.sign_flip_test(sample)
        assert p == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, abs=0.01)
        assert 0 < statistics.sign_flip_test([1.0] * 24) == 1 / 100_001  # the observed signs are among those drawn

    def test_one_pair_is_no_test(self):
        assert math.isnan(statistics.sign_flip_test([4.0]))


class TestHolm:
    def test_by_hand(self):
        # sorted 0.01, 0.03, 0.04 times 3, 2, 1, never decreasing
        assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_never_above_one_and_no_test_is_not_counted(self):
        assert statistics.holm([0.5, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
        assert statistics.holm([0.02, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)


class TestSummary:
    def test_mean_sd_and_interval_of_each_cell(self):
        row = statistics.summarize(frame(pairs(5, [90, 92, 94], [95, 95, 98]))).iloc[0]
        assert (row["n"], row["test_acc_n"]) == (3, 3)
        assert row["test_acc_mean"] == 92
        assert row["test_acc_sd"] == pytest.approx(2.0)
        assert (row["test_acc_low"], row["test_acc_high"]) == pytest.approx(statistics.t_interval([90, 92, 94]))

    def test_runs_that_are_not_done_are_counted_apart_and_in_no_mean(self):
        rows = [
            *pairs(5, [90, None, 94], [95]),
            {"depth": 5, "seed": 7, "status": "failed", "test_acc": 1.0},
            {"depth": 5, "seed": 8, "status": "missing"},
            {"depth": 5, "seed": 9, "counted": False, "reason": "same configuration and seed as x", "test_acc": 1.0},
        ]
        runs = frame([{"counted": row.get("status", "done") == "done", **row} for row in rows])
        runs.loc[runs["seed"] == 9, "reason"] = "same configuration and seed as x"
        plain = statistics.summarize(runs).iloc[0]
        assert plain["test_acc_mean"] == 92
        assert plain[["n", "diverged", "failed", "missing", "other"]].tolist() == [2, 1, 1, 1, 1]

    def test_a_done_run_without_a_metric_lowers_that_metrics_n_only(self):
        runs = frame([{"depth": 5, "seed": seed, "test_acc": 90.0, "val_loss": loss} for seed, loss in enumerate([0.5, None])])
        row = statistics.summarize(runs).iloc[0]
        assert (row["n"], row["test_acc_n"], row["val_loss_n"], row["val_loss_mean"]) == (2, 2, 1, 0.5)

    def test_one_seed_has_a_mean_and_no_interval(self):
        row = statistics.summarize(frame(pairs(5, [90], [95]))).iloc[0]
        assert row["test_acc_mean"] == 90
        assert np.isnan(row[["test_acc_sd", "test_acc_low", "test_acc_high"]].to_numpy(dtype=float)).all()


class TestPairedDifferences:
    def test_by_hand(self):
        row = statistics.paired_differences(frame(pairs(5, [90, 92, 94], [91, 95, 97]))).iloc[0]
        assert (row["n"], row["unpaired"]) == (3, 0)
        assert (row["plain"], row["residual"], row["difference"]) == pytest.approx((92, 283 / 3, 7 / 3))
        assert row["sd"] == pytest.approx(np.std([1, 3, 3], ddof=1))
        assert (row["low"], row["high"]) == pytest.approx(statistics.t_interval([1, 3, 3]))
        assert row["p"] == row["p_holm"] == 0.25

    def test_only_seeds_that_both_arms_have_are_compared(self):
        # seed 0 diverged plain, seed 3 has no plain run: their residual numbers are in neither mean
        row = statistics.paired_differences(frame(pairs(5, [None, 92, 94], [10, 95, 97, 10]))).iloc[0]
        assert (row["n"], row["unpaired"], row["plain"], row["residual"], row["difference"]) == (2, 2, 93, 96, 3)

    def test_holm_is_over_the_depths_of_each_group(self):
        rows = [
            row | {"group": group} for group in "ab" for d in (5, 10) for row in pairs(d, [90, 91, 92, 93], [91, 92, 93, 95])
        ]
        table = statistics.paired_differences(frame(rows))
        assert table["p"].tolist() == [0.125] * 4
        assert table["p_holm"].tolist() == [0.25] * 4

    def test_one_pair_has_no_interval_and_no_p(self):
        row = statistics.paired_differences(frame(pairs(5, [90], [95]))).iloc[0]
        assert row["difference"] == 5
        assert np.isnan(row[["sd", "low", "high", "p", "p_holm"]].to_numpy(dtype=float)).all()


class TestTrainability:
    def test_the_threshold_is_a_tenth_of_the_way_from_chance(self):
        table = statistics.trainability(frame(pairs(50, [18.9, 19.0, 60.0, None], [])))
        row = table.iloc[0]
        assert row[["n", "trained", "diverged"]].tolist() == [4, 2, 1]
        assert (row["share"], row["threshold"]) == (0.5, 19.0)
        assert (row["low"], row["high"]) == pytest.approx(statistics.proportion_interval(2, 4))

    def test_chance_comes_from_the_run_before_the_data_set(self):
        runs = frame([{"depth": 5, "test_acc": 54.0, "dataset": "coins", "num_classes": 2}])
        assert statistics.trainability(runs)["trained"].item() == 0  # threshold 55
        assert statistics.trainability(frame([{"depth": 5, "test_acc": 54.0, "dataset": "coins"}])).empty

    def test_the_best_of_many_validation_accuracies_is_not_asked(self):
        runs = frame([{"depth": 5, "test_acc": 50.0, "val_acc": 60.0, "dataset": "coins", "num_classes": 2}])
        assert statistics.trainability(runs)["trained"].item() == 0


class TestFirstShortfall:
    def test_of_the_published_table_is_depth_30(self):
        table = published.depth_table()[["depth", "residual", "test_acc"]]
        row = statistics.first_shortfall(frame(table.to_dict("records"))).iloc[0]
        assert row[["reference", "depth", "before", "deepest", "n"]].tolist() == ["residual", 30, 20, 100, 1]
        assert math.isnan(row["low"])  # one seed: no interval
        assert math.isnan(row["high"])

    def test_needs_more_than_two_points(self):
        runs = frame(pairs(5, [90, 90], [92, 92]) + pairs(10, [90, 90], [92, 92.1]))
        assert statistics.first_shortfall(runs)["depth"].item() == 10

    def test_interval_is_that_of_all_resamples(self):
        differences = np.array([[0, 0, 9], [0, 7, 9], [0, 0, 1]])  # seed, depth
        runs = frame([row for i, d in enumerate((5, 10, 20)) for row in pairs(d, [80] * 3, list(80 + differences[:, i]))])
        first = []
        for seeds in itertools.product(range(3), repeat=3):  # all 27, equally likely
            short = differences[list(seeds)].mean(axis=0) > 2
            first.append([5, 10, 20, math.inf][int(short.argmax()) if short.any() else 3])
        expected = np.quantile(first, [0.025, 0.975], method="inverted_cdf")
        row = statistics.first_shortfall(runs).iloc[0]
        assert (row["low"], row["high"]) == tuple(expected) == (10, math.inf)
        assert row["depth"] == 10

    def test_a_diverged_run_counts_at_chance(self):
        runs = frame(pairs(5, [90, 90], [90, 90]) + pairs(50, [None, None], [88, 88]))
        assert statistics.first_shortfall(runs)["depth"].item() == 50

    def test_without_residual_twins_it_is_the_best_plain_depth_that_counts(self):
        rows = [row for d, acc in ((5, 90), (10, 95), (20, 94), (30, 60)) for row in pairs(d, [acc, acc], [])]
        row = statistics.first_shortfall(frame(rows)).iloc[0]
        assert row[["reference", "depth", "before"]].tolist() == ["best plain", 30, 20]  # depth 5 is not beyond the best

    def test_nothing_falls_short(self):
        row = statistics.first_shortfall(frame(pairs(5, [90, 91], [90, 91]) + pairs(10, [90, 91], [89, 90]))).iloc[0]
        assert row["depth"] is not row["depth"] or str(row["depth"]) == "<NA>"
        assert row["low"] == row["high"] == math.inf
