"""The finding is true of any runs: each kind of study says what its numbers say, and no more."""

import re

import pandas as pd
import pytest
from findings import said, spread
from synthetic import frame, pairs


def test_begins_with_a_plain_sentence_and_then_has_the_numbers():
    text = said(pairs(5, spread(95), spread(95.05)) + pairs(50, spread(10), spread(95)))
    assert text == (
        "Plain networks are less accurate than residual ones at depth 50. A smaller share of plain than of residual networks "
        "trains at depth 50. This rests on exact permutation tests of mean test accuracy and Barnard's exact tests of the "
        "share that trains: p < 0.05 after Holm's correction for 3 tests. At depth 50 plain networks get 10.2 % of the "
        "test images right (n = 5) and residual ones 95.2 % (n = 5), a difference of +85.00 points (95 % interval +84.77 to "
        "+85.23; p = 0.008, after Holm's correction p = 0.016); 0 of 5 plain and 5 of 5 residual networks train at all. In "
        "the means of these runs plain networks first fall short of residual ones at depth 50 if more than 0.2 to 10 points "
        "of mean test accuracy count as short. At depth 5 it is open whether the skip changes anything: if seeds scatter as "
        "these do, one test at 5 % finds a difference of 0.32 points in 80 % of such studies, and it takes 11 runs of each "
        "kind to find one of 0.2 points so. Seeds per configuration: 5 ended; how many were planned is not recorded."
    )


JARGON = re.compile(r"\bp [<=]|test(s|ed)?\b|Holm|interval|permutation|Barnard|significan|n = |%|\d\.\d")


@pytest.mark.parametrize(
    "rows",
    [
        pairs(5, [95] * 5, [96] * 5),
        pairs(5, [96] * 5, [95] * 5),
        pairs(5, [95, 96], [10, 11]),
        pairs(5, [95], [96]),
        pairs(5, [95.0, 96, 97, 96, 95], [96.0, 96, 97, 95, 95]),
        pairs(50, [10] * 5, [10] * 5),
        pairs(20, [98] * 8, [99, 99, *[None] * 6]),
        pairs(20, [10, *[60] * 7], [10, 10, 10, 10, 10, 10, 60, 100]),
        pairs(20, [None] * 3, [None] * 3),
        pairs(20, [95], []),
    ],
)
def test_the_first_sentence_needs_no_statistics(rows):
    first = said(rows).split(". ")[0]
    assert not JARGON.search(first.removesuffix(f"({len(rows)} diverged)")), first


def test_a_share_alone_is_told_in_plain_words_first():
    text = said(pairs(20, [30.0, 30, 30, 30, 30, 30], [10.0, 10, 10, 10, 10, 100]))
    assert text.startswith("A smaller share of residual than of plain networks trains at depth 20. This rests on Barnard's")
    assert "No exact permutation test of mean test accuracy gives p < 0.05, Holm-corrected for 2 tests." in text


def test_plain_does_not_fall_short():
    text = said(pairs(5, [95, 96], [95, 96]) + pairs(10, [95, 96], [95, 96.2]))
    assert text.startswith("These runs are too few to tell plain from residual networks. No difference in mean test accuracy")
    assert "plain networks first fall short of residual ones at no depth up to 10 if more than 0.2 to 10 points" in text


def test_the_margin_decides_the_depth():
    rows = pairs(5, [95] * 5, [95] * 5) + pairs(20, [95] * 5, [95.6] * 5) + pairs(50, [90] * 5, [95] * 5)
    assert (
        "plain networks first fall short of residual ones at depth 20 if more than 0.2 to 0.5 points of mean test accuracy "
        "count as short, at depth 50 if more than 1 to 3 points do, at no depth up to 50 if more than 5 to 10 points do."
    ) in said(rows)


def test_says_where_enough_seeds_see_no_difference():
    text = said(pairs(5, spread(95, 8), [95.45 + (seed % 2) / 10 for seed in range(8)]))
    assert text.startswith("These runs show no sure difference in accuracy between plain and residual networks. No exact")
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
    assert text.startswith("These runs are too few to tell plain from residual networks. At no depth are there two of each.")
    assert "a difference of +85.00 points (too few runs for an interval or a test)" in text
    assert "p =" not in text
    assert "fall short" not in text
    assert "fall short" in said(pairs(5, [95, 95], [95, 95]) + pairs(50, [10, 10], [95, 95]))
    assert "fall short" not in said(pairs(5, [95, 95], [95, 95]) + pairs(50, [10, 10], [95]))


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
    assert "fall short" not in text


def test_a_depth_that_no_network_trains_at_is_none_at_which_plain_keeps_up():
    assert "at no depth up to 5 if" in said(pairs(5, [95, 96], [95, 96]) + pairs(50, [10, 11], [10, 11]))


def test_a_depth_with_too_few_runs_beside_one_with_enough_is_told():
    rows = pairs(5, spread(95), [95.3, 95.1, 95, 95.4, 95.2])
    assert "At depths 50 and 100 there are too few runs for any test to give p < 0.05." in said(
        rows + pairs(50, [58, 60], [97, 98]) + pairs(100, [11], [95])
    )
    assert "too few" not in said(rows)


def test_the_rule_for_the_depth_at_which_training_ends_is_called_one():
    rows = pairs(50, [10, 11], [95, 96])
    slope = {
        "group": frame(rows)["group"].iloc[0],
        "depth": 50,
        "residual": False,
        "epoch": 0,
        "norm_bias": 0,
        "predicted": -0.1959,
    }
    slopes = pd.DataFrame([slope, slope | {"residual": True, "predicted": None}, slope | {"epoch": 3, "predicted": None}])
    expected = (
        "A rule of thumb (16/ln(lambda), the 16 fitted by Yang et al. 2019 to networks of width 384 trained with SGD, lambda "
        "derived for BatchNorm biases that start at 0) puts the end of training of plain networks near depth 41 at this "
        "batch size."
    )
    assert expected in said(rows, slopes)
    other = said(rows, slopes.assign(norm_bias=2.0, predicted=-0.01694))
    assert "lambda approximated for BatchNorm biases that start at 2) puts" in other
    assert "near depth 472 at this batch size." in other
    assert said(rows, pd.concat([slopes, pd.DataFrame([slope | {"predicted": -0.29}])])) == said(rows)
    assert said(rows, slopes.assign(group="another")) == said(rows)


def test_groups_have_a_paragraph_each():
    rows = [row | {"group": group} for group in ("dataset=digits", "dataset=mnist") for row in pairs(5, [95, 96], [95, 96])]
    text = said(rows)
    assert "dataset=digits: These runs are too few" in text
    assert "dataset=mnist: These runs are too few" in text
