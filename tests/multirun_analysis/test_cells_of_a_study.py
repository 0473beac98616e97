"""All cells in one frame, and each arm at its own best setting: chosen on validation, reported on test."""

import numpy as np
import pytest
from synthetic import frame

from multirun_analysis import cells, groups
from multirun_analysis.axes import find
from multirun_analysis.intervals import accuracy_interval
from multirun_analysis.significance import permutation_test


def swept(*rows):
    """Runs of a sweep over the learning rate: (rate, residual, validation accuracies, test accuracies), at a depth."""
    found = []
    for rate, residual, validation, test, *depth in rows:
        for seed, (val, acc) in enumerate(zip(validation, test, strict=True)):
            found.append({
                "depth": depth[0] if depth else 5, "residual": residual, "seed": seed, "val_acc": val, "test_acc": acc,
                "config.optimizer.lr": str(rate), "config.model.residual": str(residual).lower(),
                "config.model.depth": str(depth[0] if depth else 5),
            })  # fmt: skip
    runs = frame(found)
    axes = find(runs)
    return groups.assign(runs, axes), axes


def test_every_cell_is_a_row_with_its_own_setting():
    runs, axes = swept((0.1, False, [90, 91], [80, 82]), (0.01, False, [95, 96], [70, 72]))
    every = cells.every(runs, axes)
    assert every[["optimizer.lr", "n", "mean", "val_acc"]].to_numpy().tolist() == [[0.1, 2, 81.0, 90.5], [0.01, 2, 71.0, 95.5]]
    assert (every["low"][0], every["high"][0]) == accuracy_interval([80, 82])


def test_each_arm_has_its_own_best_by_validation_and_not_by_test():
    plain = [(0.1, False, [90, 91, 92], [99, 99, 98]), (0.01, False, [95, 96, 97], [70, 72, 74])]
    residual = [(0.1, True, [97, 98, 99], [80, 81, 82]), (0.01, True, [60, 61, 62], [99, 98, 99])]
    runs, axes = swept(*plain, *residual)
    best = cells.best(runs, axes)
    assert best[["arm", "optimizer.lr", "of", "test_acc"]].to_numpy().tolist() == [
        ["plain", 0.01, 2, 72.0], ["residual", 0.1, 2, 81.0],
    ]  # fmt: skip
    assert best["difference"].tolist()[1] == pytest.approx(9.0)
    assert best["p"].tolist()[1] == permutation_test([70, 72, 74], [80, 81, 82])
    assert np.isnan(best["p"][0])


def test_the_best_is_chosen_at_each_depth_and_holms_correction_is_over_all():
    rows = [(rate, residual, [90 + rate + depth] * 3, [50 + depth + 10 * residual + seed for seed in range(3)], depth)
            for depth in (5, 20) for residual in (False, True) for rate in (0.1, 0.01)]  # fmt: skip
    runs, axes = swept(*rows)
    assert (axes.x, cells.tuned(axes)) == ("depth", ["optimizer.lr"])
    best = cells.best(runs, axes)
    assert best["depth"].tolist() == [5, 5, 20, 20]
    assert set(best["optimizer.lr"]) == {"0.1"}
    assert best["p_holm"].dropna().tolist() == pytest.approx([0.2, 0.2])


def test_a_diverged_run_counts_as_chance_in_the_choice():
    runs, axes = swept((0.1, False, [99, 99], [99, 99]), (0.01, False, [90, 90], [90, 90]))
    runs.loc[runs["config.optimizer.lr"] == "0.1", ["status", "reason", "counted"]] = ["diverged", "diverged", False]
    assert cells.best(runs, axes)["optimizer.lr"].tolist() == [0.01]
    assert cells.every(runs, axes)["at_chance"].tolist() == [2, 0]


def test_a_study_of_depth_alone_has_nothing_to_choose():
    runs = frame([{"depth": d, "residual": r, "val_acc": 90.0, "test_acc": 90.0} for d in (5, 20) for r in (False, True)])
    axes = find(runs)
    assert cells.tuned(axes) == []
    assert len(cells.best(groups.assign(runs, axes), axes)) == 0


def test_unfinished_cells_are_rows_without_numbers():
    runs, axes = swept((0.1, False, [90], [90]), (0.01, False, [91], [91]))
    runs.loc[runs["config.optimizer.lr"] == "0.01", ["status", "reason", "counted"]] = ["running", "running", False]
    every = cells.every(runs, axes)
    assert every["n"].tolist() == [1, 0]
    assert every["seeds"].tolist() == [1, 1]
    assert np.isnan(every["mean"][1])
    assert cells.best(runs, axes)["of"].tolist() == [1]


def test_datasets_are_not_chosen_between():
    rows = [{"depth": 5, "residual": False, "seed": s, "val_acc": a, "test_acc": a, "config.dataset.name": name}
            for name, a in (("digits", 90.0), ("mnist", 95.0)) for s in range(2)]  # fmt: skip
    runs = frame(rows)
    axes = find(runs)
    assert (axes.x, cells.tuned(axes)) == ("dataset.name", [])
    assert len(cells.every(groups.assign(runs, axes), axes)) == 2
