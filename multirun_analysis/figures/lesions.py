"""Test accuracy of trained networks without some of their blocks, one row per depth, plain against residual."""

import pandas as pd
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure

from multirun_analysis import drawing, selection
from multirun_analysis.drawing import COLOUR, LINE, MARKER
from multirun_analysis.frames import Frames

TITLE = "Test accuracy without some of the blocks"
CAPTION = (
    "thick: median over seeds · thin: one seed, mean over its random sets · dotted: the whole network · a block whose input "
    "and output differ in size stays"
)
DESCRIPTION = (
    "Test accuracy in percent of trained networks, one row per depth, plain against residual: without each block in turn, "
    "without random sets of blocks against their number, and with each two neighbouring blocks swapped. The table of lesions "
    "has numbers."
)
PANELS = (
    ("one", "place", "block that is removed (0: first)"),
    ("several", "number", "number of blocks that are removed"),
    ("swapped", "place", "pair of neighbours that is swapped (0: first)"),
)


def draw(frames: Frames) -> Figure | None:
    """Draw a row per group; None if no network was tested without its blocks."""
    if not len(frames.lesions):
        return None
    runs = selection.drawable(frames.by_depth().runs)
    runs = runs[runs["depth"].notna() & runs["run"].isin(frames.lesions["run"])]
    rows = list(runs[["group", "depth"]].drop_duplicates().itertuples(index=False, name=None))
    names = [f"{group}, depth {depth}" for group, depth in rows]
    figure, panels = drawing.panels(TITLE, names, len(PANELS), (3.4, 2.4), sharey="row")
    for row, (group, depth), name in zip(panels, rows, names, strict=False):
        own = runs[(runs["group"] == group) & (runs["depth"] == depth)]
        lesions = frames.lesions[frames.lesions["run"].isin(own["run"])]
        for ax, (kind, x, label) in zip(row, PANELS, strict=True):
            found = lesions[lesions["kind"] == kind]
            if kind == "several":
                found = pd.concat([lesions[lesions["kind"] == "whole"], found])
            for arm in selection.arms(own):
                _curves(ax, found, x, own[own["arm"] == arm], arm)
                whole = lesions[(lesions["kind"] == "whole") & lesions["run"].isin(own.loc[own["arm"] == arm, "run"])]
                ax.axhline(whole["test_acc"].median(), color=COLOUR[arm], linewidth=0.8, linestyle=":")
            if found["test_acc"].notna().any():
                ax.set_xlim(found[x].min() - 0.5, found[x].max() + 0.5)
            else:
                drawing.say(ax, "no such blocks")
            drawing.heading(ax, name)
            ax.set(xlabel=label)
            drawing.whole_numbers(ax.xaxis)
        row[0].set(ylabel="test accuracy (%)", ylim=(0, 102))
        handles = [drawing.arm_handle(arm, own[own["counted"]]) for arm in selection.arms(own)]
        row[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawing.finish(figure, CAPTION, names)


def _curves(ax: Axis, found: pd.DataFrame, x: str, runs: pd.DataFrame, arm: str) -> None:
    """Draw the seeds of an arm and their median."""
    table = found[found["run"].isin(runs["run"])].groupby([x, "run"])["test_acc"].mean().unstack("run")
    for run in table:
        ax.plot(table.index, table[run], color=COLOUR[arm], linewidth=0.6, alpha=0.45)
    middle = table[[run for run in table if run in set(runs.loc[runs["counted"], "run"])]].median(axis=1)
    ax.plot(middle.index, middle, color=COLOUR[arm], linestyle=LINE[arm], marker=MARKER[arm], markersize=3.5, linewidth=1.6)
