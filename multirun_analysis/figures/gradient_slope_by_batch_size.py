"""Slope of the gradient at initialisation against batch size, beside the curve that mean-field theory predicts."""

from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from multirun_analysis import drawing, theory
from multirun_analysis.frames import Frames
from multirun_analysis.initialisation import BATCH_SIZE, at_start, slopes, told

TITLE = "Gradient slope at initialisation against theory"
CAPTION = "plain networks before any step · mean over seeds with its 95 % interval · theory is {told}"
DESCRIPTION = (
    "Slope of the logarithm of the gradient norm over layers before any step, against batch size, with 95 % intervals, and the "
    "curve that mean-field theory predicts. The table of gradient slopes has the numbers."
)


def draw(frames: Frames) -> Figure | None:
    """Draw one series per set of plain cells that differ in the batch size alone; None if there is a single batch size."""
    frames = frames.by_depth()
    table = slopes(at_start(frames))
    table = table[table["predicted"].notna()]
    sizes = dict(zip(frames.runs["group"], frames.runs.get(BATCH_SIZE, []), strict=False))
    table = table.assign(batch_size=[float(sizes.get(group, np.nan)) for group in table["group"]])
    if table["batch_size"].nunique() < 2:
        return None
    names = table["group"].str.replace(r"(, )?trainer\.batch_size=\d+", "", regex=True).str.removeprefix(", ")
    both = zip(names, table["depth"], strict=True)
    table = table.assign(line=[f"{name}, depth {depth}".removeprefix(", ") for name, depth in both])
    lines = list(dict.fromkeys(table["line"]))
    figure, axes = drawing.panels(TITLE, ["all"], 1, (5.6, 3.8))
    ax = axes[0, 0]
    span = np.geomspace(table["batch_size"].min(), table["batch_size"].max(), 200).round().astype(int)
    biases = sorted(table["norm_bias"].unique())
    for bias, style in zip(biases, cycle(("-", "--", ":", "-.")), strict=False):
        name = "theory (infinite width)" + f", bias {bias:g}" * (len(biases) > 1)
        ax.plot(span, [theory.slope(int(size), bias) for size in span], style, color="black", linewidth=0.9, label=name)
    for number, (name, colour) in enumerate(zip(lines, sns.color_palette("colorblind", len(lines)), strict=True)):
        points = table[table["line"] == name].sort_values("batch_size")
        beside = points["batch_size"] * 1.03 ** (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        errors = np.vstack([points["slope"] - points["low"], points["high"] - points["slope"]])
        ax.errorbar(beside, points["slope"], errors, color=colour, marker="o", markersize=3.5, linewidth=0, elinewidth=1.2,
                    capsize=2, label=f"{name} (n = {_range(points['n'])})")  # fmt: skip
    sizes_there = sorted(table["batch_size"].unique())
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes_there, [f"{size:g}" for size in sizes_there])
    ax.set(xlabel="batch size (images)", ylabel="change of ln(gradient norm) per layer")
    ax.legend(loc="lower right")
    return drawing.finish(figure, CAPTION.format(told=told(table["norm_bias"])), ["all"])


def _range(counts: pd.Series) -> str:
    return f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
