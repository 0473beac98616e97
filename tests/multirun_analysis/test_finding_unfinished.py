"""The finding says which runs are missing, diverged, of one arm only or never trained."""

import pandas as pd
import pytest
from findings import said, spread
from synthetic import frame, pairs


def test_survivors_are_told_beside_what_diverged_runs_count_as():
    text = said(pairs(20, spread(98, 8), [98.2, 98.3, *[None] * 6]))
    assert text.startswith(
        "Residual networks are less accurate than plain ones at depth 20, where a diverged one counts as chance."
    )
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
    assert "At depth 50 plain networks get 10.0 % of the test images right (n = 2)" in text
    assert "2 of 2 plain networks of depth 50 diverged and count as chance everywhere; none is left." in text


def test_only_plain():
    text = said(pairs(5, [95, 96], []) + pairs(50, [10, 11], []))
    assert text.startswith(
        "Only plain networks have ended, so there is nothing to compare them with. In the means of these runs plain "
        "networks first fall short of the best depth at depth 50 if more than 0.2 to 10 points"
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


@pytest.mark.parametrize(
    ("status", "first"),
    [
        ("running", "No run has a test accuracy yet"),
        ("missing", "No run has a test accuracy yet"),
        ("failed", "No run has a test accuracy"),
        ("corrupt", "No run has a test accuracy"),
        ("diverged", "Every network diverged"),
    ],
)
def test_nothing_finished(status, first):
    text = said([{"depth": 5, "status": status}])
    assert text.startswith(f"{first}, so there is nothing to compare (1 {status}).")


def test_nothing_readable():
    assert said([{"group": None, "status": "interrupted"}]) == "Nothing can be compared: 1 interrupted."


def test_unfinished_studies_are_not_final():
    text = said(
        [*pairs(5, [95, 96], [95, 96]), {"depth": 10, "status": "missing"}, {"depth": 10, "status": "running", "seed": 1}]
    )
    assert text.endswith("Not final: 1 running, 1 missing.")


STOPPING = " If seeds were added, or left out, because of what the first ones showed, the p-values are too small."


def launched(first, later, known=lambda seed: True):
    """Rows of two cells with four seeds each, of which `first` were planned at first and `later` added later."""
    return [
        row | {"planned": True, "launch": 1 + (row["seed"] >= (first or 0)) if known(row["seed"]) else None,
               "planned_first": first, "planned_later": later}
        for row in pairs(5, spread(95, 4), spread(95, 4))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (launched(4, 0), "4 planned at first, none added later, 4 ended."),
        (launched(2, 2), f"2 planned at first, 2 added later, 4 ended.{STOPPING}"),
        (
            launched(2, 0, lambda seed: seed < 2),
            f"2 planned at first, none added later, 4 ended. 4 runs are in no launch that is recorded.{STOPPING}",
        ),
        (
            launched(10, 0),
            "10 planned at first, none added later, 4 ended. 12 runs were planned once, never started, and dropped from the "
            f"plan.{STOPPING}",
        ),
        (launched(None, 0), "4 planned by the last launch, 4 ended; how many were planned at first is not recorded."),
        (
            launched(None, 2),
            "4 planned by the last launch, 4 ended; how many were planned at first is not recorded, 2 were added "
            f"later.{STOPPING}",
        ),
    ],
)
def test_seeds_that_were_added_to_the_plan_or_dropped_from_it_are_told(rows, expected):
    assert said(rows).endswith(f"Seeds per configuration: {expected}")


def test_untrained_networks_are_said_to_be():
    rows = [row | {"epochs_run": 0} for row in pairs(5, [10, 11], [10, 11])]
    assert said(rows) == "These networks are untrained (0 epochs), so their accuracies are not compared."
    slope = {"group": frame(rows)["group"].iloc[0], "depth": 100, "residual": False, "epoch": 0, "n": 2, "slope": -0.2,
             "low": -0.21, "high": -0.19, "norm_bias": 0, "predicted": -0.1959}  # fmt: skip
    assert said(rows, pd.DataFrame([slope, slope | {"depth": 50}, slope | {"epoch": 3}])) == (
        "These networks are untrained (0 epochs), so their accuracies are not compared. From layer to layer the logarithm of "
        "the gradient norm of plain networks of depth 100 changes by -0.2000 (95 % interval -0.2100 to -0.1900, n = 2); theory "
        "predicts -0.1959 for BatchNorm biases that start at 0."
    )
    assert said(rows, pd.DataFrame([slope | {"norm_bias": 2, "predicted": -0.0169}])).endswith(
        "; theory predicts about -0.0169 for BatchNorm biases that start at 2."
    )


def test_only_plain_of_which_no_seed_is_known():
    rows = [{"depth": depth, "residual": False, "seed": None, "test_acc": 91.0} for depth in (5, 50)]
    assert "Mean test accuracy: 91.0 % at depth 5 (n = 1), 91.0 % at depth 50 (n = 1)." in said(rows)
