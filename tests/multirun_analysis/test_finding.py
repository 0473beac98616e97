"""The finding is true of any runs: each kind of study says what its numbers say, and no more."""

import pandas as pd
import pytest
from synthetic import frame, pairs

from multirun_analysis import initialisation, statistics
from multirun_analysis.finding import finding

NO_SLOPES = pd.DataFrame(columns=initialisation.COLUMNS)


def said(rows, slopes=NO_SLOPES):
    runs = frame(rows)
    return " ".join(
        finding(
            runs,
            statistics.summarize(runs),
            statistics.paired_differences(runs),
            statistics.trainability(runs),
            statistics.first_shortfall(runs),
            slopes,
        )
    )


def test_plain_falls_short():
    text = said(pairs(5, [95, 96, 97], [95, 96, 97]) + pairs(50, [10, 11, 12], [95, 96, 97]))
    assert text == (
        "On average plain networks first fall more than 2 points of test accuracy short of their residual twins at depth 50 "
        "(not yet at depth 5; 95 % bootstrap interval of that depth over 3 seeds: 50 alone). At no depth is the difference "
        "significant (Holm-corrected p < 0.05), and with so few seeds it cannot be: p is at least 0.500. At depth 50 plain "
        "networks reach 11.0 % and residual ones 96.0 %, a difference of +85.00 points (95 % interval +85.00 to +85.00, "
        "3 seeds, p = 0.250, Holm-corrected 0.500); 0 of 3 plain and 3 of 3 residual seeds train at all."
    )


def test_plain_does_not_fall_short():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(10, [95, 96], [96, 96]))
    assert text.startswith(
        "Up to depth 10 plain networks do not fall more than 2 points of test accuracy short of their residual"
    )
    assert "deeper than 10" in text


def test_names_the_depths_at_which_the_arms_differ():
    seeds = range(8)
    text = said(pairs(5, [95 + s / 10 for s in seeds], [95.1 + (s % 2) / 10 for s in seeds])
                + pairs(20, [94 + s / 10 for s in seeds], [95 + s / 10 for s in seeds])
                + pairs(50, [10 + s / 10 for s in seeds], [95.0 for _ in seeds]))  # fmt: skip
    assert "The arms differ significantly (Holm-corrected p < 0.05) at depths 20, 50." in text


def test_says_where_enough_seeds_see_no_difference():
    seeds = range(8)
    text = said(pairs(5, [95 + s / 10 for s in seeds], [95.3 + (s % 2) / 10 for s in seeds]))
    assert "At no depth is the difference significant (Holm-corrected p < 0.05). At depth 5" in text


def test_one_seed_says_so():
    text = said(pairs(5, [95], [95]) + pairs(50, [10], [95]))
    assert "short of their residual twins at depth 50" in text
    assert text.count("one seed, so no interval") == 2
    assert "p =" not in text


def test_residual_behind():
    text = said(pairs(5, [95, 96], [80, 81]))
    assert "do not fall more than 2 points" in text
    assert "Residual networks are behind plain ones by 15.00 points at depth 5." in text


def test_both_fail():
    text = said(pairs(50, [10, 11], [10, 11]))
    assert "0 of 2 plain and 0 of 2 residual seeds train at all" in text


def test_all_deep_plain_networks_diverged():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(50, [None, None], [94, 95]))
    assert "short of their residual twins at depth 50" in text
    assert "At depth 5 plain networks reach" in text
    assert "Deeper, at 50, no seed has both runs done." in text


def test_every_pair_has_diverged():
    text = said(pairs(50, [None, None], [94, 95]))
    assert "At no depth has a seed both runs done" in text


def test_only_plain():
    text = said(pairs(5, [95, 96], []) + pairs(50, [10, 11], []))
    assert text.startswith(
        "Only plain networks are done, so there is nothing to compare them with. On average plain networks first fall more "
    )
    assert "best plain depth at depth 50" in text


@pytest.mark.parametrize("depth", [5, None])
def test_only_plain_at_one_depth_or_none(depth):
    text = said([{"depth": depth, "residual": False, "test_acc": 91.0}])
    where = " at depth 5" if depth else ""
    assert text.endswith(f"nothing to compare them with. Their mean test accuracy: 91.0 %{where} (n = 1).")


def test_only_residual():
    text = said(pairs(5, [], [95, 96]) + pairs(50, [], [93, 94]))
    assert text == (
        "Only residual networks are done, so there is nothing to compare them with. Their mean test accuracy: "
        "95.5 % at depth 5 (n = 2), 93.5 % at depth 50 (n = 2)."
    )


def test_no_seed_in_common():
    rows = [*pairs(5, [95], []), {"depth": 5, "residual": True, "seed": 9, "test_acc": 96.0}]
    assert said(rows).startswith("No seed has a plain and a residual network done at the same depth, so nothing is paired.")


def test_arms_unknown():
    assert said([{"depth": None, "residual": None, "test_acc": 91.0}]) == (
        "These runs do not say whether their networks are residual; mean test accuracy: 91.0 % (n = 1)."
    )


@pytest.mark.parametrize("status", ["running", "failed", "diverged", "missing", "corrupt"])
def test_nothing_finished(status):
    assert (
        said([{"depth": 5, "status": status}])
        == f"No run has a test accuracy yet, so there is nothing to compare (1 {status})."
    )


def test_nothing_readable():
    assert said([{"group": None, "status": "interrupted"}]) == "Nothing can be compared: 1 interrupted."


def test_unfinished_studies_are_not_final():
    text = said(
        [*pairs(5, [95, 96], [95, 96]), {"depth": 10, "status": "missing"}, {"depth": 10, "status": "running", "seed": 1}]
    )
    assert text.endswith("Not final: 1 running, 1 missing.")


def test_untrained_networks_are_said_to_be():
    rows = [row | {"epochs_run": 0} for row in pairs(5, [10, 11], [10, 11])]
    assert said(rows) == "These networks are untrained (0 epochs)."
    slope = {"group": frame(rows)["group"].iloc[0], "depth": 100, "residual": False, "epoch": 0, "n": 2, "slope": -0.2,
             "low": -0.21, "high": -0.19, "predicted": -0.1959}  # fmt: skip
    assert said(rows, pd.DataFrame([slope, slope | {"depth": 50}, slope | {"epoch": 3}])) == (
        "These networks are untrained (0 epochs). From layer to layer the logarithm of the gradient norm of plain networks of "
        "depth 100 changes by -0.2000 (95 % interval -0.2100 to -0.1900, n = 2); theory predicts -0.1959."
    )


def test_the_depth_that_theory_expects_is_told_of_one_batch_size():
    rows = pairs(50, [10, 11], [95, 96])
    slope = {"group": frame(rows)["group"].iloc[0], "depth": 50, "residual": False, "epoch": 0, "predicted": -0.1959}
    slopes = pd.DataFrame([slope, slope | {"residual": True, "predicted": None}, slope | {"epoch": 3, "predicted": None}])
    expected = " Mean-field theory expects plain networks of great width to stop training near depth 41 at this batch size."
    assert said(rows, slopes) == said(rows) + expected
    assert said(rows, pd.concat([slopes, pd.DataFrame([slope | {"predicted": -0.29}])])) == said(rows)
    assert said(rows, slopes.assign(group="another")) == said(rows)


def test_groups_have_a_paragraph_each():
    rows = [row | {"group": group} for group in ("dataset=digits", "dataset=mnist") for row in pairs(5, [95, 96], [95, 96])]
    text = said(rows)
    assert "dataset=digits: Up to depth 5" in text
    assert "dataset=mnist: Up to depth 5" in text


def test_only_plain_of_which_no_seed_is_known():
    rows = [{"depth": depth, "residual": False, "seed": None, "test_acc": 91.0} for depth in (5, 50)]
    assert "Their mean test accuracy: 91.0 % at depth 5 (n = 1), 91.0 % at depth 50 (n = 1)." in said(rows)
