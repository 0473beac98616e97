"""Compare our numbers with the published ones in `reference/`.

A row of the published depth table is compared with the MLP on MNIST of the same depth and arm, and a row of the headline table
with the same data set, model and arm. Each comparison says how the protocols differ.
"""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from multirun_analysis.groups import ABSENT

REFERENCE = Path(__file__).parent / "reference"
COLUMNS = ["table", "group", "depth", "residual", "metric", "n", "ours", "low", "high", "theirs", "their_n", "difference",
           "inside", "protocol"]  # fmt: skip
DEPTH_TABLE = ("mlp", "mnist")  # model and data set
METRICS = ("test_acc", "val_acc", "train_acc", "val_loss", "train_loss", "epochs_run")


def depth_table() -> pd.DataFrame:
    """The depth table of the original study: MLPs on MNIST, depths 5 to 100, plain and residual. Accuracies in percent."""
    return pd.read_csv(REFERENCE / "depth_table.csv")


def headline_table() -> pd.DataFrame:
    """The headline table of the original study: best validation accuracy in percent, by data set, model and arm."""
    return pd.read_csv(REFERENCE / "headline_table.csv")


def protocols() -> dict[str, Any]:
    """Title, source, protocol (configuration keys and values) and notes of each published table, by its name."""
    return dict(json.loads((REFERENCE / "protocol.json").read_text(encoding="utf-8")))


def compare(runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Compare each published number with our own, where we have it.

    Returns:
        One row per number; `difference` is ours minus theirs. `low` and `high` are the 95 % prediction interval, in which a
        mean of as many runs as theirs would lie if they were runs like ours: our mean ± t sd sqrt(1/n + 1/their_n), with t of
        n - 1 degrees of freedom. `inside` says whether theirs lies in it, and is missing if one seed gives no interval.
        `protocol` names the keys in which our configuration differs from what is known of theirs.
    """
    rows = []
    known = protocols()
    for group, cells in summary[summary["n"] > 0].groupby("group", sort=False):
        config = _configuration(runs[(runs["group"] == group) & runs["counted"]])
        if (config.get("model.name"), config.get("dataset.name")) == DEPTH_TABLE:
            different = _different(config, known["depth_table"]["protocol"])
            theirs = depth_table().set_index(["depth", "residual"])
            for _, cell in cells[cells["depth"].notna() & cells["residual"].notna()].iterrows():
                key = (int(cell["depth"]), bool(cell["residual"]))
                if key in theirs.index:
                    their = pd.Series(theirs.loc[key])
                    rows += [_row("depth_table", cell, metric, their, different) for metric in METRICS]
        headline = headline_table()
        same = (headline["model"] == config.get("model.name")) & (headline["dataset"] == config.get("dataset.name"))
        for _, their in headline[same].iterrows():
            arm = cells[(cells["residual"] == their["residual"]).fillna(False) & cells["val_acc_mean"].notna()]
            if len(arm):
                best = arm.iloc[int(arm["val_acc_mean"].to_numpy(dtype=float).argmax())]
                rows.append(_row("headline_table", best, "val_acc", their, ""))
    frame = pd.DataFrame([row for row in rows if pd.notna(row["ours"])], columns=COLUMNS)
    return frame.astype({"depth": "Int64", "residual": "boolean", "inside": "boolean"})


def is_depth_table(runs: pd.DataFrame) -> bool:
    """Whether all runs have the model and the data set of the published depth table."""
    return set(zip(runs["model"], runs["dataset"], strict=True)) == {DEPTH_TABLE}


def _configuration(runs: pd.DataFrame) -> dict[str, str]:
    """The keys and values that all runs of a group have in common."""
    keys = [key for key in runs.columns if key.startswith("config.") and runs[key].nunique(dropna=False) == 1]
    return {key.removeprefix("config."): value for key in keys if isinstance(value := runs[key].iloc[0], str)}


def _different(ours: dict[str, str], theirs: dict[str, str]) -> str:
    return "; ".join(
        f"{key}: {ours.get(key, ABSENT)} here, {value} there" for key, value in theirs.items() if ours.get(key, ABSENT) != value
    )


def _row(table: str, cell: pd.Series, metric: str, their: pd.Series, protocol: str) -> dict[str, Any]:
    ours, n, their_n = cell[f"{metric}_mean"], cell[f"{metric}_n"], int(their["seeds"])
    half = (cell[f"{metric}_high"] - ours) * math.sqrt(1 + n / their_n)  # from t sd / sqrt(n)
    low, high, theirs = ours - half, ours + half, float(their[metric])
    return {
        "table": table, "group": cell["group"], "depth": cell["depth"], "residual": cell["residual"], "metric": metric,
        "n": n, "ours": ours, "low": low, "high": high, "theirs": theirs, "their_n": their_n,
        "difference": ours - theirs, "inside": bool(low <= theirs <= high) if pd.notna(low) else pd.NA, "protocol": protocol,
    }  # fmt: skip
