"""What is said of a sweep over anything but depth, on studies whose answer is known."""

import numpy as np
import pytest
from scipy import stats
from synthetic import frame
from test_cells_of_a_study import swept

from multirun_analysis import cells, groups, statistics, trend
from multirun_analysis.axes import find


def told(runs, axes):
    differences = statistics.compare_arms(runs, axes=axes)
    seeds = statistics.seeds_by_group(runs, axes)
    best = cells.best(runs, axes)
    return " ".join([*trend.finding(runs, differences, seeds, axes), *trend.tuning(best, axes, cells.tuned(axes))])


def seeds(mean, n=6, spread=0.1):
    return [mean + spread * k for k in range(n)]


def test_one_arm_has_its_best_value_its_trend_and_where_nothing_trains():
    accuracies = {0.001: 97.0, 0.01: 90.0, 0.1: 60.0, 1.0: 10.0}
    runs, axes = swept(*((rate, False, seeds(acc), seeds(acc)) for rate, acc in accuracies.items()))
    text = told(runs, axes)
    assert (
        "Of 4 values of learning rate, these networks do best on the validation images at 0.001, where they get 97.25 %" in text
    )
    assert "n = 6). Every other value gives another test accuracy (exact permutation tests, p < 0.05 after Holm's" in text
    rho = stats.spearmanr(runs["optimizer.lr"], runs["test_acc"]).statistic
    assert f"On the whole test accuracy falls with learning rate (Spearman's rank correlation over 24 runs {rho:+.2f}" in text
    assert "None of the networks trains at learning rate 1." in text
    assert "plain" not in text
    assert "residual" not in text


def test_values_that_are_not_told_apart_are_named():
    runs, axes = swept(
        (0.001, False, seeds(97), seeds(97)), (0.01, False, seeds(96.9), seeds(97)), (0.1, False, seeds(80), seeds(80))
    )
    text = told(runs, axes)
    assert "Not told apart from it in test accuracy (exact permutation tests, p < 0.05 after Holm's correction): 0.01." in text


def test_few_runs_are_not_said_to_be_alike():
    runs, axes = swept(*((rate, False, seeds(acc, 3), seeds(acc, 3)) for rate, acc in {0.1: 90, 0.2: 50, 0.3: 10}.items()))
    assert "There are too few runs for an exact test to tell any of the others apart from it." in told(runs, axes)


def test_a_curve_that_rises_and_falls_has_no_trend():
    runs, axes = swept(*((rate, False, seeds(acc), seeds(acc)) for rate, acc in {1: 50, 2: 90, 3: 95, 4: 90, 5: 50}.items()))
    assert "On the whole test accuracy neither rises nor falls surely with learning rate" in told(runs, axes)


def test_both_arms_are_compared_at_each_value_and_at_their_own_best():
    rows = [(rate, residual, seeds(acc), seeds(acc)) for rate, pair in {0.1: (50, 95), 0.01: (60, 94)}.items()
            for residual, acc in zip((False, True), pair, strict=True)]  # fmt: skip
    runs, axes = swept(*rows)
    text = told(runs, axes)
    assert text.startswith("Plain networks are less accurate than residual ones at learning rate 0.01 and 0.1. This rests on")
    assert "plain networks do best on the validation images at 0.01, where they get 60.25 %" in text
    assert "residual networks do best on the validation images at 0.1, where they get 95.25 %" in text
    assert (
        "With each arm at its own best learning rate, chosen on the validation images, residual minus plain is, in test" in text
    )
    assert "+35.00 points (p = 0.002)" in text


def test_an_unfinished_study_says_what_is_missing():
    runs, axes = swept((0.1, False, [90, 91], [90, 91]), (0.01, False, [92, 93], [92, 93]))
    runs.loc[1, ["status", "reason", "counted"]] = ["running", "running", False]
    assert "Not final: 1 running." in told(runs, axes)
    runs[["status", "reason", "counted"]] = ["missing", "missing", False]
    assert told(runs, axes).startswith("No run has a test accuracy yet (4 missing). Seeds per configuration: 0 ended;")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("number", range(30))
def test_random_studies_are_described_as_they_are(number):
    """The best value, the runs that train and the sign of the trend, counted by hand."""
    rng = np.random.default_rng(number)
    rates = sorted(rng.choice([0.001, 0.003, 0.01, 0.03, 0.1], size=rng.integers(2, 6), replace=False).tolist())
    n = int(rng.integers(1, 7))
    levels = {rate: rng.uniform(12, 98) for rate in rates}
    levels[rates[0]] = rng.choice([levels[rates[0]], 10.0])
    rows = [
        (rate, False, (level + rng.normal(0, 1, n)).round(3), (level + rng.normal(0, 1, n)).round(3))
        for rate, level in levels.items()
    ]
    runs, axes = swept(*rows)
    text = told(runs, axes)
    best = max(rows, key=lambda row: float(np.mean(row[2])))
    assert f"do best on the validation images at {best[0]:g}, where they get {np.mean(best[3]):.2f} %" in text
    none = [f"{rate:g}" for rate, _, _, test in rows if (np.asarray(test) < 19).all()]
    assert ("None of the networks trains at" in text) == bool(none)
    if len(rates) > 2 and n * len(rates) >= 5:
        rho = stats.spearmanr(runs["optimizer.lr"], runs["test_acc"]).statistic
        sure = abs(np.arctanh(np.clip(rho, -0.999999, 0.999999))) > 1.96 * np.sqrt((1 + rho**2 / 2) / (n * len(rates) - 3))
        word = ("rises" if rho > 0 else "falls") if sure else "neither rises nor falls surely"
        assert f"On the whole test accuracy {word} with learning rate" in text


def test_datasets_are_told_one_by_one_and_none_is_the_best():
    rows = [{"depth": 5, "residual": False, "seed": s, "val_acc": a, "test_acc": a + s, "config.dataset.name": name}
            for name, a in (("digits", 90.0), ("mnist", 95.0)) for s in range(2)]  # fmt: skip
    runs = frame(rows)
    axes = find(runs)
    text = told(groups.assign(runs, axes), axes)
    assert "Test accuracy of these networks: 90.50 % on digits (" in text
    assert "95.50 % on mnist (" in text
    assert "best" not in text


def test_few_runs_of_two_arms_are_not_said_to_be_alike():
    rows = [
        (rate, residual, seeds(acc, 3), seeds(acc, 3)) for rate in (0.1, 0.01) for residual, acc in ((False, 50), (True, 95))
    ]
    assert told(*swept(*rows)).startswith("These runs are too few to tell plain from residual networks at any learning rate.")
    rows = [(rate, residual, seeds(90), seeds(90 + 0.01 * residual)) for rate in (0.1, 0.01) for residual in (False, True)]
    assert told(*swept(*rows)).startswith(
        "These runs show no sure difference in accuracy between plain and residual networks at any"
    )


def test_one_run_at_the_best_value_is_too_few():
    runs, axes = swept((0.1, False, [99.0], [99.0]), (0.01, False, seeds(50), seeds(50)))
    assert "There are too few runs for an exact test to tell any of the others apart from it." in told(runs, axes)
