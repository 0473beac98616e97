"""The depth at which plain networks first fall short, for several margins."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from synthetic import frame, pairs

from multirun_analysis import published, shortfall


def first(rows, margin=2.0):
    table = shortfall.first_shortfall(frame(rows))
    return table[table["margin"] == margin].iloc[0]


def test_of_the_published_table_it_depends_on_the_margin():
    table = published.depth_table()[["depth", "residual", "test_acc"]]
    found = shortfall.first_shortfall(frame(table.to_dict("records")))
    assert found["margin"].tolist() == list(shortfall.MARGINS)
    assert found["depth"].tolist() == [20, 30, 30, 30, 30, 50, 50, 50, 50]
    assert (found["reference"] == "residual").all()
    assert found[["low", "high"]].isna().all(axis=None)  # one seed: no interval


def test_needs_more_than_the_margin():
    rows = pairs(5, [90, 90], [92, 92]) + pairs(10, [90, 90], [92, 92.1])
    assert first(rows)["depth"] == 10
    assert first(rows, 1.5)["depth"] == 5


def test_rounding_is_not_more():
    rows = pairs(5, [97.5, 97.3], [98.0, 97.8]) + pairs(
        10, [90, 90], [92, 92.1]
    )  # 98.0 - 97.5 + 97.8 - 97.3 is above 1 in floats
    assert first(rows, 0.5)["depth"] == 10


def test_a_depth_with_few_runs_is_not_taken_for_one_that_is_not_short():
    """Five seeds of which depth 50 has two pairs, both 38 points apart: no resample can make that 100."""
    rows = pairs(5, [95, 96, 97, 96, 95], [95, 96, 97, 96, 95.1]) + pairs(50, [58, 59], [96, 97])
    rows += pairs(100, [10, 11, 10, 11, 10], [95, 96, 97, 96, 95])
    row = first(rows)
    assert (row["depth"], row["n"], row["most"]) == (50, 2, 5)
    assert math.isnan(row["low"])  # and with two runs there is no interval
    whole = first(rows + [row | {"seed": row["seed"] + 2} for row in pairs(50, [58, 57, 59], [96, 97, 95])])
    assert (whole["low"], whole["high"], whole["same"]) == (50, 50, 1)


def test_interval_is_that_of_all_resamples():
    """Four of five runs of each cell are drawn; residual runs are alike here, so that all resamples can be listed."""
    plain = {5: [80, 80, 80, 80, 71], 10: [80, 80, 73, 73, 79], 20: [70] * 5}
    means = {depth: [np.mean(drawn) for drawn in itertools.product(runs, repeat=4)] for depth, runs in plain.items()}
    is_short = {depth: np.mean(80 - np.array(found) > 2) for depth, found in means.items()}
    at_5, at_10 = is_short[5], (1 - is_short[5]) * is_short[10]
    row = first([row for depth, runs in plain.items() for row in pairs(depth, runs, [80] * 5)])
    assert row["depth"] == 10
    assert row["same"] == pytest.approx(at_10, abs=0.02)
    assert (row["low"], row["high"]) == (5 if at_5 > 0.025 else 10, 10 if at_5 + at_10 > 0.975 else 20)


def test_fewer_than_five_runs_have_no_interval():
    assert math.isnan(first(pairs(5, [95] * 4, [95] * 4) + pairs(50, [10, 11, 12, 13], [95] * 4))["low"])
    assert first(pairs(5, [95] * 5, [95] * 5) + pairs(50, [10, 11, 12, 13, 14], [95] * 5))["low"] == 50


def test_a_diverged_run_counts_as_chance():
    assert first(pairs(5, [90, 90], [90, 90]) + pairs(50, [None, None], [88, 88]))["depth"] == 50


def test_a_depth_without_one_of_the_arms_is_not_compared():
    row = first(pairs(5, [90, 90], [90, 90]) + pairs(50, [10, 10], []))
    assert (pd.isna(row["depth"]), row["deepest"]) == (True, 5)


def test_without_residual_networks_it_is_the_best_plain_depth_that_counts():
    row = first([row for d, acc in ((5, 90), (10, 95), (20, 94), (30, 60)) for row in pairs(d, [acc, acc], [])])
    assert row[["reference", "depth", "before"]].tolist() == ["best plain", 30, 20]  # depth 5 is not beyond the best


def test_means_of_resamples_scatter_as_means_of_runs_do():
    """A mean of n runs has variance s^2/n; of n draws it would have (n-1)/n of that."""
    runs = [90.0, 91.5, 88.0, 95.0, 93.0]
    means = shortfall._resampled([(5, [np.array(runs)])])
    assert means.var() == pytest.approx(np.var(runs, ddof=1) / 5, rel=0.05)


def test_depths_at_which_no_network_trains_are_not_compared():
    rows = pairs(5, [90, 90], [90, 90])
    both = first(rows + pairs(50, [10, 10], [10, None]))
    assert (pd.isna(both["depth"]), both["deepest"]) == (True, 5)
    assert first(rows + pairs(50, [10, 10], [10, 30]))["depth"] == 50
    assert shortfall.first_shortfall(frame(pairs(50, [10, 11], [10, 11]))).empty
    assert shortfall.first_shortfall(frame(pairs(5, [15, 11], []) + pairs(50, [10, 11], []))).empty
    unknown = [row | {"dataset": "coins"} for row in pairs(50, [10, 11], [10, 11])]
    assert len(shortfall.first_shortfall(frame(unknown))) == len(shortfall.MARGINS)


def test_nothing_falls_short():
    row = first(pairs(5, [90, 91, 90, 91, 90], [90, 91, 90, 91, 90]) + pairs(10, [90, 91, 90, 91, 90], [89, 90, 89, 90, 89]))
    assert pd.isna(row["depth"])
    assert row["low"] == row["high"] == math.inf
