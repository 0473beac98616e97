"""Drawings of any recorded quantity: by epoch, by layer, or by both.

`quantity` is a column of `frames.epochs` or, where layers are drawn, of `frames.layers`, and so a key of metrics.jsonl or of
layers.jsonl. Axes and colours are logarithmic. The functions return None if no run has recorded the quantity.

Every seed is a faint line. Means and medians are over counted runs only, and their curves stop where the first of their seeds
stops, since beyond that they would be over fewer seeds. Colours of depths are from viridis, which keeps its order in greyscale.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import axes as axis
from multirun_analysis import drawing, hover, selection
from multirun_analysis.drawing import COLOUR, GREY, LINE
from multirun_analysis.frames import Frames


def by_epoch(
    frames: Frames, quantity: str, title: str, caption: str, label: str, middle: Literal["mean", "median"]
) -> Figure | None:
    """A quantity against the epoch, plain beside residual or one other arm beside the other, one colour per value of x.

    Args:
        frames: the frames of the runs.
        quantity: column of `frames.epochs`.
        title: title of the figure.
        caption: text beneath it.
        label: label of the y axis.
        middle: how the thick line summarizes the seeds.
    """
    if quantity not in frames.epochs:
        return None
    axes = frames.axes
    runs = selection.drawable(frames.runs, axes)
    runs = runs[runs["run"].isin(frames.epochs["run"])]
    groups = selection.groups(runs)
    arms = selection.arms(runs) or ["plain"]
    values = axes.sorted(runs[axes.x])
    palette = (
        sns.color_palette("viridis_r", len(values) + 1)[1:] if axes.is_numeric else sns.color_palette("colorblind", len(values))
    )
    colours = dict(zip(values, palette, strict=True))
    figure, panels = drawing.panels(title, groups, len(arms), (3.9, 3.0), sharey="row")
    told = list(dict.fromkeys(["group", "run", axes.x, "arm", "seed", "path", "counted", "reason"]))
    for row, group in zip(panels, groups, strict=False):
        own = runs.loc[runs["group"] == group, told]  # cells of few columns are fast
        table = frames.epochs[frames.epochs["run"].isin(own["run"])].pivot(index="epoch", columns="run", values=quantity)
        foot = drawing.log_axis(row[0], table.to_numpy())
        for ax, arm in zip(row, arms, strict=True):
            for value, cell in own[own["arm"] == arm].groupby(axes.x, dropna=False):
                colour = colours.get(value, "#777777")
                drawing.seed_curves(ax, table[cell["run"]], foot, colour)
                _tell(ax, table[cell["run"]], hover.runs(cell, axes), label)
                counted = table[cell.loc[cell["counted"], "run"]]
                drawing.curve(ax, getattr(counted, middle)(axis=1, skipna=False), foot, colour, LINE[arm])
                for run in cell.loc[cell["reason"] == "diverged", "run"]:
                    _mark_end(ax, table[run].dropna(), foot, colour)
            drawing.heading(ax, group, drawing.name(arm, axes))
            ax.set_xlabel("epoch")
            drawing.whole_numbers(ax.xaxis)
        if not table.notna().to_numpy().any():
            drawing.say(row[0], "nothing recorded")
        row[0].set_ylabel(label)
        handles = [
            Line2D([], [], color=colours[value], linewidth=1.8, label=value if isinstance(value, str) else f"{value:g}")
            for value in values
            if value in set(own[axes.x])
        ]
        if axes.is_numeric:  # of very many, some: the colours between them follow
            handles = handles[:: 1 + len(handles) // 23]
        if (own["reason"] == "diverged").any():
            handles.append(Line2D([], [], color=GREY, marker="x", linestyle="none", label="diverged"))
        columns = 1 + len(handles) // 11
        row[-1].legend(
            handles=handles,
            title=axis.name(axes.x),
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            ncols=columns,
        )
    return drawing.finish(figure, caption, groups)


def by_layer(frames: Frames, quantity: str, title: str, caption: str, label: str, absent: str) -> Figure | None:
    """A quantity of each layer at the greatest depth, plain against residual, at initialisation and in the last epoch.

    Args:
        frames: the frames of the runs.
        quantity: column of `frames.layers`.
        title: title of the figure.
        caption: text beneath it.
        label: label of the y axis.
        absent: text of a panel without data.
    """
    if quantity not in frames.layers:
        return None
    runs = selection.deepest(frames.by_depth())
    groups = selection.groups(runs)
    figure, axes = drawing.panels(title, groups, 2, (3.9, 3.0), sharey="row")
    for row, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        arms = selection.arms(own)
        layers = frames.layers[frames.layers["run"].isin(own["run"])]
        by_number = layers.groupby("run")["layer"].max().nunique() == 1  # else by fraction, to compare networks of any length
        last = layers.groupby("run")["epoch"].transform("max")
        moments = {"at initialisation": layers["epoch"] == 0, "last epoch": (layers["epoch"] == last) & (last > 0)}
        position = "layer" if by_number else "fraction"
        tables = {name: layers[rows].pivot(index=position, columns="run", values=quantity) for name, rows in moments.items()}
        foot = drawing.log_axis(row[0], np.concatenate([table.to_numpy().ravel() for table in tables.values()]))
        for ax, (moment, table) in zip(row, tables.items(), strict=True):
            for arm in arms:
                seeds = _of(table, own[own["arm"] == arm])
                drawing.seed_curves(ax, seeds, foot, COLOUR[arm])
                middle = _of(seeds, own[own["counted"]]).median(axis=1, skipna=False)
                drawing.curve(ax, middle, foot, COLOUR[arm], LINE[arm])
            if not table.notna().to_numpy().any():
                drawing.say(ax, f"{absent}\n{moment}")
            drawing.heading(ax, group, f"depth {own['depth'].iloc[0]}", moment)
            ax.set_xlabel("layer (0: first, last: head)" if by_number else "layer position (0: first, 1: head)")
            if by_number:
                drawing.whole_numbers(ax.xaxis)
        row[0].set_ylabel(label)
        row[1].legend(handles=[drawing.arm_handle(arm, own[own["counted"]], marker=False) for arm in arms])
    return drawing.finish(figure, caption, groups)


def by_layer_and_epoch(frames: Frames, quantity: str, title: str, caption: str, label: str, absent: str) -> Figure | None:
    """A quantity as colour, by layer and epoch: one row per depth, plain beside residual on one colour scale.

    Args:
        frames: the frames of the runs.
        quantity: column of `frames.layers`.
        title: title of the figure.
        caption: text beneath it.
        label: label of the colour bar.
        absent: text of a panel without data.
    """
    if quantity not in frames.layers:
        return None
    runs = selection.drawable(frames.by_depth().runs)
    runs = runs[runs["counted"] & runs["depth"].notna() & runs["run"].isin(frames.layers["run"].unique())]
    rows = list(runs[["group", "depth"]].drop_duplicates().itertuples(index=False, name=None))
    names = [f"{group}, depth {depth}" for group, depth in rows]
    arms = selection.arms(runs) or ["plain"]
    figure, axes = drawing.panels(title, names, len(arms), (3.9, 2.6))
    drawn = set(rows[: drawing.MOST_GROUPS])
    shown = pd.Series([row in drawn for row in zip(runs["group"], runs["depth"], strict=True)], runs.index, dtype="bool")
    layers = frames.layers[frames.layers["run"].isin(runs.loc[shown, "run"])]
    tables: dict[tuple[Any, ...], pd.DataFrame] = {}
    for key, own in runs[shown].groupby(["group", "depth", "arm"], sort=False):
        cell = layers[layers["run"].isin(own["run"])]
        tables[key] = cell.groupby(["layer", "epoch"])[quantity].median().unstack("epoch")
    values = np.concatenate([table.to_numpy().ravel() for table in tables.values()] or [np.empty(0)])
    positive = values[np.isfinite(values) & (values > 0)]
    scale = LogNorm(positive.min(), max(positive.max(), positive.min() * 1.001)) if len(positive) else None
    mesh = None
    for panels, (group, depth), name in zip(axes, rows, names, strict=False):
        for ax, arm in zip(panels, arms, strict=True):
            table = tables.get((group, depth, arm), pd.DataFrame())
            drawing.heading(ax, name, arm)
            ax.set(facecolor="#CCCCCC", xlabel="epoch (0: at initialisation)")
            ax.grid(False)
            drawing.whole_numbers(ax.xaxis)
            drawing.whole_numbers(ax.yaxis)
            if scale is None or table.empty:
                drawing.say(ax, absent)
                continue
            shown = np.ma.masked_where(~(table.to_numpy() > 0), table.to_numpy())
            epochs, layer = table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float)
            mesh = ax.pcolormesh(epochs, layer, shown, norm=scale, cmap="viridis", shading="nearest", rasterized=True)
            ax.set_ylabel("layer (0: first, last: head)")
    if mesh is not None:
        figure.colorbar(mesh, ax=list(axes.flat), label=label, fraction=0.04, pad=0.02, aspect=40)
    return drawing.finish(figure, caption, names)


def _tell(ax: Axes, by_run: pd.DataFrame, runs: list[str], label: str) -> None:
    """Say what the curves of these runs are, epoch by epoch."""
    what = label.partition(" (")[0]
    epochs = by_run.index.to_numpy()
    for values, run in zip(by_run.to_numpy(dtype=float).T, runs, strict=True):
        known = ~np.isnan(values)
        points = list(zip(epochs[known].tolist(), values[known].tolist(), strict=True))
        texts = [f"{what} {value:.4g} · epoch {epoch} · {run}" for epoch, value in points]
        hover.tell(ax, epochs[known], values[known], texts, is_curve=True)


def _of(by_run: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The columns that belong to the given runs."""
    return by_run[[run for run in by_run.columns if run in set(runs["run"])]]


def _mark_end(ax: Axes, values: pd.Series, foot: float, colour: object) -> None:
    """Put a cross on the last number of a diverged run."""
    if len(values):
        ax.plot(values.index[-1], max(values.iloc[-1], foot), marker="x", color=colour, markersize=5, clip_on=False)
