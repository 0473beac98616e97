"""Cells, comparisons and shares, from runs whose numbers can be worked out by hand."""

import numpy as np
import pytest
from synthetic import frame, pairs

from multirun_analysis import intervals, shortfall, significance, statistics


class TestSummary:
    def test_mean_sd_and_interval_of_each_cell(self):
        row = statistics.summarize(frame(pairs(5, [90, 92, 94], [95, 95, 98]))).iloc[0]
        assert (row["n"], row["test_acc_n"]) == (3, 3)
        assert row["test_acc_mean"] == 92
        assert row["test_acc_sd"] == pytest.approx(2.0)
        assert (row["test_acc_low"], row["test_acc_high"]) == pytest.approx(intervals.accuracy_interval([90, 92, 94]))

    def test_runs_that_have_not_ended_are_counted_apart_and_in_no_mean(self):
        rows = [
            *pairs(5, [90, 94], [95]),
            {"depth": 5, "seed": 7, "status": "failed", "test_acc": 1.0},
            {"depth": 5, "seed": 8, "status": "missing"},
            {"depth": 5, "seed": 9, "counted": False, "reason": "same configuration and seed as x", "test_acc": 1.0},
        ]
        runs = frame([{"counted": row.get("status", "done") == "done", **row} for row in rows])
        runs.loc[runs["seed"] == 9, "reason"] = "same configuration and seed as x"
        plain = statistics.summarize(runs).iloc[0]
        assert plain["test_acc_mean"] == 92
        assert plain[["n", "diverged", "failed", "missing", "other"]].tolist() == [2, 0, 1, 1, 1]

    def test_a_diverged_run_counts_as_chance_and_the_survivors_stand_beside_it(self):
        rows = [row | {"val_loss": None if row["status"] == "diverged" else 0.5} for row in pairs(5, [90, None, 94], [])]
        plain = statistics.summarize(frame(rows)).iloc[0]
        assert plain["test_acc_mean"] == pytest.approx((90 + 10 + 94) / 3)
        assert plain[["n", "diverged", "at_chance", "other", "survivors_n", "survivors_mean"]].tolist() == [3, 1, 1, 0, 2, 92]
        assert (plain["val_acc_mean"], plain["val_loss_n"], plain["val_loss_mean"]) == (plain["test_acc_mean"], 2, 0.5)

    def test_without_known_chance_a_diverged_run_is_in_no_mean(self):
        rows = [row | {"dataset": "coins"} for row in pairs(5, [90, None, 94], [])]
        plain = statistics.summarize(frame(rows)).iloc[0]
        assert plain[["n", "diverged", "at_chance", "test_acc_mean"]].tolist() == [2, 1, 0, 92]
        told = statistics.summarize(
            frame([row | {"num_classes": 2 if row["status"] == "done" else None} for row in rows])
        ).iloc[0]
        assert told["test_acc_mean"] == pytest.approx((90 + 50 + 94) / 3)  # one run of the group tells the classes

    def test_a_done_run_without_a_metric_lowers_that_metrics_n_only(self):
        runs = frame([{"depth": 5, "seed": seed, "test_acc": 90.0, "val_loss": loss} for seed, loss in enumerate([0.5, None])])
        row = statistics.summarize(runs).iloc[0]
        assert (row["n"], row["test_acc_n"], row["val_loss_n"], row["val_loss_mean"]) == (2, 2, 1, 0.5)

    def test_one_seed_has_a_mean_and_no_interval(self):
        row = statistics.summarize(frame(pairs(5, [90], [95]))).iloc[0]
        assert row["test_acc_mean"] == 90
        assert np.isnan(row[["test_acc_sd", "test_acc_low", "test_acc_high"]].to_numpy(dtype=float)).all()


class TestCompareArms:
    def test_by_hand(self):
        row = statistics.compare_arms(frame(pairs(5, [90, 92, 94], [91, 95, 97]))).iloc[0]
        assert row[["plain_n", "residual_n"]].tolist() == [3, 3]
        assert (row["plain"], row["residual"], row["difference"]) == pytest.approx((92, 283 / 3, 7 / 3))
        assert (row["low"], row["high"]) == pytest.approx(intervals.difference_interval([90, 92, 94], [91, 95, 97]))
        assert row["p"] == row["p_holm"] == significance.permutation_test([90, 92, 94], [91, 95, 97])

    def test_runs_without_a_twin_count_too(self):
        row = statistics.compare_arms(frame(pairs(5, [92, 94], [95, 97, 99]))).iloc[0]
        assert row[["plain_n", "residual_n", "pairs", "difference"]].tolist() == [2, 3, 2, 4]

    def test_eight_of_eight_against_two_of_eight_are_not_compared_by_their_survivors(self):
        plain, residual = [98.0 + s / 100 for s in range(8)], [98.25, 98.3, *[None] * 6]
        row = statistics.compare_arms(frame(pairs(20, plain, residual))).iloc[0]
        assert row["difference"] == pytest.approx((98.25 + 98.3 + 60) / 8 - np.mean(plain))
        assert row[["plain_trained", "residual_trained"]].tolist() == [8, 2]
        assert row["p_share"] == significance.share_test((8, 2), (8, 8))
        assert (row["p_holm"], row["p_share_holm"]) == tuple(significance.holm([row["p"], row["p_share"]]))
        assert max(row["p_holm"], row["p_share_holm"]) < 0.05

    def test_holm_is_over_all_tests_of_each_group(self):
        rows = [
            row | {"group": group} for group in "ab" for d in (5, 10) for row in pairs(d, [90, 91, 92, 93], [90.5, 92, 93, 95])
        ]
        rows += [row | {"group": "b"} for row in pairs(50, [10, 10, 10, 10], [91, 92, 93, 95])]
        table = statistics.compare_arms(frame(rows))
        for _, own in table.groupby("group"):
            expected = significance.holm([*own["p"], *own["p_share"]])
            assert [*own["p_holm"], *own["p_share_holm"]] == pytest.approx(expected, nan_ok=True)
        assert table["p_share"].notna().tolist() == [False, False, False, False, True]

    def test_five_seeds_of_six_depths_reach_5_percent(self):
        rows = [row for d in (5, 10, 20, 30) for row in pairs(d, [90, 91, 92, 93, 94], [95, 96, 97, 98, 99])]
        rows += [row for d in (50, 100) for row in pairs(d, [10, 10, 10, 11, 10], [95, 96, 97, 98, 99])]
        table = statistics.compare_arms(frame(rows))
        assert (table["p_holm"] < 0.05).all()

    def test_one_run_has_no_interval_and_no_p(self):
        row = statistics.compare_arms(frame(pairs(5, [90], [95]))).iloc[0]
        assert row["difference"] == 5
        assert row[["low", "high", "p", "p_holm", "p_equivalent", "detectable"]].isna().all()

    def test_pairs_are_tested_where_the_arms_go_together(self):
        seeds = np.random.default_rng(11).normal(0, 1, 8)
        together = [
            row for d in (5, 10) for row in pairs(d, list(90 + seeds), list(91 + seeds + [0.1, 0, -0.1, 0, 0.1, 0, 0, 0.1]))
        ]
        table = statistics.compare_arms(frame(together))
        assert (table["correlation"] > 0.9).all()
        assert table["p_paired"].tolist() == [2 / 2**8] * 2
        apart = [row for d in (5, 10) for row in pairs(d, list(90 + seeds), list(91 - seeds))]
        assert statistics.compare_arms(frame(apart))["p_paired"].isna().all()

    def test_equivalence_is_claimed_from_the_shallowest_depth_on(self):
        alike, apart = [98.0, 98.1, 98.0, 98.1, 98.0], [96.0, 99.0, 98.0, 97.0, 99.0]
        rows = [row for d, other in ((5, alike), (10, alike[::-1]), (20, apart), (30, alike)) for row in pairs(d, alike, other)]
        table = statistics.compare_arms(frame(rows), margin=0.2)
        assert (table["p_equivalent"] < 0.05).tolist() == [True, True, False, True]
        assert table["equivalent"].tolist() == [True, True, False, False]
        assert not statistics.compare_arms(frame(rows), margin=0.01)["equivalent"].any()

    def test_networks_that_do_not_train_are_not_called_equivalent(self):
        chance = [10.0, 10.01, 10.0, 10.01]
        assert statistics.compare_arms(frame(pairs(5, chance, chance)))["equivalent"].tolist() == [False]

    def test_each_pair_of_arms_is_paired_once_however_many_there_are(self, monkeypatch):
        paired = []
        pair_up = statistics._pairs
        monkeypatch.setattr(statistics, "_pairs", lambda *arms: paired.append(arms) or pair_up(*arms))
        runs = frame([row for depth in range(5, 25) for row in pairs(depth, [90, 91, 93, 92], [95, 96, 98, 97])])
        compared = statistics.compare_arms(runs)
        assert compared["correlation"].tolist() == pytest.approx([1.0] * 20)
        assert len(paired) == 20  # and not 20 times 20


class TestTrainability:
    def test_the_threshold_is_a_tenth_of_the_way_from_chance(self):
        table = statistics.trainability(frame(pairs(50, [18.9, 19.0, 60.0, None], [])))
        row = table.iloc[0]
        assert row[["n", "trained", "diverged"]].tolist() == [4, 2, 1]
        assert (row["share"], row["threshold"]) == (0.5, 19.0)
        assert (row["low"], row["high"]) == pytest.approx(intervals.proportion_interval(2, 4))

    def test_chance_comes_from_the_run_before_the_data_set(self):
        runs = frame([{"depth": 5, "test_acc": 54.0, "dataset": "coins", "num_classes": 2}])
        assert statistics.trainability(runs)["trained"].item() == 0  # threshold 55
        assert statistics.trainability(frame([{"depth": 5, "test_acc": 54.0, "dataset": "coins"}])).empty

    def test_the_best_of_many_validation_accuracies_is_not_asked(self):
        runs = frame([{"depth": 5, "test_acc": 50.0, "val_acc": 60.0, "dataset": "coins", "num_classes": 2}])
        assert statistics.trainability(runs)["trained"].item() == 0


class TestUntrained:
    """A run of 0 epochs measures a network at initialisation: its accuracy is in no mean and no test."""

    ROWS = tuple(row | {"epochs_run": 0, "val_loss": 2.3} for row in pairs(5, [9, 10, 11, 12, 13], [10, 30, 12, 13, 14]))

    def test_its_accuracy_is_in_no_mean(self):
        summary = statistics.summarize(frame(self.ROWS))
        assert summary[["n", "test_acc_n", "val_acc_n", "val_loss_n"]].to_numpy().tolist() == [[5, 0, 0, 5]] * 2

    def test_nothing_is_tested(self):
        runs = frame(self.ROWS)
        assert statistics.compare_arms(runs).empty
        assert statistics.trainability(runs).empty
        assert shortfall.first_shortfall(runs).empty

    def test_trained_ones_beside_it_are(self):
        rows = [row | {"group": "trained", "epochs_run": 3} for row in self.ROWS]
        assert statistics.compare_arms(frame([*self.ROWS, *rows]))["group"].tolist() == ["trained"]


class TestSeeds:
    def test_planned_and_ended(self):
        rows = [
            row | {"planned": True, "launch": 1, "planned_first": 3, "planned_later": 0}
            for row in pairs(5, [90, None, 91], [90, 91])
        ]
        rows.append(rows[-1] | {"seed": 2, "status": "missing", "test_acc": None})
        row = statistics.seeds_by_group(frame(rows)).iloc[0]
        assert row[["first_low", "first_high", "later_high", "planned_low", "planned_high", "low", "high"]].tolist() == [
            3, 3, 0, 3, 3, 2, 3,
        ]  # fmt: skip
        assert row[["beyond", "dropped"]].tolist() == [0, 0]

    def test_runs_that_no_launch_asked_for_are_told(self):
        plan = [{"planned": True, "launch": 1}] * 2 + [{"planned": False, "launch": None}] * 2
        rows = [
            row | plan[row["seed"]] | {"planned_first": 2, "planned_later": 0} for row in pairs(5, [90, 91, 92, 93], [90, 91])
        ]
        row = statistics.seeds_by_group(frame(rows)).iloc[0]
        assert row[["first_low", "planned_high", "low", "high", "beyond"]].tolist() == [2, 2, 2, 4, 2]

    def test_a_cell_of_two_folders_has_the_seeds_of_both(self):
        rows = [row | {"cell": f"{'ab'[row['seed'] % 2]}/{row['residual']}", "planned": True, "launch": 1,
                       "planned_first": 2 + row["seed"] % 2, "planned_later": 1}
                for row in pairs(5, [90, 91, 92, 93], [90, 91])]  # fmt: skip
        row = statistics.seeds_by_group(frame(rows)).iloc[0]
        assert row[["first_low", "first_high", "later_high", "dropped"]].tolist() == [5, 5, 2, 3 + 5]

    def test_without_a_plan_nothing_is_known_of_it(self):
        row = statistics.seeds_by_group(frame(pairs(5, [90], [91]))).iloc[0]
        assert row[["first_high", "later_high", "planned_high"]].isna().all()
        assert row[["beyond", "dropped"]].tolist() == [0, 0]
