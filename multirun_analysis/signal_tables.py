"""The tables of signals and probes by layer, and of lesions."""

from typing import Literal

import numpy as np
import pandas as pd

from multirun_analysis.frames import Frames
from multirun_analysis.table import Entry, Table, arm, count, number, without_single_group, words

SIGNALS_NOTE = (
    "Means over the n counted runs, at initialisation (epoch 0) and in the last epoch. Cosines, rank and dead units: of what "
    "the head reads, the activations of the last hidden layer, over a batch of training images; the gradient cosine is of the "
    "first layer. Probes: accuracy in percent of a linear classifier on validation images, on the pixels, on what the middle "
    "layer reads, and on what the head reads."
)
LESIONS_NOTE = (
    "Test accuracy in percent of the best weights, with the running statistics of training: median over the n counted runs. A "
    "removed block passes on its input; blocks whose input and output differ in size stay. One less: over all blocks, their "
    "median and the lowest. Without 2, 4, …: mean over random sets. Swapped: median over neighbouring pairs."
)
PATHS_NOTE = (
    "Of residual networks with pre-activation blocks, which are sums of paths: a path goes through the branch of each block or "
    "over its skip. Through paths of each length comes a part of the gradient of a training batch with respect to the images: "
    "their number times the mean norm through some of them, drawn at random. Mean: the number of branches, weighted with these "
    "parts; the last column has the lengths from the 5th to the 95th percent. Medians over the n counted runs. Most paths go "
    "through about half of the branches."
)
MOST_NUMBERS = 4  # numbers of removed blocks that have a column each


def shown(frames: Frames) -> list[Table]:
    """The tables that have rows."""
    by_depth = frames.by_depth()
    return [table for table in (signals(by_depth), lesions(by_depth), path_lengths(by_depth)) if table.rows]


def signals(frames: Frames) -> Table:
    """Signals and probes at initialisation and in the last epoch, by depth and arm."""
    records = frames.signals.merge(_counted(frames), on="run")
    last = records.groupby("run")["epoch"].transform("max")
    records = records[(records["epoch"] == 0) | (records["epoch"] == last)].assign(is_last=records["epoch"] > 0)
    head = records["layer"] == records.groupby("run")["layer"].transform("max")
    middle = records["layer"] == records.groupby("run")["layer"].transform("max") // 2
    first = records["layer"] == 0
    columns = {
        "Activation cosine": ("activation_cosine", head, 3),
        "Same class": ("activation_cosine_same_class", head, 3),
        "Gradient cosine": ("gradient_cosine", first, 3),
        "Effective rank": ("effective_rank", head, 1),
        "Dead units, %": ("dead_units", head, 1),
        "Probe: pixels": ("probe_accuracy", first, 1),
        "Probe: middle": ("probe_accuracy", middle, 1),
        "Probe: head": ("probe_accuracy", head, 1),
    }
    columns = {title: (key, rows, digits) for title, (key, rows, digits) in columns.items() if records[key].notna().any()}
    rows = []
    for (group, depth, residual, _), cell in _cells(records, "is_last"):
        epochs = sorted(cell["epoch"].unique())
        moment = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        values = [number(cell.loc[chosen[cell.index], key].mean(), digits) for key, chosen, digits in columns.values()]
        n = count(cell["run"].nunique())
        rows.append([words(group), count(depth), arm(residual), Entry(moment, int(epochs[-1])), n, *values])
    titles = ["Group", "Depth", "Residual", "Epoch", "n", *columns]
    return without_single_group(Table("Signals and probes by layer", titles, rows if columns else [], SIGNALS_NOTE))


def lesions(frames: Frames) -> Table:
    """Test accuracy without some of the blocks, by depth and arm."""
    found = frames.lesions[frames.lesions["kind"] != "path"].merge(_counted(frames), on="run")
    numbers = [n for n in sorted(found.loc[found["kind"] == "several", "number"].unique()) if n > 1 and n & (n - 1) == 0]
    numbers = numbers[:MOST_NUMBERS]
    rows = []
    for (group, depth, residual), cell in _cells(found):
        one, swapped = cell[cell["kind"] == "one"], cell[cell["kind"] == "swapped"]
        several = cell[cell["kind"] == "several"]
        removable = int(one["test_acc"].notna().groupby(one["run"]).sum().max())
        blocks = int(one.groupby("run").size().max())
        rows.append([
            words(group), count(depth), arm(residual), count(cell["run"].nunique()),
            number(cell.loc[cell["kind"] == "whole", "test_acc"].median()),
            Entry(f"{removable} of {blocks}", removable),
            number(_over_runs(one, "median")), number(_over_runs(one, "min")),
            *(number(_over_runs(several[several["number"] == n], "mean")) for n in numbers),
            number(_over_runs(swapped, "median")),
        ])  # fmt: skip
    titles = ["Group", "Depth", "Residual", "n", "Whole", "Removable", "One less", "Lowest"]
    titles += [*(f"Without {n}" for n in numbers), "Swapped"]
    return without_single_group(Table("Test accuracy without some of the blocks", titles, rows, LESIONS_NOTE))


def path_lengths(frames: Frames) -> Table:
    """Through how many branches the gradient comes, by depth and arm."""
    found = frames.lesions[(frames.lesions["kind"] == "path") & frames.lesions["share"].notna()]
    rows = []
    for (group, depth, residual), cell in _cells(found.merge(_counted(frames), on="run")):
        each = [_lengths(own) for _, own in cell.groupby("run")]
        mean, low, high = (float(np.median(values)) for values in zip(*each, strict=True))
        rows.append([
            words(group), count(depth), arm(residual), count(len(each)), count(cell["number"].max()), number(mean, 1),
            Entry(f"{low:.0f} to {high:.0f}", high),
        ])  # fmt: skip
    titles = ["Group", "Depth", "Residual", "n", "Skips", "Mean", "90 % of the gradient"]
    return without_single_group(Table("Gradient by length of its path", titles, rows, PATHS_NOTE))


def _lengths(shares: pd.DataFrame) -> tuple[float, int, int]:
    """The mean number of branches, and the lengths from the 5th to the 95th percent of the gradient."""
    numbers, parts = shares["number"].to_numpy(), shares["share"].to_numpy() / 100
    behind = parts.cumsum()
    low, high = np.searchsorted(behind, [0.05, 0.95 * behind[-1]])
    return float(numbers @ parts), int(numbers[low]), int(numbers[high])


def _counted(frames: Frames) -> pd.DataFrame:
    """The counted runs, with the columns that they are grouped by."""
    runs = frames.runs[frames.runs["counted"]]
    order = {group: place for place, group in enumerate(frames.runs["group"].unique())}
    return runs[["run", "group", "depth", "residual"]].assign(order=runs["group"].map(order))


def _cells(rows: pd.DataFrame, *more: str) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    """The rows of each group, depth and arm, in this order."""
    by = ["order", "group", "depth", "residual", *more]
    return [(key[1:], cell) for key, cell in rows.groupby(by, dropna=False)]


def _over_runs(rows: pd.DataFrame, what: Literal["median", "mean", "min"]) -> float:
    """The median over runs of each run's median, mean or lowest accuracy."""
    each = rows.dropna(subset="test_acc").groupby("run")["test_acc"].agg(what)
    return float(each.median()) if len(each) else np.nan
