"""All cells of a study in one frame, whatever it varies, and each arm at its own best setting."""

from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import axes as axis
from multirun_analysis.axes import Axes
from multirun_analysis.intervals import accuracy_interval, difference_interval, t_interval
from multirun_analysis.outcomes import ACCURACIES, ended
from multirun_analysis.significance import holm, permutation_test

SUBJECTS = (axis.DEPTH, "model.name", "model._target_")
TUNED = ("optimizer", "scheduler", "trainer")  # branches whose keys are settings of the training, to be chosen for each arm


def every(runs: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """One row per cell of the study.

    Returns:
        The group, a column for each axis (x, the arm and the facets, as in the configuration), `n` runs that count, of which
        `at_chance` diverged, `seeds` in all, the mean validation accuracy `val_acc`, the mean of the metric of `axes` with its
        95 % interval (`mean`, `low`, `high`), `params`, and `test_data`, the fingerprint of the test images.
    """
    known = ended(runs)[list(dict.fromkeys([axes.metric, "val_acc", "survived"]))]
    texts = {key: axis.texts(runs, key) for key in axes.facets}
    placed = runs.loc[runs["group"].notna(), [*axes.cell, "params", "test_data"]]
    rows = []
    for key, cell in placed.groupby(axes.cell, dropna=False, sort=False):
        own = known.loc[known.index.intersection(cell.index)]
        sample = own[axes.metric].dropna().to_numpy(dtype=float)
        low, high = (accuracy_interval if axes.metric in ACCURACIES else t_interval)(sample)
        rows.append({
            **dict(zip(axes.cell, key, strict=True)), **{facet: texts[facet][cell.index[0]] for facet in axes.facets},
            "n": len(own), "at_chance": int((~own["survived"]).sum()), "seeds": len(cell),
            "val_acc": own["val_acc"].mean(), "mean": sample.mean() if len(sample) else np.nan, "low": low, "high": high,
            "params": next(iter(cell["params"].dropna()), pd.NA), "test_data": next(iter(cell["test_data"].dropna()), None),
        })  # fmt: skip
    columns = [*axes.cell, *axes.facets, "n", "at_chance", "seeds", "val_acc", "mean", "low", "high", "params", "test_data"]
    return pd.DataFrame(rows, columns=columns).astype({"params": "Int64"})


def tuned(axes: Axes) -> list[str]:
    """The axes of which each arm gets its own best value: settings of the training, or else x.

    Depth, the dataset and the model are no settings to be chosen: they are what a study is about.
    """
    settings = [key for key in (axes.x, *axes.facets) if axis.is_under(key, TUNED)]
    return settings or ([] if axes.x in SUBJECTS or axes.on_datasets else [axes.x])


def best(runs: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """Each arm at its own best setting: the one with the highest mean validation accuracy. The test data chooses nothing.

    Returns:
        One row per combination of the axes that are not tuned, and arm: those axes, the arm's name `arm`, the chosen values of
        the tuned ones, how many settings there were (`of`), `n`, the mean validation and test accuracy, and the interval of the
        latter. Where both arms are there, `difference`, its interval `difference_low` and `difference_high`, and `p` of the
        exact permutation test with `p_holm`, Holm-corrected over the frame, stand in the second arm's row.
    """
    chosen = tuned(axes)
    kept = [key for key in (axes.x, *axes.facets) if key not in chosen]
    known = ended(runs)
    known = known[known["val_acc"].notna() & known["test_acc"].notna()]
    known = known if chosen else known.iloc[:0]
    for key in axes.facets:
        known = known.assign(**{key: axis.texts(runs, key)[known.index]})
    rows: list[dict[str, Any]] = []
    by = [*kept, known["test_data"].fillna("").rename("images")]
    for _, place in known.groupby(by, dropna=False, sort=False) if len(known) else []:
        samples = []
        for value, name in axes.arms if place[axes.arm].notna().any() else [(None, "")]:
            arm = place[(place[axes.arm] == value).fillna(False).astype(bool)] if name else place
            if not len(arm):
                continue
            settings = list(arm.groupby(chosen, dropna=False, sort=False))
            setting, cell = max(settings, key=lambda pair: pair[1]["val_acc"].mean())
            sample = cell["test_acc"].to_numpy(dtype=float)
            samples.append(sample)
            low, high = accuracy_interval(sample)
            rows.append({
                **{key: place[key].iloc[0] for key in kept}, "arm": name, **dict(zip(chosen, setting, strict=True)),
                "of": len(settings), "n": len(cell), "val_acc": cell["val_acc"].mean(), "test_acc": sample.mean(),
                "low": low, "high": high,
            })  # fmt: skip
        if len(samples) == 2:
            ends = difference_interval(*samples)
            rows[-1] |= {"difference": samples[1].mean() - samples[0].mean(), "difference_low": ends[0],
                         "difference_high": ends[1], "p": permutation_test(*samples)}  # fmt: skip
    columns = [*kept, "arm", *chosen, "of", "n", "val_acc", "test_acc", "low", "high", "difference", "difference_low",
               "difference_high", "p"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=holm(frame["p"]) if len(frame) else [])


def is_tuned(frame: pd.DataFrame) -> bool:
    """Whether there was anything to choose."""
    return bool((frame["of"] > 1).any())
