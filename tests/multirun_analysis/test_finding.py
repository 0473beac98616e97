"""The finding is true of any runs: each kind of study says what its numbers say, and no more."""

import pandas as pd
import pytest
from synthetic import frame, pairs

from multirun_analysis import initialisation, shortfall, statistics
from multirun_analysis.finding import finding

NO_SLOPES = pd.DataFrame(columns=initialisation.COLUMNS)


def said(rows, slopes=NO_SLOPES):
    runs = frame(rows)
    return " ".join(
        finding(
            runs,
            statistics.summarize(runs),
            statistics.compare_arms(runs),
            statistics.trainability(runs),
            shortfall.first_shortfall(runs),
            statistics.seeds_by_group(runs),
            slopes,
        )
    )


def spread(level, runs=5):
    """Accuracies around a level, a tenth of a point apart."""
    return [level + seed / 10 for seed in range(runs)]


def test_begins_with_a_plain_sentence_and_then_has_the_numbers():
    text = said(pairs(5, spread(95), spread(95.05)) + pairs(50, spread(10), spread(95)))
    assert text == (
        "Plain networks are less accurate than residual ones at depth 50. There exact permutation tests of mean test "
        "accuracy give p < 0.05, Holm-corrected for 3 tests. A smaller share of plain than of residual networks trains at "
        "depth 50 (Barnard's exact tests, p < 0.05 after Holm's correction). At depth 50 plain networks reach 10.2 % of the "
        "test images (n = 5) and residual ones 95.2 % (n = 5), a difference of +85.00 points (95 % interval +84.77 to "
        "+85.23; p = 0.008, after Holm's correction p = 0.016); 0 of 5 plain and 5 of 5 residual networks train at all. "
        "Plain networks first fall short of residual ones at depth 50 if more than 0.2 to 10 points of mean test accuracy "
        "count as short. At depth 5 it is open whether the skip changes anything: if seeds scatter as these do, one test at "
        "5 % finds a difference of 0.32 points in 80 % of such studies, and it takes 11 runs of each kind to find one of 0.2 "
        "points so. Seeds per configuration: planned: not recorded, 5 ended."
    )


def test_plain_does_not_fall_short():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(10, [95, 96], [95, 96.2]))
    assert text.startswith("These runs are too few to tell plain from residual networks: no difference in mean test accuracy")
    assert "Plain networks first fall short of residual ones at no depth up to 10 if more than 0.2 to 10 points" in text


def test_the_margin_decides_the_depth():
    rows = pairs(5, [95] * 5, [95] * 5) + pairs(20, [95] * 5, [95.6] * 5) + pairs(50, [90] * 5, [95] * 5)
    assert (
        "Plain networks first fall short of residual ones at depth 20 if more than 0.2 to 0.5 points of mean test accuracy "
        "count as short, at depth 50 if more than 1 to 3 points do, at no depth up to 50 if more than 5 to 10 points do."
    ) in said(rows)


def test_says_where_enough_seeds_see_no_difference():
    text = said(pairs(5, spread(95, 8), [95.45 + (seed % 2) / 10 for seed in range(8)]))
    assert text.startswith("What differs between plain and residual networks in these runs may be chance: no exact permutation")
    assert "At depth 5 it is open whether the skip changes anything" in text


def test_says_where_there_is_no_difference():
    rows = [
        row
        for depth in (5, 10)
        for row in pairs(depth, [95 + (s % 2) / 20 for s in range(8)], [95.05 - (s % 2) / 20 for s in range(8)])
    ]
    assert "At depths 5 and 10 the two differ by less than 0.2 points (two one-sided tests, p < 0.05)." in said(rows)
    assert "it is open" not in said(rows)


def test_one_seed_says_so():
    text = said(pairs(5, [95], [95]) + pairs(50, [10], [95]))
    assert text.startswith("These runs are too few to tell plain from residual networks: at no depth are there two of each.")
    assert "a difference of +85.00 points (too few runs for an interval or a test)" in text
    assert "p =" not in text


def test_two_seeds_have_no_interval_of_the_depth_and_equal_ones_none_of_the_difference():
    text = said(pairs(5, [95, 95], [95, 95]) + pairs(50, [94, 94], [90.11, 90.11]))
    assert "95 % interval" not in text
    assert "cells of fewer than five runs allow no interval of that depth" in text


def test_residual_behind():
    text = said(pairs(5, spread(95), spread(80)))
    assert text.startswith("Residual networks are less accurate than plain ones at depth 5.")


def test_the_largest_difference_is_told_where_it_is_not_the_deepest():
    text = said(pairs(5, [95, 96], [80, 81]) + pairs(50, [90, 91], [91, 92]))
    assert "The largest difference is -15.00 points, at depth 5." in text


def test_both_at_chance_is_what_is_said_first():
    text = said(pairs(50, [10, 11], [10, 11]))
    assert text.startswith(
        "No network trains at depth 50, plain or residual, so their accuracies say nothing of what a skip changes."
    )
    assert "0 of 2 plain and 0 of 2 residual networks train at all" in text
    assert "it is open" not in text


def test_survivors_are_told_beside_what_diverged_runs_count_as():
    text = said(pairs(20, spread(98, 8), [98.2, 98.3, *[None] * 6]))
    assert text.startswith("Residual networks are less accurate than plain ones at depth 20.")
    assert "A smaller share of residual than of plain networks trains at depth 20" in text
    assert (
        "6 of 8 residual networks of depth 20 diverged and count as chance everywhere; the mean of those that did not is "
        "98.25 % (n = 2)."
    ) in text


def test_diverged_runs_without_chance_are_left_out_and_that_is_said():
    rows = [row | {"dataset": "coins"} for row in pairs(20, spread(98), [98.2, 98.3, None])]
    assert "1 diverged run is in no mean and no test, since chance is not known" in said(rows)
    assert "residual ones 98.2 % (n = 2)" in said(rows) or "residual ones 98.3 % (n = 2)" in said(rows)


def test_all_deep_plain_networks_diverged():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(50, [None, None], [94, 95]))
    assert "At depth 50 plain networks reach 10.0 % of the test images (n = 2)" in text
    assert "2 of 2 plain networks of depth 50 diverged and count as chance everywhere; none is left." in text


def test_only_plain():
    text = said(pairs(5, [95, 96], []) + pairs(50, [10, 11], []))
    assert text.startswith(
        "Only plain networks have ended, so there is nothing to compare them with. Plain networks first fall short of the "
        "best depth at depth 50 if more than 0.2 to 10 points"
    )
    assert "None of them trains (2 runs)." in said(pairs(50, [10, 11], []))


@pytest.mark.parametrize("depth", [5, None])
def test_only_plain_at_one_depth_or_none(depth):
    text = said([{"depth": depth, "residual": False, "test_acc": 91.0}])
    where = " at depth 5" if depth else ""
    assert f"nothing to compare them with. Mean test accuracy: 91.0 %{where} (n = 1)." in text


def test_only_residual():
    text = said(pairs(5, [], [95, 96]) + pairs(50, [], [93, 94]))
    assert text.startswith(
        "Only residual networks have ended, so there is nothing to compare them with. Mean test accuracy: "
        "95.5 % at depth 5 (n = 2), 93.5 % at depth 50 (n = 2)."
    )


def test_no_depth_in_common():
    text = said(pairs(5, [95], []) + pairs(10, [], [96]))
    assert text.startswith("Plain and residual networks have ended at different depths only, so they are not compared.")


def test_depths_of_one_arm_are_told():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(10, [95], []) + pairs(20, [94], []))
    assert "Not compared: depths 10 and 20, where only plain networks have ended." in text


def test_arms_unknown():
    assert said([{"depth": None, "residual": None, "test_acc": 91.0}]).startswith(
        "These runs do not say whether their networks are residual; mean test accuracy: 91.0 % (n = 1)."
    )


@pytest.mark.parametrize("status", ["running", "failed", "diverged", "missing", "corrupt"])
def test_nothing_finished(status):
    text = said([{"depth": 5, "status": status}])
    assert text.startswith(f"No run has a test accuracy yet, so there is nothing to compare (1 {status}).")


def test_nothing_readable():
    assert said([{"group": None, "status": "interrupted"}]) == "Nothing can be compared: 1 interrupted."


def test_unfinished_studies_are_not_final():
    text = said(
        [*pairs(5, [95, 96], [95, 96]), {"depth": 10, "status": "missing"}, {"depth": 10, "status": "running", "seed": 1}]
    )
    assert text.endswith("Not final: 1 running, 1 missing.")


def test_seeds_that_were_added_to_the_plan_are_told():
    rows = [row | {"planned": row["seed"] < 2} for row in pairs(5, spread(95, 4), spread(95, 4))]
    assert (
        "Seeds per configuration: 2 planned by the last launch, 4 ended. 4 runs are outside the plan of the last launch: if "
        "seeds were added because of what the first ones showed, the p-values are too small."
    ) in said(rows)


def test_untrained_networks_are_said_to_be():
    rows = [row | {"epochs_run": 0} for row in pairs(5, [10, 11], [10, 11])]
    assert said(rows) == "These networks are untrained (0 epochs)."
    slope = {"group": frame(rows)["group"].iloc[0], "depth": 100, "residual": False, "epoch": 0, "n": 2, "slope": -0.2,
             "low": -0.21, "high": -0.19, "predicted": -0.1959}  # fmt: skip
    assert said(rows, pd.DataFrame([slope, slope | {"depth": 50}, slope | {"epoch": 3}])) == (
        "These networks are untrained (0 epochs). From layer to layer the logarithm of the gradient norm of plain networks of "
        "depth 100 changes by -0.2000 (95 % interval -0.2100 to -0.1900, n = 2); theory predicts -0.1959."
    )


def test_the_rule_for_the_depth_at_which_training_ends_is_called_one():
    rows = pairs(50, [10, 11], [95, 96])
    slope = {"group": frame(rows)["group"].iloc[0], "depth": 50, "residual": False, "epoch": 0, "predicted": -0.1959}
    slopes = pd.DataFrame([slope, slope | {"residual": True, "predicted": None}, slope | {"epoch": 3, "predicted": None}])
    expected = (
        "A rule of thumb (16/ln(lambda), the 16 fitted by Yang et al. 2019 to networks of width 384 trained with SGD, lambda "
        "derived for BatchNorm biases that start at 0) puts the end of training of plain networks near depth 41 at this "
        "batch size."
    )
    assert expected in said(rows, slopes)
    assert said(rows, pd.concat([slopes, pd.DataFrame([slope | {"predicted": -0.29}])])) == said(rows)
    assert said(rows, slopes.assign(group="another")) == said(rows)


def test_groups_have_a_paragraph_each():
    rows = [row | {"group": group} for group in ("dataset=digits", "dataset=mnist") for row in pairs(5, [95, 96], [95, 96])]
    text = said(rows)
    assert "dataset=digits: These runs are too few" in text
    assert "dataset=mnist: These runs are too few" in text


def test_only_plain_of_which_no_seed_is_known():
    rows = [{"depth": depth, "residual": False, "seed": None, "test_acc": 91.0} for depth in (5, 50)]
    assert "Mean test accuracy: 91.0 % at depth 5 (n = 1), 91.0 % at depth 50 (n = 1)." in said(rows)
