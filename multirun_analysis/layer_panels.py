"""Panels of quantities by layer on linear axes, plain against residual, at initialisation beside the last epoch.

`plots.by_layer` draws the same of norms, on a logarithmic axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing, selection
from multirun_analysis.drawing import COLOUR, LINE
from multirun_analysis.frames import Frames

AT_START, AT_END = "at initialisation", "last epoch"
X_LABEL, X_SHARE = "layer (0: first, last: head)", "layer position (0: first, 1: head)"


@dataclass(frozen=True)
class Row:
    """A quantity, which has a row of panels.

    Attributes:
        quantity: column of `frames.signals`.
        label: label of the y axis.
        low, high: ends of the y axis, where it has natural ones.
        reference: the height of a thin black line for these runs at a moment, and what it is called; None for no line.
    """

    quantity: str
    label: str
    low: float | None = None
    high: float | None = None
    reference: Callable[[pd.DataFrame, str], tuple[float, str] | None] = lambda runs, moment: None


def draw(frames: Frames, rows: Sequence[Row], title: str, caption: str, absent: str) -> Figure | None:
    """Draw the rows for each group at its greatest depth; None if no run has recorded any of the quantities.

    Args:
        frames: the frames of the runs.
        rows: what is drawn.
        title: title of the figure.
        caption: text beneath it.
        absent: text of a panel without data.
    """
    rows = [row for row in rows if row.quantity in frames.signals and frames.signals[row.quantity].notna().any()]
    if not rows:
        return None
    runs = selection.deepest(replace(frames.by_depth(), layers=frames.signals))
    groups = selection.groups(runs)
    names = [f"{group}: {row.label}" for group in groups for row in rows]
    figure, panels = drawing.panels(title, names, 2, (4.4, 2.6), sharey="row")
    for pair, (group, row) in zip(panels, [(group, row) for group in groups for row in rows], strict=False):
        own = runs[runs["group"] == group]
        records = frames.signals[frames.signals["run"].isin(own["run"])]
        last = records.groupby("run")["epoch"].transform("max")
        by_number = records.groupby("run")["layer"].max().nunique() == 1  # else by share, to compare networks of any length
        moments = {AT_START: records["epoch"] == 0, AT_END: (records["epoch"] == last) & (last > 0)}
        lines: dict[str, Line2D] = {}
        for ax, (moment, chosen) in zip(pair, moments.items(), strict=True):
            table = records[chosen].pivot(index="layer" if by_number else "fraction", columns="run", values=row.quantity)
            _panel(ax, table, own)
            if not table.notna().to_numpy().any():
                drawing.say(ax, f"{absent}\n{moment}")
            elif found := row.reference(own, moment):
                lines[found[1]] = ax.axhline(found[0], color="black", linewidth=0.8, linestyle=":", label=found[1])
            drawing.heading(ax, group, f"depth {own['depth'].iloc[0]}", moment)
            ax.set_xlabel(X_LABEL if by_number else X_SHARE)
            if by_number:
                drawing.whole_numbers(ax.xaxis)
        handles = [drawing.arm_handle(arm, own[own["counted"]], marker=False) for arm in selection.arms(own)]
        pair[1].legend(handles=[*handles, *lines.values()], loc="upper left", bbox_to_anchor=(1.0, 1.0))
        pair[0].set(ylabel=row.label)
        pair[0].set_ylim(row.low, row.high)
    return drawing.finish(figure, caption, names)


def _panel(ax: Axis, table: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Draw the median of each arm and its seeds; plain last, whose dashes let a line beneath them show."""
    for arm in selection.arms(runs)[::-1]:
        seeds = _of(table, runs[runs["arm"] == arm])
        for run in seeds:
            ax.plot(seeds.index, seeds[run], color=COLOUR[arm], linewidth=0.6, alpha=0.45)
        middle = _of(seeds, runs[runs["counted"]]).median(axis=1, skipna=False)
        ax.plot(middle.index, middle, color=COLOUR[arm], linestyle=LINE[arm], linewidth=1.8)


def _of(by_run: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The columns that belong to the given runs."""
    return by_run[[run for run in by_run.columns if run in set(runs["run"])]]
