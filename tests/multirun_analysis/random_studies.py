"""Random studies with everything that can go wrong, and their findings."""

import math

import numpy as np
import pandas as pd
from synthetic import frame

from multirun_analysis import analysis
from multirun_analysis.frames import EPOCH_COLUMNS, LAYER_COLUMNS, Frames, typed_epochs, typed_layers


def study(number):
    """Few seeds, unequal arms, diverged runs, ties, missing cells, one arm, NaN: a list of rows, and the margin."""
    rng = np.random.default_rng(number)
    depths = sorted(rng.choice([5, 10, 20, 50, 100], size=rng.integers(1, 5), replace=False).tolist())
    arms = rng.choice(["both", "both", "both", "both", "plain", "residual", "apart"])
    dataset, classes = [("mnist", None), ("mnist", None), ("mnist", 10), ("coins", 2), ("coins", None)][rng.integers(5)]
    most = int(rng.choice([1, 2, 3, 5, 5, 6]))
    equal = bool(rng.integers(2))  # all cells have as many seeds
    lost = rng.choice([0.0, 0.0, 0.2, 0.7])  # of the runs diverge
    rows = []
    for i, depth in enumerate(depths):
        for residual in (False, True):
            if (
                (arms == "plain" and residual)
                or (arms == "residual" and not residual)
                or (arms == "apart" and i % 2 == residual)
            ):
                continue
            if rng.random() < 0.08:
                continue  # a missing cell
            level = rng.choice([97.0, 97.0, 97.3, 90.0, 60.0, 10.0, 100.0])
            spread = rng.choice([0.0, 0.02, 0.3, 3.0])
            for seed in range(most if equal else int(rng.integers(1, most + 1))):
                status = str(rng.choice(["done", "done", "done", "done", "done", "running", "failed", "missing"]))
                accuracy = float(np.clip(rng.normal(level, spread), 0, 100).round(int(rng.choice([0, 2, 4]))))
                if status == "done" and rng.random() < lost:
                    status = "diverged"
                if rng.random() < 0.02:
                    accuracy = math.nan
                rows.append({"depth": depth, "residual": residual, "seed": seed, "status": status, "dataset": dataset,
                             "num_classes": classes, "test_acc": accuracy if status == "done" else None, "epochs_run": 3,
                             "planned": None})  # fmt: skip
    plan_of(rows, rng)
    if rows and rng.random() < 0.05:
        rows.append(rows[0] | {"depth": None, "residual": None, "seed": 0, "status": "done", "test_acc": 50.0}
                    | dict.fromkeys(("planned", "launch", "planned_first", "planned_later")))  # fmt: skip
    return rows, float(rng.choice([0.2, 0.2, 2.0]))


def plan_of(rows, rng):
    """What launches asked for: not recorded, from before it was, all at first, more later, or fewer than there are."""
    kind = rng.choice(["unknown", "old", "all", "more", "outside", "dropped"])
    at_first = int(rng.integers(1, 4))
    for row in rows:
        cell = [other["seed"] for other in rows if (other["depth"], other["residual"]) == (row["depth"], row["residual"])]
        early = row["seed"] < at_first
        few = sum(seed < at_first for seed in cell)
        row["planned"], row["launch"], row["planned_first"], row["planned_later"] = {
            "unknown": (None, None, None, None),
            "old": (early, 0 if early else None, None, 0),
            "all": (True, 1, len(cell), 0),
            "more": (True, 1 if early else 2, few, len(cell) - few),
            "outside": (early, 1 if early else None, few, 0),
            "dropped": (True, 1, len(cell) + 2, 0),
        }[kind]
        if row["status"] == "missing" and kind in ("old", "outside") and not early:
            row["status"] = "failed"  # what nobody planned cannot be missing


def finding(rows, margin):
    empty = [frame([])] if not rows else []
    runs = frame(rows) if rows else empty[0]
    nothing = (typed_epochs(frame_of(EPOCH_COLUMNS)), typed_layers(frame_of(LAYER_COLUMNS)))
    return analysis.analyse(Frames(runs, *nothing), margin).finding


def frame_of(columns):

    return pd.DataFrame(columns=list(columns))
