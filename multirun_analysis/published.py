"""Compare our numbers with the published ones in `reference/`.

A row of the published depth table is compared with the MLP on MNIST of the same depth and arm, and a row of the headline table
with the same dataset, model and arm. Each comparison says how the protocols differ. The tables of He et al. stand beside runs
with their very protocol only.
"""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from multirun_analysis.axes import ABSENT
from multirun_analysis.intervals import LEVEL
from multirun_analysis.outcomes import ACCURACIES
from run_contract import ADDED, ADDED_TO_NETWORKS, typed

REFERENCE = Path(__file__).parent / "reference"
COLUMNS = ["table", "group", "depth", "residual", "metric", "n", "ours", "low", "high", "theirs", "their_n", "difference",
           "inside", "p_lower", "protocol"]  # fmt: skip
DEPTH_TABLE = ("mlp", "mnist")  # model and dataset
PAPERS = ("he2016", "he2016b")
ROW_KEYS = ("scheduler.warmup_steps", "model.block")  # their columns that belong to the protocol of a row; empty: not told
# What no published run changed, and ours may.
USUAL = {f"loss.{key}": value for key, value in ADDED["loss"].items()} | {
    key: ADDED[key] for key in ("trainer.clip_grad_norm", "trainer.decay_norm_and_bias")
}
METRICS = ("test_acc", "val_acc", "train_acc", "val_loss", "train_loss", "epochs_run")


def depth_table() -> pd.DataFrame:
    """The depth table of the original study: MLPs on MNIST, depths 5 to 100, plain and residual. Accuracies in percent."""
    return pd.read_csv(REFERENCE / "depth_table.csv")


def headline_table() -> pd.DataFrame:
    """The headline table of the original study: best validation accuracy in percent, by dataset, model and arm."""
    return pd.read_csv(REFERENCE / "headline_table.csv")


def paper_table(name: str) -> pd.DataFrame:
    """A table of `PAPERS`: test accuracies in percent by depth and arm."""
    return pd.read_csv(REFERENCE / f"{name}.csv", dtype=dict.fromkeys(ROW_KEYS, "str"))


def protocols() -> dict[str, Any]:
    """Title, source, protocol (configuration keys and values) and notes of each published table, by its name."""
    return dict(json.loads((REFERENCE / "protocol.json").read_text(encoding="utf-8")))


def compare(runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Compare each published number with our own, where we have it.

    Returns:
        One row per number; `difference` is ours minus theirs. `low` and `high` are the 95 % prediction interval, in which a
        mean of as many runs as theirs would lie if they were runs like ours: our mean ± t sd sqrt(1/n + 1/their_n), with t of n
        - 1 degrees of freedom, cut at 0 and 100 % for accuracies. `p_lower` is the chance of one as low as theirs, if they were
        runs like ours. `inside` says whether theirs lies in it, and is missing if one seed gives no interval. `protocol` names
        the keys in which our configuration differs from what is known of theirs.
    """
    rows = []
    known = protocols()
    for group, cells in summary[summary["n"] > 0].groupby("group", sort=False):
        config = _configuration(runs[(runs["group"] == group) & runs["counted"]])
        usual = {key: typed(value) for key, value in USUAL.items() if key in config}
        if (config.get("model.name"), config.get("dataset.name")) == DEPTH_TABLE:
            own = ADDED_TO_NETWORKS.get(config.get("model._target_", ""), {})  # which the original did not change
            later = {key: typed(value) for key, value in own.items() if key in config}
            different = _different(config, known["depth_table"]["protocol"] | later | usual)
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
        for paper in PAPERS:
            if not _different(config, known[paper]["protocol"] | usual):
                rows += _as_published(paper, cells, config)
    frame = pd.DataFrame([row for row in rows if pd.notna(row["ours"])], columns=COLUMNS)
    return frame.astype({"depth": "Int64", "residual": "boolean", "inside": "boolean"})


def pooled(comparison: pd.DataFrame) -> pd.DataFrame:
    """Compare all rows of an arm with the published ones at once: single runs may each lie inside and all lie on one side.

    Returns:
        One row per published table, group, arm and accuracy with two rows or more that have a prediction interval. `rows` and
        `inside` count those rows, `difference` is the mean of ours minus theirs, and `p` the two-sided p-value of Stouffer's
        combination of the rows' `p_lower` (Stouffer et al. 1949), which takes the rows for independent.
    """
    known = comparison[comparison["p_lower"].notna() & comparison["metric"].isin(["test_acc", "val_acc"])]
    rows = []
    for (table, group, residual, metric), own in known.groupby(["table", "group", "residual", "metric"], sort=False):
        if len(own) < 2:
            continue
        p = stats.combine_pvalues(own["p_lower"].clip(1e-15, 1 - 1e-15).tolist(), method="stouffer").pvalue
        rows.append({
            "table": table, "group": group, "residual": residual, "metric": metric, "rows": len(own),
            "inside": int(own["inside"].sum()), "difference": own["difference"].mean(), "p": 2 * min(p, 1 - p),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["table", "group", "residual", "metric", "rows", "inside", "difference", "p"])


def is_depth_table(runs: pd.DataFrame) -> bool:
    """Whether all runs have the model and the dataset of the published depth table."""
    return set(zip(runs["model"], runs["dataset"], strict=True)) == {DEPTH_TABLE}


def _configuration(runs: pd.DataFrame) -> dict[str, str]:
    """The keys and values that all runs of a group have in common."""
    keys = [key for key in runs.columns if key.startswith("config.") and runs[key].nunique(dropna=False) == 1]
    return {key.removeprefix("config."): value for key in keys if isinstance(value := runs[key].iloc[0], str)}


def _as_published(paper: str, cells: pd.DataFrame, config: dict[str, str]) -> list[dict[str, Any]]:
    """The cells of a group with the protocol of a paper, beside the rows of its table."""
    rows = []
    for _, their in paper_table(paper).iterrows():
        own = {key: str(their[key]) for key in ROW_KEYS if pd.notna(their.get(key))}
        if not _different(config, own):
            same = (cells["depth"] == their["depth"]) & (cells["residual"] == their["residual"])
            rows += [_row(paper, cell, "test_acc", their, "") for _, cell in cells[same.fillna(False)].iterrows()]
    return rows


def _different(ours: dict[str, str], theirs: dict[str, str]) -> str:
    return "; ".join(
        f"{key}: {ours.get(key, ABSENT)} here, {value} there" for key, value in theirs.items() if ours.get(key, ABSENT) != value
    )


def _row(table: str, cell: pd.Series, metric: str, their: pd.Series, protocol: str) -> dict[str, Any]:
    ours, n, their_n = cell[f"{metric}_mean"], cell[f"{metric}_n"], int(their["seeds"])
    theirs, low, high, p = float(their[metric]), math.nan, math.nan, math.nan
    if pd.notna(cell[f"{metric}_low"]):  # else too few runs, or no two that differ
        error = cell[f"{metric}_sd"] * math.sqrt(1 / n + 1 / their_n)
        half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
        lowest, highest = (0.0, 100.0) if metric in ACCURACIES else (-math.inf, math.inf)
        low, high = max(lowest, ours - half), min(highest, ours + half)
        p = float(stats.t.cdf((theirs - ours) / error, n - 1))
    return {
        "table": table, "group": cell["group"], "depth": cell["depth"], "residual": cell["residual"], "metric": metric,
        "n": n, "ours": ours, "low": low, "high": high, "theirs": theirs, "their_n": their_n,
        "difference": ours - theirs, "inside": bool(low <= theirs <= high) if pd.notna(low) else pd.NA, "p_lower": p,
        "protocol": protocol,
    }  # fmt: skip
