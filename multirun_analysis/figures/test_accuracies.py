"""Accuracy or loss against x: mean and 95 % interval over seeds, every seed a dot, with published values and chance."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing, hover, published, selection
from multirun_analysis.axes import Axes, measured, name
from multirun_analysis.drawing import COLOUR, GREY, MARKER, Place
from multirun_analysis.frames import Frames
from multirun_analysis.intervals import accuracy_interval, t_interval
from multirun_analysis.outcomes import ACCURACIES, at_chance, chance_accuracy, ended, is_untrained
from multirun_analysis.wording import capitalized
from run_contract import is_further

TITLE = "{metric} against {x}"
CAPTION = "mean and 95 % interval over seeds{diverged} · dot: one seed"
ERRORS = "error: 100 % − accuracy"
DESCRIPTION = (
    "Test accuracy in percent against depth, or against what else the study varies, one line per arm: the mean, its 95 % "
    "interval and a dot for each seed; beside it the same as an error, on a logarithmic axis. The numbers are in the table of "
    "results."
)
DASHES: dict[str, Any] = {"plain": (4, 1.5), "residual": "", "network": (1, 1)}


def draw(frames: Frames) -> Figure:
    """Draw a row per group: the metric, and for an accuracy the error, which tells 97 from 99 % apart."""
    axes = frames.axes
    runs = selection.drawable(frames.runs, axes)
    runs = runs[runs[axes.x].notna()]
    groups = selection.groups(runs)
    is_accuracy = axes.metric in ACCURACIES
    what = name(axes.metric)
    title = TITLE.format(metric=capitalized(what), x=name(axes.x))
    figure, panels = drawing.panels(title, groups, 1 + is_accuracy, (4.8, 3.3), sharey="col")
    for row, group in zip(panels, groups, strict=False):
        own = runs[runs["group"] == group]
        handles, place, side = _panel(row[0], own, axes, axes.metric)
        drawing.heading(row[0], group)
        row[0].set_ylabel(measured(axes.metric, runs))
        if axes.metric == "test_acc" and axes.is_depth and axes.is_residual and published.is_depth_table(own):
            handles += _mark_published(row[0], own["depth"], place, side)
        handles += _mark_diverged(row[0], own[own["reason"] == "diverged"], axes, place, side)
        chance = chance_accuracy(own).dropna().unique()
        if is_accuracy and len(chance) == 1:
            row[0].axhline(chance[0], color="#777777", linewidth=0.8, linestyle=":")
            handles.append(Line2D([], [], color="#777777", linewidth=0.8, linestyle=":", label="chance"))
        row[0].legend(handles=handles, loc="best")
        if is_accuracy:
            _panel(row[1], own, axes, "error")
            drawing.heading(row[1], group)
            row[1].set_ylabel(f"{what.replace('accuracy', 'error')} (%)")
            drawing.log_axis(row[1], 100 - _range(runs, axes))
        elif not is_further(axes.metric):  # a loss; other metrics may be below 0
            drawing.log_axis(row[0], _range(runs, axes))
    caption = CAPTION.format(diverged=at_chance(axes.metric))
    return drawing.finish(figure, f"{caption} · {ERRORS}" if is_accuracy else caption, groups)


def _panel(ax: Axis, runs: pd.DataFrame, axes: Axes, quantity: str) -> tuple[list[Line2D], Place, dict[str, int]]:
    """Draw a group's means, intervals and dots; returns the legend's entries, and where points stand."""
    counted = ended(runs)
    counted = counted.assign(error=100 - counted[axes.metric]).dropna(subset=axes.metric)
    arms = selection.arms(runs)
    side = {"plain": -1, "residual": 1, "network": 0} if len(arms) > 1 else dict.fromkeys(arms, 0)
    place = drawing.x_axis(ax, axes, runs)
    cells = list(zip(counted[axes.x], counted["arm"], strict=True))
    at = counted.assign(
        mean_x=[place(x, side[arm]) for x, arm in cells], seed_x=[place(x, 2.5 * side[arm]) for x, arm in cells]
    )
    for arm in arms:
        seeds = at[at["arm"] == arm]
        ax.scatter(seeds["seed_x"], seeds[quantity], s=11, color=COLOUR[arm], alpha=0.4, linewidths=0, zorder=2)
        hover.tell(ax, seeds["seed_x"], seeds[quantity], _values(seeds, axes))
    for _, stretch in at.groupby(["arm", _gaps_before(at, axes, axes.sorted(runs[axes.x]))]):
        sns.lineplot(
            stretch, x="mean_x", y=quantity, hue="arm", style="arm", hue_order=arms, style_order=arms, palette=COLOUR,
            markers=MARKER, markersize=5, dashes=DASHES if axes.is_numeric else False, estimator="mean",
            errorbar=accuracy_interval if axes.metric in ACCURACIES else t_interval, err_style="bars",
            err_kws={"capsize": 2}, linestyle="-" if axes.is_numeric else "none", seed=0, legend=False, ax=ax,
        )  # fmt: skip
    if not len(at):
        untrained = is_untrained(runs).any()
        words = f"no finished run with a {name(axes.metric)}"
        drawing.say(ax, "untrained networks (0 epochs)" if untrained else words, keep_ticks=True)  # of diverged runs
    return [drawing.arm_handle(arm, counted, axes) for arm in arms], place, side


def _values(runs: pd.DataFrame, axes: Axes) -> list[str]:
    """What the dot of each run says."""
    unit, decimals = (" %", 2) if axes.metric in ACCURACIES else ("", 4)
    return [
        f"{name(axes.metric)} {value:.{decimals}f}{unit}{'' if survived else ' (diverged: chance)'} · {run}"
        for value, survived, run in zip(runs[axes.metric], runs["survived"], hover.runs(runs, axes), strict=True)
    ]


def _gaps_before(runs: pd.DataFrame, axes: Axes, values: list[Any]) -> pd.Series:
    """At how many values of x before its own each run's arm has no run to show: there its line breaks."""
    have = {arm: set(own[axes.x]) for arm, own in runs.groupby("arm")}
    gaps: dict[Any, int] = {}
    for arm, there in have.items():
        absent = 0
        for value in values:
            gaps[arm, value] = absent
            absent += value not in there
    before = [gaps[key] for key in zip(runs["arm"], runs[axes.x], strict=True)]
    return pd.Series(before, runs.index, dtype="int64")


def _range(runs: pd.DataFrame, axes: Axes) -> np.ndarray:
    """All values of the metric, and the ends of all intervals."""
    counted = ended(runs).dropna(subset=axes.metric)
    interval = accuracy_interval if axes.metric in ACCURACIES else t_interval
    ends = [interval(cell[axes.metric]) for _, cell in counted.groupby(axes.cell, dropna=False)]
    return np.concatenate([counted[axes.metric].to_numpy(dtype=float), np.ravel(ends)])


def _mark_published(ax: Axis, depths: pd.Series, place: Place, side: dict[str, int]) -> list[Line2D]:
    """Mark the published accuracies at these depths, and return their legend entries."""
    theirs = published.depth_table()
    theirs = theirs[theirs["depth"].isin(depths.dropna().unique())]
    handles = []
    for residual, arm, glyph in ((False, "plain", "x"), (True, "residual", "+")):
        rows = theirs[theirs["residual"] == residual]
        look: dict[str, Any] = {"color": "black", "marker": glyph, "linestyle": "none", "markersize": 6, "markeredgewidth": 1.1}
        ax.plot([place(depth, 4 * side.get(arm, 0)) for depth in rows["depth"]], rows["test_acc"], zorder=4, **look)
        handles.append(Line2D([], [], label=f"published {arm} (n = 1)", **look))
    return handles


def _mark_diverged(ax: Axis, runs: pd.DataFrame, axes: Axes, place: Place, side: dict[str, int]) -> list[Line2D]:
    """Write the number of diverged runs, which have no accuracy of their own, at the foot of the axis."""
    if not len(runs):
        return []
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.1 * (high - low), high)
    look: dict[str, Any] = {"marker": "v", "markersize": 5, "linestyle": "none"}
    foot = ax.get_xaxis_transform()
    for x, arm in runs[[axes.x, "arm"]].drop_duplicates().itertuples(index=False):
        count = ((runs[axes.x] == x) & (runs["arm"] == arm)).sum()
        where = (place(x, side[arm]), 0.035)
        ax.plot(*where, color=COLOUR[arm], transform=foot, **look)
        ax.annotate(str(count), where, xycoords=foot, xytext=(-5, 0), textcoords="offset points", fontsize=7.5, ha="right",
                    va="center", color=COLOUR[arm])  # fmt: skip
    return [Line2D([], [], color=GREY, label="diverged (number of runs)", **look)]
