"""Gradients at initialisation, and after the first steps, against the mean-field prediction (`theory`).

The slope is the change of the natural logarithm of the gradient norm of a layer's weight from one layer to the next, counted
from the input: a straight line through the layers from a tenth of the depth (at least the fifth) to the last hidden one. The
layers before are left out, since the prediction holds past the first few and where the widths are equal.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from multirun_analysis import drawing, theory
from multirun_analysis.collect import Frames
from multirun_analysis.drawing import COLOUR, LINE
from multirun_analysis.statistics import t_interval

FIRST_LAYER = 4
FEWEST_LAYERS = 10
BATCH_SIZE = "config.trainer.batch_size"
WIDTHS = "config.model.widths"
COLUMNS = ["group", "depth", "residual", "epoch", "n", "slope", "sd", "low", "high", "predicted", "ratio"]


def slopes(frames: Frames) -> pd.DataFrame:
    """One row a group, depth, arm and recorded epoch, 0 being at initialisation.

    n counts seeds. `slope`, `sd`, `low` and `high` are the mean, the standard deviation and the 95 % t-interval over seeds, per
    layer. `predicted` is -ln(lambda(B))/2 for plain MLPs at initialisation, and missing elsewhere: the theory says nothing of
    skips, convolutions and training, nor of widths that go on changing and of batches of less than four. `ratio` is measured
    over predicted. Nets with fewer than ten layers to fit have no row.
    """
    runs = frames.runs[frames.runs["counted"]]
    layers = frames.layers[frames.layers["run"].isin(runs["run"])]
    each = _slope_of_each(layers)
    if each.empty:
        return pd.DataFrame(columns=COLUMNS)
    table = each.merge(runs[["run", "group", "depth", "residual", "model", *_present(runs)]], on="run")
    rows = []
    for (group, depth, residual, epoch), cell in table.groupby(["group", "depth", "residual", "epoch"], dropna=False):
        values = cell["slope"].to_numpy(dtype=float)
        low, high = t_interval(values)
        predicted = np.nan
        if epoch == 0 and residual is not pd.NA and not residual and _is_covered(cell):
            predicted = theory.slope(int(cell[BATCH_SIZE].iloc[0]))
        rows.append({
            "group": group, "depth": depth, "residual": residual, "epoch": epoch, "n": len(values), "slope": values.mean(),
            "sd": values.std(ddof=1) if len(values) > 1 else np.nan, "low": low, "high": high,
            "predicted": predicted, "ratio": values.mean() / predicted,
        })  # fmt: skip
    order = {group: position for position, group in enumerate(frames.runs["group"].unique())}
    slopes = pd.DataFrame(rows, columns=COLUMNS).round(6)  # beyond that the layers' CSV has no digits
    return slopes.sort_values("group", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def gradient_at_initialisation(frames: Frames) -> Figure:
    """Gradient norm against layer before any step, a panel a group, with the predicted slope through the plain nets' level."""
    runs = frames.runs[frames.runs["counted"] & frames.runs["depth"].notna()]
    layers = frames.layers[(frames.layers["epoch"] == 0) & frames.layers["run"].isin(runs["run"])]
    runs = runs[runs["run"].isin(layers["run"].unique())]
    groups = list(dict.fromkeys(runs["group"]))
    figure, axes = drawing.grid("Gradient at initialisation against theory", groups, (5.2, 3.3))
    predictions = slopes(frames)
    for ax, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        table = layers[layers["run"].isin(own["run"])].pivot(index="layer", columns="run", values="grad_norm")
        foot = drawing.log_axis(ax, table.to_numpy())
        for (_, residual), cell in own.groupby(["depth", "residual"], dropna=False):
            arm = "net" if pd.isna(residual) else "residual" if residual else "plain"
            drawing.curve(ax, table[cell["run"]].median(axis=1), foot, COLOUR[arm], LINE[arm], width=1.4)
        rows = predictions[(predictions["group"] == group) & predictions["predicted"].notna()]
        for _, row in rows.iterrows():
            plain = table[own.loc[(own["depth"] == row["depth"]) & ~own["residual"].astype(bool), "run"]]
            fitted = np.log(plain.median(axis=1).dropna()).iloc[_fitted(len(plain.dropna()))]
            line = np.exp(fitted.mean() + row["predicted"] * (fitted.index - fitted.index.to_numpy().mean()))
            ax.plot(fitted.index, line, color="black", linewidth=0.9)
        arms = [arm for arm, flag in (("plain", False), ("residual", True)) if flag in set(own["residual"].dropna())]
        handles: list[Any] = [drawing.arm_handle(arm, own.assign(arm=arm)[own["residual"] == (arm == "residual")], marker=False)
                              for arm in arms]  # fmt: skip
        if len(rows):
            handles.append(Line2D([], [], color="black", linewidth=0.9, label=f"theory: {_range(rows['predicted'])} per layer"))
        drawing.heading(ax, group)
        ax.set(xlabel="layer (0: first, last: head)", ylabel="gradient norm of the layer (L2)")
        ax.legend(handles=handles, loc="best")
    return drawing.finish(figure, "median over seeds, a line a depth · theory: slope of the logarithm, level fitted", groups)


def gradient_slope_by_batch_size(frames: Frames) -> Figure | None:
    """The slopes at initialisation against batch size beside the predicted curve; None if there are not two batch sizes.

    A line is a set of plain cells that differ in the batch size alone: a width, say.
    """
    table = slopes(frames)
    table = table[table["predicted"].notna()]
    sizes = dict(zip(frames.runs["group"], frames.runs.get(BATCH_SIZE, []), strict=False))
    table = table.assign(batch_size=[float(sizes.get(group, np.nan)) for group in table["group"]])
    if table["batch_size"].nunique() < 2:
        return None
    names = table["group"].str.replace(r"(, )?trainer\.batch_size=\d+", "", regex=True).str.removeprefix(", ")
    both = zip(names, table["depth"], strict=True)
    table = table.assign(line=[f"{name}, depth {depth}".removeprefix(", ") for name, depth in both])
    lines = list(dict.fromkeys(table["line"]))
    figure, axes = drawing.panels("Gradient slope at initialisation against theory", ["all"], 1, (5.6, 3.8))
    ax = axes[0, 0]
    span = np.geomspace(table["batch_size"].min(), table["batch_size"].max(), 200).round().astype(int)
    ax.plot(span, [theory.slope(int(size)) for size in span], color="black", linewidth=0.9, label="theory (infinite width)")
    for number, (name, colour) in enumerate(zip(lines, sns.color_palette("colorblind", len(lines)), strict=True)):
        points = table[table["line"] == name].sort_values("batch_size")
        beside = points["batch_size"] * 1.03 ** (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        errors = np.vstack([points["slope"] - points["low"], points["high"] - points["slope"]])
        ax.errorbar(beside, points["slope"], errors, color=colour, marker="o", markersize=3.5, linewidth=0, elinewidth=1.2,
                    capsize=2, label=f"{name} (n = {_range_of_counts(points['n'])})")  # fmt: skip
    sizes_there = sorted(table["batch_size"].unique())
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes_there, [f"{size:g}" for size in sizes_there])
    ax.set(xlabel="batch size (images)", ylabel="change of ln(gradient norm) per layer")
    ax.legend(loc="lower right")
    return drawing.finish(figure, "plain nets before any step · mean over seeds with its 95 % interval", ["all"])


def _slope_of_each(layers: pd.DataFrame) -> pd.DataFrame:
    """run, epoch and least-squares slope, for the records with enough positive gradients."""
    head = layers.groupby("run")["layer"].transform("max")
    fitted = layers[(layers["layer"] >= (head // 10).clip(lower=FIRST_LAYER)) & (layers["layer"] < head)]
    norm, x = fitted["grad_norm"].astype(float), fitted["layer"].astype(float)
    y = np.log(norm.where(norm > 0))
    sums = pd.DataFrame({"run": fitted["run"], "epoch": fitted["epoch"], "n": 1.0, "x": x, "y": y, "xx": x * x, "xy": x * y})
    # A record with a gradient that is zero or missing has no slope: its NaN must not be passed over.
    whole = sums.groupby(["run", "epoch"], sort=False)["y"].transform("count") == sums.groupby(["run", "epoch"])["n"].transform(
        "sum"
    )
    total = sums[whole].groupby(["run", "epoch"], sort=False, as_index=False).sum()
    total = total[total["n"] >= FEWEST_LAYERS]
    slope = (total["n"] * total["xy"] - total["x"] * total["y"]) / (total["n"] * total["xx"] - total["x"] ** 2)
    return total[["run", "epoch"]].assign(slope=slope)


def _fitted(count: int) -> slice:
    """The layers of `count`, the head included, through which the line goes."""
    return slice(max(FIRST_LAYER, (count - 1) // 10), count - 1)


def _present(runs: pd.DataFrame) -> list[str]:
    return [column for column in (BATCH_SIZE, WIDTHS) if column in runs]


def _is_covered(cell: pd.DataFrame) -> bool:
    """Whether the theory speaks of these runs: MLPs, equal widths where the line is fitted, four images per batch or more."""
    if set(cell["model"]) != {"mlp"} or BATCH_SIZE not in cell or int(cell[BATCH_SIZE].iloc[0]) < theory.SMALLEST_BATCH:
        return False
    widths = json.loads(cell[WIDTHS].iloc[0]) if WIDTHS in cell and pd.notna(cell[WIDTHS].iloc[0]) else None
    return widths is None or len(set(widths[_fitted(len(widths) + 1)])) == 1


def _range_of_counts(counts: pd.Series) -> str:
    return f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
