"""The tables of runs, cells and configurations. Which tables the report has, and in which order, is in `sections`.

Losses have four decimals and accuracies two, as in the original study's table.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import groups, tested
from multirun_analysis.axes import ABSENT, DEPTH_STUDY, Axes, heading
from multirun_analysis.outcomes import ended
from multirun_analysis.result import WITHOUT_CHECKPOINTS
from multirun_analysis.statistics import NOT_COUNTED
from multirun_analysis.table import (
    Entry,
    Table,
    arm,
    count,
    interval,
    is_missing,
    label,
    number,
    p_value,
    position,
    without_single_group,
    words,
    yes_no,
)
from multirun_analysis.wording import capitalized

OTHER = 1.0  # points between test accuracy and the recalibrated one from which on the report shows both
LOWER_IS_BETTER = ("train_loss", "val_loss")
HIGHER_IS_BETTER = ("train_acc", "val_acc", "test_acc")
TITLES = {
    "train_loss": "Train Loss", "val_loss": "Val Loss", "train_acc": "Train Acc", "val_acc": "Val Acc", "test_acc": "Test Acc",
    "epochs_run": "Epochs",
}  # fmt: skip

RESULTS_NOTE = (
    "Means over the n runs that have ended, at {epoch}; the test data is read once, "
    "with that epoch's weights. Runs that failed or are unfinished are in no mean: they stand under “Not counted”. The "
    "interval is Student's t at 95 % on the logit scale, which keeps it between 0 and 100 %. Losses {losses}, accuracies in "
    "percent; the best mean of a column is bold."
)
RECALIBRATED_NOTE = (
    " Recalibrated: mean test accuracy with BatchNorm's running statistics replaced by their average over training batches "
    "of the tested weights. Where it is clearly higher, the running statistics fail rather than the weights."
)
UNTRAINED_NOTE = " Networks of 0 epochs are untrained: their accuracies are left out, here and in all tests."
DIVERGED_NOTE = (
    " A diverged run counts as chance (100 % / classes) in every accuracy, here and in all tests; losses and epochs are of "
    "the others alone. Survivors: mean test accuracy of the runs that did not diverge, which is no fair comparison where one "
    "arm loses more of them."
)


def results(summary: pd.DataFrame, axes: Axes = DEPTH_STUDY, epoch: str = tested.BEST, losses: str = "in nats") -> list[Table]:
    """The original study's columns, then n, standard deviation, interval and size: one table per group.

    Args:
        summary: see `statistics.summarize`.
        axes: of the study.
        epoch: the epoch that the numbers belong to, in words.
        losses: their unit, in words.
    """
    tables = []
    lost = bool(summary["at_chance"].sum())
    told = summary[summary["test_acc_recalibrated_n"] == summary["test_acc_n"]]
    again = bool(((told["test_acc_recalibrated_mean"] - told["test_acc_mean"]).abs() > OTHER).any())
    for group, cells in summary.groupby("group", sort=False):
        texts = {metric: _mean_texts(cells, metric) for metric in TITLES}
        best = {metric: _best_text(cells, metric, texts[metric]) for metric in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)}
        rows = []
        for place, (_, cell) in enumerate(cells.iterrows()):
            row = [position(cell[axes.x]), arm(cell[axes.arm])]
            for metric in TITLES:
                text = texts[metric][place]
                row.append(Entry(text, cell[f"{metric}_mean"], text == best.get(metric)))
            row.append(count(cell["n"]))
            if lost:
                survivors = number(cell["survivors_mean"]).text
                row += [count(cell["at_chance"]), Entry(f"{survivors} (n = {cell['survivors_n']})", cell["survivors_mean"])]
            if again:
                text = _mean_texts(cells, "test_acc_recalibrated")[place]
                row.append(Entry(text, cell["test_acc_recalibrated_mean"]))
            row += [
                number(cell["test_acc_sd"]),
                interval(cell["test_acc_low"], cell["test_acc_high"], cell["test_acc_n"]),
                count(cell["params"]),
                count(cell["mult_adds"]),
                Entry(not_counted(cell), int(cell[[*NOT_COUNTED, "other"]].sum() - cell["at_chance"])),
            ]
            rows.append(row)
        more = [*(["Diverged", "Survivors"] if lost else []), *(["Recalibrated"] if again else [])]
        columns = [heading(axes.x), heading(axes.arm), *TITLES.values(), "n", *more, "Test SD",
                   "Test 95 % interval", "Params", "Mult-adds",
                   "Not counted"]  # fmt: skip
        tables.append(Table(f"Results: {group}", columns, rows))
    note = (
        RESULTS_NOTE.format(epoch=epoch, losses=losses) + (DIVERGED_NOTE if lost else "") + (RECALIBRATED_NOTE if again else "")
    )
    note += UNTRAINED_NOTE if summary["epochs_run_mean"].eq(0).any() else ""
    return [*tables[:-1], *(replace(table, note=note) for table in tables[-1:])]


def exclusions(runs: pd.DataFrame) -> Table:
    """Every run that is not counted or has a remark, and why. Runs that never started are not among them."""
    shown = runs.assign(unplanned=groups.left_over(runs))
    odd = runs["note"].notna() & (runs["note"] != WITHOUT_CHECKPOINTS)  # which an archive of a study may lack, all of them
    shown = shown[(~runs["counted"] & (runs["status"] != "missing")) | odd | shown["unplanned"]]
    counted = _counted(runs)
    rows = []
    for number_of_row, row in shown.iterrows():
        said = [row["reason"] if row["reason"] != row["status"] else None, row["note"]]
        said.append("its training loss or weights became non-finite" if row["status"] == "diverged" else None)
        said.append("not in the plan of the last launch" if row["unplanned"] else None)
        if isinstance(row["error_type"], str):
            said.append(f"{row['error_type']}: {row['error_message'] if isinstance(row['error_message'], str) else ''}")
        why = "; ".join(text for text in said if isinstance(text, str))
        rows.append([words(row["path"]), words(row["status"]), counted[number_of_row], Entry(why or ABSENT, why)])
    failed = runs[runs["error_type"].notna()]
    keys = ("path", "error_type", "error_message", "error_traceback", "command")
    details = [{key: row[key] if isinstance(row[key], str) else "" for key in keys} for _, row in failed.iterrows()]
    columns = ["Run", "Status", "Counted", "Why, and what was found"]
    return Table("Failures, exclusions and remarks", columns, rows, code=columns[:1], wide=columns[-1:], details=details)


def configuration_differences(runs: pd.DataFrame) -> Table:
    """The keys in which cells differ: one row per configuration."""
    frame = groups.differences(runs)
    rows = [
        [label(value) if column == "depth" else words(value) for column, value in row.items()] for _, row in frame.iterrows()
    ]
    return Table("Configuration differences between cells", [str(column) for column in frame.columns], rows)


def shared_configuration(runs: pd.DataFrame) -> Table:
    """The configuration that all runs have in common."""
    columns = ["Key", "Value"]
    rows = [[words(key), words(value)] for key, value in groups.shared(runs).items()]
    return Table("Shared by all runs", columns, rows, code=columns)


def versions(runs: pd.DataFrame) -> Table:
    """Versions, processors and the like, and how many runs were made with each."""
    rows = []
    for key in (key for key in runs.columns if key.startswith("versions.")):
        for version, number_of_runs in runs[key].value_counts().sort_index().items():
            rows.append([words(key.removeprefix("versions.")), words(version), label(number_of_runs)])
    return Table("Made with", ["What", "Which", "Runs"], rows)


def all_runs(runs: pd.DataFrame) -> Table:
    """Every run, with the command that runs it again."""
    counted = _counted(runs)
    told = ["group", "depth", "residual", "seed", "status", "val_acc", "test_acc", "best_epoch", "epochs_run", "seconds",
            "path", "command"]  # fmt: skip
    rows = [
        [
            words(run["group"]), label(run["depth"]), words(run["residual"]), label(run["seed"]), words(run["status"]),
            counted[row], number(run["val_acc"]), number(run["test_acc"]), label(run["best_epoch"]),
            label(run["epochs_run"]), number(run["seconds"], 1), words(run["path"]), words(run["command"]),
        ]
        for row, run in runs[told].iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Seed", "Status", "Counted", "Val Acc", "Test Acc", "Best epoch", "Epochs",
               "Seconds", "Run", "Again"]  # fmt: skip
    return Table("All runs", columns, rows, code=("Run", "Again"))


def overview(summary: pd.DataFrame, differences: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> Table:
    """Test accuracy of both arms and their difference, for the terminal: one row per x."""
    rows = []
    compared = {(row["group"], row[axes.x]): row for _, row in differences.iterrows()}
    names = dict(axes.arms)
    (_, a), (_, b) = axes.arms
    for (group, x), cells in summary.groupby(["group", axes.x], sort=False, dropna=False):
        if cells["epochs_run_mean"].max() == 0:  # untrained
            continue
        row = [words(group), position(x)]
        for value, _ in axes.arms:
            cell = cells[(cells[axes.arm] == value).fillna(False).astype(bool)]
            row.append(_brief(cell.iloc[0]) if len(cell) else Entry(ABSENT))
        untold = cells[cells[axes.arm].isna()]
        row.append(_brief(untold.iloc[0]) if len(untold) else Entry(""))
        pair = compared.get((group, x))
        if pair is None:
            row += [Entry(ABSENT)] * 3
        else:
            fewest = min(pair[f"{a}_n"], pair[f"{b}_n"])
            row += [number(pair["difference"], signed=True), interval(pair["low"], pair["high"], fewest, signed=True)]
            row.append(p_value(pair["p_holm"]))
        arms = [("runs" if is_missing(cell[axes.arm]) else names[cell[axes.arm]], cell) for _, cell in cells.iterrows()]
        row.append(Entry("; ".join(f"{name}: {cell['at_chance']}" for name, cell in arms if cell["at_chance"])))
        row.append(Entry("; ".join(f"{name}: {lost}" for name, cell in arms if (lost := not_counted(cell)))))
        rows.append(row)
    columns = ["Group", heading(axes.x), f"{capitalized(a)} (n)", f"{capitalized(b)} (n)", "Other (n)", "Difference",
               "95 % interval", "p (Holm)", "Diverged, at chance", "Not counted"]  # fmt: skip
    if not len(differences) and summary[axes.arm].nunique() < 2:  # nothing is compared: one column of accuracies
        kept = [0, 1, *(k for k in (2, 3, 4) if any(each[k].text not in ("", ABSENT) for each in rows)), 8, 9]
        columns, rows = [columns[k] for k in kept], [[each[k] for k in kept] for each in rows]
        columns[2] = "Mean (n)" if len(kept) == 5 else columns[2]
    return without_single_group(Table("Test accuracy, %", columns, rows))


def not_counted(cell: pd.Series) -> str:
    """Such as `1 failed, 2 missing`; empty where every run of the cell counts, if only as chance."""
    numbers = {status: cell[status] for status in (*NOT_COUNTED, "other")}
    numbers["diverged"] -= cell["at_chance"]
    return ", ".join(f"{number} {status}" for status, number in numbers.items() if number)


def _counted(runs: pd.DataFrame) -> dict[Any, Entry]:
    """Whether each run counts: yes, no, or as chance."""
    known = ended(runs).index
    return {
        row: yes_no(is_counted) if is_counted or row not in known else Entry("as chance", "as chance")
        for row, is_counted in runs["counted"].items()
    }


def _brief(cell: pd.Series) -> Entry:
    """Mean test accuracy and n, such as `98.20 (5)`."""
    return Entry(f"{number(cell['test_acc_mean']).text} ({cell['test_acc_n']})", cell["test_acc_mean"])


def _mean_texts(cells: pd.DataFrame, metric: str) -> list[str]:
    """Means as text, followed by the number of runs that have the metric where some counted run lacks it."""
    texts = []
    for mean, has, n in zip(cells[f"{metric}_mean"], cells[f"{metric}_n"], cells["n"], strict=True):
        decimals = 4 if metric.endswith("loss") else 1 if metric == "epochs_run" else 2
        text = number(mean, decimals).text
        text = text.removesuffix(".0") if metric == "epochs_run" else text
        texts.append(f"{text} (n = {has})" if 0 < has < n else text)
    return texts


def _best_text(cells: pd.DataFrame, metric: str, texts: list[str]) -> str | None:
    means = cells[f"{metric}_mean"].to_numpy(dtype=float)
    if np.isfinite(means).sum() < 2:
        return None
    return texts[int(np.nanargmin(means) if metric in LOWER_IS_BETTER else np.nanargmax(means))]
