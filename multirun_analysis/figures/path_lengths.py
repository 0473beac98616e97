"""Through how many branches the gradient of pre-activation residual networks comes, one panel per depth."""

from collections.abc import Hashable
from math import comb

import pandas as pd
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing, selection
from multirun_analysis.drawing import COLOUR, GREY
from multirun_analysis.frames import Frames

TITLE = "Share of the gradient by length of its path"
CAPTION = (
    "thick: median over seeds · thin: one seed\n"
    "dotted: share of all paths that go through so many branches, and over the skips of the other blocks"
)
DESCRIPTION = (
    "Percent of the gradient that comes through 0, 1, 2, … branches of trained residual networks with pre-activation blocks, "
    "one panel per depth; and the share of paths of each length, which is binomial. The table of path lengths has numbers."
)


def draw(frames: Frames) -> Figure | None:
    """Draw a panel per group and depth; None if no gradient was followed."""
    found = frames.lesions[(frames.lesions["kind"] == "path") & frames.lesions["share"].notna()]
    runs = selection.drawable(frames.by_depth().runs)
    runs = runs[runs["depth"].notna() & runs["run"].isin(found["run"])]
    if not len(runs):
        return None
    rows = list(runs[["group", "depth"]].drop_duplicates().itertuples(index=False, name=None))
    names = [f"{group}, depth {depth}" for group, depth in rows]
    figure, panels = drawing.grid(TITLE, names, (5.6, 3.2))
    for ax, (group, depth), name in zip(panels, rows, names, strict=False):
        own = runs[(runs["group"] == group) & (runs["depth"] == depth)]
        table = found[found["run"].isin(own["run"])].pivot_table(index="number", columns="run", values="share")
        _curves(ax, table, [run for run in table if run in set(own.loc[own["counted"], "run"])])
        drawing.heading(ax, name)
        ax.set(xlabel="branches on the path", ylabel="share of the gradient (%)")
        drawing.whole_numbers(ax.xaxis)
        handles = [drawing.arm_handle("residual", own[own["counted"]]),
                   Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="paths of this length")]  # fmt: skip
        ax.legend(handles=handles, loc="upper right")
    return drawing.finish(figure, CAPTION, names)


def _curves(ax: Axis, table: pd.DataFrame, counted: list[Hashable]) -> None:
    """Draw the seeds, their median, and how many of all paths have each length."""
    for run in table:
        ax.plot(table.index, table[run], color=COLOUR["residual"], linewidth=0.6, alpha=0.45)
    middle = table[counted].median(axis=1)
    ax.plot(middle.index, middle, color=COLOUR["residual"], linewidth=1.6)
    skips = int(table.index.max())
    lengths = range(skips + 1)
    ax.plot(lengths, [100 * comb(skips, k) / 2**skips for k in lengths], color=GREY, linewidth=0.9, linestyle=":")
    ax.set_ylim(bottom=0)
