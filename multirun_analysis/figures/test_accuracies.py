"""Test accuracy against depth: mean and 95 % interval over the seeds, every seed a dot, with published values and chance."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing, published, selection
from multirun_analysis.collect import Frames
from multirun_analysis.drawing import COLOUR, GREY, MARKER, Place
from multirun_analysis.inference import accuracy_interval
from multirun_analysis.outcomes import chance_accuracy, ended, is_untrained

TITLE = "Test accuracy against depth"
CAPTION = "mean and 95 % interval over seeds, diverged ones at chance · dot: one seed"
DESCRIPTION = (
    "Test accuracy in percent against depth, plain and residual: the mean, its 95 % interval and a dot for each seed. The "
    "numbers are in the table of results."
)


def draw(frames: Frames) -> Figure:
    """Draw one panel per group."""
    runs = selection.drawable(frames.runs)
    runs = runs[runs["depth"].notna()]
    groups = selection.groups(runs)
    figure, axes = drawing.grid(TITLE, groups, (4.8, 3.3))
    for ax, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        counted = ended(own).dropna(subset="test_acc")
        arms = selection.arms(own)
        side = {"plain": -1, "residual": 1, "network": 0} if len(arms) > 1 else dict.fromkeys(arms, 0)
        place = drawing.depth_axis(ax, own["depth"], own["model"])
        cells = list(zip(counted["depth"], counted["arm"], strict=True))
        dashes: dict[str, Any] = {"plain": (4, 1.5), "residual": "", "network": (1, 1)}
        at = counted.assign(
            mean_x=[place(depth, side[arm]) for depth, arm in cells],
            seed_x=[place(depth, 2.5 * side[arm]) for depth, arm in cells],
        )
        for arm in arms:
            seeds = at[at["arm"] == arm]
            ax.scatter(seeds["seed_x"], seeds["test_acc"], s=11, color=COLOUR[arm], alpha=0.4, linewidths=0, zorder=2)
        for _, stretch in at.groupby(["arm", _gaps_before(at, sorted(own["depth"].unique()))]):
            sns.lineplot(
                stretch, x="mean_x", y="test_acc", hue="arm", style="arm", hue_order=arms, style_order=arms, palette=COLOUR,
                markers=MARKER, markersize=5, dashes=dashes, estimator="mean", errorbar=accuracy_interval,
                err_style="bars", err_kws={"capsize": 2}, seed=0, legend=False, ax=ax,
            )  # fmt: skip
        if not len(at):
            untrained = is_untrained(own).any()
            drawing.say(ax, "untrained networks (0 epochs)" if untrained else "no finished run with a test accuracy")
        handles = [drawing.arm_handle(arm, counted) for arm in arms]
        if published.is_depth_table(own):
            handles += _mark_published(ax, own["depth"], place, side)
        handles += _mark_diverged(ax, own[own["reason"] == "diverged"], place, side)
        chance = chance_accuracy(own).dropna().unique()
        if len(chance) == 1:
            ax.axhline(chance[0], color="#777777", linewidth=0.8, linestyle=":")
            handles.append(Line2D([], [], color="#777777", linewidth=0.8, linestyle=":", label="chance"))
        drawing.heading(ax, group)
        ax.set_ylabel("test accuracy (%)")
        ax.legend(handles=handles, loc="best")
    return drawing.finish(figure, CAPTION, groups)


def _gaps_before(runs: pd.DataFrame, depths: list[int]) -> pd.Series:
    """At how many smaller depths of the study each run's arm has no run to show, where its line breaks."""
    have = {arm: set(own["depth"]) for arm, own in runs.groupby("arm")}
    gaps = [
        sum(other < depth and other not in have[arm] for other in depths)
        for depth, arm in zip(runs["depth"], runs["arm"], strict=True)
    ]
    return pd.Series(gaps, runs.index, dtype="int64")


def _mark_published(ax: Axes, depths: pd.Series, place: Place, side: dict[str, int]) -> list[Line2D]:
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


def _mark_diverged(ax: Axes, runs: pd.DataFrame, place: Place, side: dict[str, int]) -> list[Line2D]:
    """Write the number of diverged runs, which have no accuracy of their own, at the foot of the axis."""
    if not len(runs):
        return []
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.1 * (high - low), high)
    look: dict[str, Any] = {"marker": "v", "markersize": 5, "linestyle": "none"}
    foot = ax.get_xaxis_transform()
    for depth, arm in runs[["depth", "arm"]].drop_duplicates().itertuples(index=False):
        count = ((runs["depth"] == depth) & (runs["arm"] == arm)).sum()
        where = (place(depth, side[arm]), 0.035)
        ax.plot(*where, color=COLOUR[arm], transform=foot, **look)
        ax.annotate(str(count), where, xycoords=foot, xytext=(-5, 0), textcoords="offset points", fontsize=7.5, ha="right",
                    va="center", color=COLOUR[arm])  # fmt: skip
    return [Line2D([], [], color=GREY, label="diverged (number of runs)", **look)]
