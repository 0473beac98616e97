"""The metric over two numbers at once, one map per arm: where networks train, as colour."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from multirun_analysis import axes as axis
from multirun_analysis import drawing, selection, theory
from multirun_analysis.axes import Axes, label, name
from multirun_analysis.frames import Frames
from multirun_analysis.initialisation import BATCH_SIZE, NORM_BIAS, batch_and_bias
from multirun_analysis.outcomes import ACCURACIES, at_chance, ended
from multirun_analysis.wording import capitalized

TITLE = "{metric} over {x} and {y}"
CAPTION = "mean over seeds{diverged} · grey: no run has ended"
COUNTS = " · in brackets: number of runs"  # where it differs from field to field
DESCRIPTION = (
    "A map of the mean metric for each pair of values of two numbers that the study varies, one panel per arm. The numbers are "
    "in the table of all cells."
)
FEWEST = 2  # values of each number
NARROWEST = 6.4  # inches of all panels of a row, below which the title has no room
EDGE = (
    "line: depth 16/ln(lambda(B, b)), near which training of plain networks ends by Yang et al. 2019 (arXiv:1902.08129); "
    "the 16 is their empirical fit (SGD, width 384), lambda at batch size B and bias b an approximation"
)


def draw(frames: Frames) -> Figure | None:
    """Draw a panel per arm, and a row for each value of what else varies; None if the study does not vary two numbers."""
    axes = frames.axes
    numbers = [key for key in axes.facets if axis.is_number(axis.texts(frames.runs, key))]
    if not axes.is_numeric or frames.runs[axes.x].nunique() < FEWEST or not numbers:
        return None
    y = max(numbers, key=lambda key: axis.texts(frames.runs, key).nunique())
    runs = selection.with_arms(ended(frames.runs), axes)
    runs = runs.assign(y=axis.typed(frames.runs, y, numeric=True)[runs.index].astype("float64"))
    runs = runs[runs[axes.metric].notna() & runs["y"].notna() & runs[axes.x].notna()]
    others = [key for key in axes.facets if key != y]
    texts = {key: axis.texts(frames.runs, key)[runs.index] for key in others}
    rest = [", ".join(f"{axis.heading(key)}={texts[key][row]}" for key in others) for row in runs.index]
    runs = runs.assign(rest=rest)
    groups = list(dict.fromkeys(runs["rest"])) or [""]
    arms = selection.arms(runs) or ["plain"]
    xs, ys = axes.sorted(frames.runs[axes.x]), sorted(runs["y"].unique())
    title = TITLE.format(metric=capitalized(name(axes.metric)), x=name(axes.x), y=name(y))
    width = max(0.9 + 0.55 * len(xs), NARROWEST / len(arms))
    figure, panels = drawing.panels(title, groups, len(arms), (width, 0.9 + 0.42 * len(ys)), sharey="row")
    values = runs.groupby(["rest", "arm", axes.x, "y"])[axes.metric].mean()
    scale = Normalize(values.min(), values.max()) if len(values) else None
    colours = "viridis_r" if axes.metric.endswith("_loss") else "viridis"
    mesh, edge_shown, counts_shown = None, False, False
    for row, group in zip(panels, groups, strict=False):
        for ax, arm in zip(row, arms, strict=True):
            own = runs[(runs["rest"] == group) & (runs["arm"] == arm)]
            drawing.heading(ax, *filter(None, [group, drawing.name(arm, axes)]))
            ax.grid(False)
            ax.set(facecolor="#CCCCCC", xlabel=label(axes.x, own["model"].dropna().unique()))
            if scale is None or not len(own):
                drawing.say(ax, "no run has ended")
                continue
            mean = own.pivot_table(index="y", columns=axes.x, values=axes.metric).reindex(index=ys, columns=xs)
            count = own.pivot_table(index="y", columns=axes.x, values=axes.metric, aggfunc="count").reindex_like(mean)
            mesh = ax.pcolormesh(np.ma.masked_invalid(mean.to_numpy(dtype=float)), norm=scale, cmap=colours)
            ax.set_xticks(np.arange(len(xs)) + 0.5, [f"{x:g}" for x in xs])
            ax.set_yticks(np.arange(len(ys)) + 0.5, [f"{value:g}" for value in ys])
            counts_shown |= count.stack().nunique() > 1
            _write(ax, mean, count, scale, dark_is_high=colours == "viridis_r", decimals=1 if axes.metric in ACCURACIES else 3)
            if arm == "plain" and (edge := _edge(own, axes, y, xs, ys)) is not None:
                ax.plot(*edge, color="white", linewidth=3)
                ax.plot(*edge, color="black", linewidth=1.4, label="predicted edge")
                edge_shown = True
        row[0].set_ylabel(label(y))
    if mesh is not None:
        figure.colorbar(mesh, ax=list(panels.flat), label=axis.measured(axes.metric, frames.runs), fraction=0.04, pad=0.02)
    caption = CAPTION.format(diverged=at_chance(axes.metric)) + COUNTS * counts_shown
    return drawing.finish(figure, f"{caption}\n{EDGE}" if edge_shown else caption, groups)


def _write(ax: object, mean: pd.DataFrame, count: pd.DataFrame, scale: Normalize, *, dark_is_high: bool, decimals: int) -> None:
    """Write each mean into its field, and how many runs it is over where these are not the same everywhere."""
    same = count.stack().nunique() == 1
    for i, j in np.argwhere(mean.notna().to_numpy()):
        value, n = mean.iloc[i, j], count.iloc[i, j]
        is_light = (float(scale(value)) > 0.6) != dark_is_high
        text = f"{value:.{decimals}f}"
        field = colormaps["viridis_r" if dark_is_high else "viridis"](scale(value))
        halo = withStroke(linewidth=2.5, foreground=field)  # where the predicted edge runs through the number
        ax.text(j + 0.5, i + 0.5, text if same else f"{text}\n({n:.0f})", ha="center", va="center", fontsize=6.5,  # type: ignore[attr-defined]
                color="black" if is_light else "white", path_effects=[halo])  # fmt: skip


def _edge(runs: pd.DataFrame, axes: Axes, y: str, xs: list[float], ys: list[float]) -> tuple[np.ndarray, np.ndarray] | None:
    """The predicted edge of trainability on a map over depth and another number, from field to field; None on any other map.

    It is for plain MLPs of the usual layers. Batch size and initial BatchNorm bias move it. Of other numbers, such as the
    learning rate, theory knows nothing: there it is one depth.
    """
    if axis.DEPTH not in (axes.x, y) or not axes.is_residual:
        return None
    depths, others, key = (xs, ys, y) if axes.x == axis.DEPTH else (ys, xs, axes.x)
    covered = [batch_and_bias(cell) for _, cell in runs.groupby([axes.x, "y"])]
    if None in covered:
        return None
    sizes, biases = (set(values) for values in zip(*filter(None, covered), strict=True))
    moving = f"config.{key}"
    if (len(sizes) > 1 and moving != BATCH_SIZE) or (len(biases) > 1 and moving != NORM_BIAS):
        return None
    at = np.linspace(0, len(others) - 1, 400)  # evenly over the fields, between which the other number is interpolated
    values = np.interp(at, np.arange(len(others)), others)
    slopes = [
        theory.slope(round(value) if moving == BATCH_SIZE else min(sizes), value if moving == NORM_BIAS else min(biases))
        for value in values
    ]
    depth = np.array([theory.trainable_depth(slope) for slope in slopes])
    inside = (depth >= depths[0]) & (depth <= depths[-1])
    on_map = np.interp(depth[inside], depths, np.arange(len(depths)) + 0.5), at[inside] + 0.5
    across, up = on_map if axes.x == axis.DEPTH else reversed(on_map)
    return (across, up) if len(across) else None
