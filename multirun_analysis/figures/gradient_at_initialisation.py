"""Gradient norm of each layer before any step, with the slope that mean-field theory predicts for plain networks."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multirun_analysis import drawing, selection
from multirun_analysis.drawing import COLOUR, LINE
from multirun_analysis.frames import Frames
from multirun_analysis.initialisation import at_start, fitted_layers, slopes, told

TITLE = "Gradient at initialisation"
CAPTION = "median over seeds, one line per depth"
THEORY = " · theory: slope of the logarithm {told}, level fitted"
DESCRIPTION = (
    "Gradient norm of each layer before any step on a logarithmic axis, plain and residual, and for plain MLPs with "
    "BatchNorm the straight line that mean-field theory predicts. The slopes are in the table of gradient slopes."
)


def draw(frames: Frames) -> Figure:
    """Draw one panel per group. The predicted line has the level of the plain networks."""
    frames = frames.by_depth()
    runs = selection.with_arms(frames.runs[frames.runs["counted"] & frames.runs["depth"].notna()])
    layers = frames.layers[(frames.layers["epoch"] == 0) & frames.layers["run"].isin(runs["run"])]
    runs = runs[runs["run"].isin(layers["run"].unique())]
    groups = selection.groups(runs)
    figure, axes = drawing.grid(TITLE, groups, (5.2, 3.3))
    predictions = slopes(at_start(frames))
    for ax, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        table = layers[layers["run"].isin(own["run"])].pivot(index="layer", columns="run", values="grad_norm")
        foot = drawing.log_axis(ax, table.to_numpy())
        for _, cell in own.groupby(["depth", "arm"]):
            arm = cell["arm"].iloc[0]
            drawing.curve(ax, table[cell["run"]].median(axis=1), foot, COLOUR[arm], LINE[arm], width=1.4)
        rows = predictions[(predictions["group"] == group) & predictions["predicted"].notna()]
        for _, row in rows.iterrows():
            plain = table[own.loc[(own["depth"] == row["depth"]) & (own["arm"] == "plain"), "run"]]
            fitted = np.log(plain.median(axis=1).dropna()).iloc[fitted_layers(len(plain.dropna()))]
            line = np.exp(fitted.mean() + row["predicted"] * (fitted.index - fitted.index.to_numpy().mean()))
            ax.plot(fitted.index, line, color="black", linewidth=0.9)
        handles = [drawing.arm_handle(arm, own, marker=False) for arm in selection.arms(own)]
        if len(rows):
            handles.append(Line2D([], [], color="black", linewidth=0.9, label=f"theory: {_range(rows['predicted'])} per layer"))
        drawing.heading(ax, group)
        ax.set(xlabel="layer (0: first, last: head)", ylabel="gradient norm of the layer (L2)")
        drawing.whole_numbers(ax.xaxis)
        ax.legend(handles=handles, loc="best")
    biases = predictions.loc[predictions["predicted"].notna(), "norm_bias"]
    return drawing.finish(figure, CAPTION + THEORY.format(told=told(biases)) if len(biases) else CAPTION, groups)


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
