"""The figures, from the frames alone. Look and parts are in `drawing`.

Every seed is a faint line or dot. Means and medians are over counted runs only, and a mean curve stops where the first of
its seeds stops: beyond that it would be of other seeds. Depth runs through viridis, which keeps its order in greyscale.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from multirun_analysis import drawing, published
from multirun_analysis.collect import Frames
from multirun_analysis.drawing import COLOUR, LINE, MARKER, Place
from multirun_analysis.initialisation import gradient_at_initialisation, gradient_slope_by_batch_size
from multirun_analysis.statistics import chance_accuracy, t_interval

GREY = "#333333"


def test_accuracies(frames: Frames) -> Figure:
    """Test accuracy against depth: mean and 95 % t-interval over seeds, each seed a dot, published values and chance marked."""
    runs = _drawable(frames.runs)
    runs = runs[runs["depth"].notna()]
    groups = _groups(runs)
    figure, axes = drawing.grid("Test accuracy against depth", groups, (4.8, 3.3))
    for ax, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        counted = own[own["counted"] & own["test_acc"].notna()]
        arms = [arm for arm in COLOUR if arm in set(own["arm"])]
        side = {"plain": -1, "residual": 1, "net": 0} if len(arms) > 1 else dict.fromkeys(arms, 0)
        place = drawing.depth_axis(ax, own["depth"], own["model"])
        cells = list(zip(counted["depth"], counted["arm"], strict=True))
        dashes: dict[str, Any] = {"plain": (4, 1.5), "residual": "", "net": (1, 1)}
        at = counted.assign(
            mean_x=[place(depth, side[arm]) for depth, arm in cells],
            seed_x=[place(depth, 2.5 * side[arm]) for depth, arm in cells],
        )
        for arm in arms:
            seeds = at[at["arm"] == arm]
            ax.scatter(seeds["seed_x"], seeds["test_acc"], s=11, color=COLOUR[arm], alpha=0.4, linewidths=0, zorder=2)
        if len(at):
            sns.lineplot(
                at, x="mean_x", y="test_acc", hue="arm", style="arm", hue_order=arms, style_order=arms, palette=COLOUR,
                markers=MARKER, markersize=5, dashes=dashes, estimator="mean", errorbar=t_interval,
                err_style="bars", err_kws={"capsize": 2}, seed=0, legend=False, ax=ax,
            )  # fmt: skip
        else:
            drawing.say(ax, "no finished run with a test accuracy")
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
    return drawing.finish(
        figure,
        "line: mean and 95 % t-interval over seeds · dot: one seed · what belongs to a depth stands side by side",
        groups,
    )


def validation_losses(frames: Frames) -> Figure:
    """Validation loss over epochs, plain beside residual, one colour a depth."""
    return _training_curves(frames, "val_loss", "validation loss (nats)", "Validation loss during training", "mean")


def gradient_magnitudes(frames: Frames) -> Figure:
    """Gradient norm, averaged over the parameter tensors of a net, by epoch; plain beside residual, one colour a depth."""
    label = "gradient norm (L2),\nmean over parameter tensors"
    return _training_curves(frames, "grad_norm", label, "Gradient magnitude during training", "median")


def layer_gradient_comparison(frames: Frames) -> Figure:
    """Gradient norm by layer, plain against residual at the deepest cells, at initialisation and in the last epoch."""
    runs = _deepest(frames)
    groups = _groups(runs)
    figure, axes = drawing.panels("Gradient by layer at the greatest depth", groups, 2, (3.9, 3.0), sharey="row")
    for row, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        arms = [arm for arm in COLOUR if arm in set(own["arm"])]
        layers = frames.layers[frames.layers["run"].isin(own["run"])]
        by_number = layers.groupby("run")["layer"].max().nunique() == 1  # else by fraction, which compares nets of any length
        last = layers.groupby("run")["epoch"].transform("max")
        moments = {"at initialisation": layers["epoch"] == 0, "last epoch": (layers["epoch"] == last) & (last > 0)}
        position = "layer" if by_number else "fraction"
        tables = {name: layers[rows].pivot(index=position, columns="run", values="grad_norm") for name, rows in moments.items()}
        foot = drawing.log_axis(row[0], np.concatenate([table.to_numpy().ravel() for table in tables.values()]))
        for ax, (moment, table) in zip(row, tables.items(), strict=True):
            for arm in arms:
                seeds = _of(table, own[own["arm"] == arm])
                drawing.seed_curves(ax, seeds, foot, COLOUR[arm])
                middle = _of(seeds, own[own["counted"]]).median(axis=1, skipna=False)
                drawing.curve(ax, middle, foot, COLOUR[arm], LINE[arm])
            if not table.notna().to_numpy().any():
                drawing.say(ax, f"no layer gradients recorded\n{moment}")
            drawing.heading(ax, group, f"depth {own['depth'].iloc[0]}", moment)
            ax.set_xlabel("layer (0: first, last: head)" if by_number else "layer position (0: first, 1: head)")
        row[0].set_ylabel("gradient norm of the layer (L2)")
        row[1].legend(handles=[drawing.arm_handle(arm, own[own["counted"]], marker=False) for arm in arms])
    caption = "thick: median over seeds · thin: one seed · last epoch: the last that a run reached, mean over its sampled steps"
    return drawing.finish(figure, caption, groups)


def gradient_flow(frames: Frames) -> Figure:
    """Gradient norm by layer and epoch, a row a depth, plain beside residual on one colour scale."""
    runs = _drawable(frames.runs)
    runs = runs[runs["counted"] & runs["depth"].notna() & runs["run"].isin(frames.layers["run"].unique())]
    rows = list(runs[["group", "depth"]].drop_duplicates().itertuples(index=False, name=None))
    names = [f"{group}, depth {depth}" for group, depth in rows]
    arms = _arms(runs)
    figure, axes = drawing.panels("Gradient by layer and epoch", names, len(arms), (3.9, 2.6))
    tables: dict[tuple[Any, ...], pd.DataFrame] = {}
    for (group, depth, arm), own in runs.groupby(["group", "depth", "arm"], sort=False):
        layers = frames.layers[frames.layers["run"].isin(own["run"])]
        tables[group, depth, arm] = layers.groupby(["layer", "epoch"])["grad_norm"].median().unstack("epoch")
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
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if scale is None or table.empty:
                drawing.say(ax, "no layer gradients recorded")
                continue
            shown = np.ma.masked_where(~(table.to_numpy() > 0), table.to_numpy())
            epochs, layer = table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float)
            mesh = ax.pcolormesh(epochs, layer, shown, norm=scale, cmap="viridis", shading="nearest", rasterized=True)
            ax.set_ylabel("layer (0: first, last: head)")
    if mesh is not None:
        figure.colorbar(mesh, ax=list(axes.flat), label="gradient norm of the layer (L2)", fraction=0.04, pad=0.02, aspect=40)
    return drawing.finish(figure, "median over the seeds that go so far · grey: zero, or not recorded", names)


# None: these runs have nothing that the figure would show.
FIGURES: dict[str, Callable[[Frames], Figure | None]] = {
    "test_accuracies": test_accuracies,
    "validation_losses": validation_losses,
    "gradient_magnitudes": gradient_magnitudes,
    "layer_gradient_comparison": layer_gradient_comparison,
    "gradient_at_initialisation": gradient_at_initialisation,
    "gradient_slope_by_batch_size": gradient_slope_by_batch_size,
    "gradient_flow": gradient_flow,
}


def _training_curves(frames: Frames, column: str, label: str, title: str, middle: str) -> Figure:
    """One quantity over epochs on a logarithmic axis; `middle` is how seeds are summed up, "mean" or "median"."""
    runs = _drawable(frames.runs)
    runs = runs[runs["run"].isin(frames.epochs["run"])]
    groups = _groups(runs)
    arms = _arms(runs)
    depths = sorted(runs["depth"].dropna().unique())
    colours = dict(zip(depths, sns.color_palette("viridis_r", len(depths) + 1)[1:], strict=True))
    figure, axes = drawing.panels(title, groups, len(arms), (3.9, 3.0), sharey="row")
    for row, group in zip(axes, groups, strict=False):
        own = runs[runs["group"] == group]
        table = frames.epochs[frames.epochs["run"].isin(own["run"])].pivot(index="epoch", columns="run", values=column)
        foot = drawing.log_axis(row[0], table.to_numpy())
        for ax, arm in zip(row, arms, strict=True):
            for depth, cell in own[own["arm"] == arm].groupby("depth", dropna=False):
                colour = colours.get(depth, "#777777")
                drawing.seed_curves(ax, table[cell["run"]], foot, colour)
                counted = table[cell.loc[cell["counted"], "run"]]
                drawing.curve(ax, getattr(counted, middle)(axis=1, skipna=False), foot, colour, LINE[arm])
                for run in cell.loc[cell["reason"] == "diverged", "run"]:
                    _mark_end(ax, table[run].dropna(), foot, colour)
            drawing.heading(ax, group, arm)
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
        if not table.notna().to_numpy().any():
            drawing.say(row[0], "nothing recorded")
        row[0].set_ylabel(label)
        handles = [
            Line2D([], [], color=colours[depth], linewidth=1.8, label=str(depth))
            for depth in depths
            if depth in set(own["depth"])
        ]
        if (own["reason"] == "diverged").any():
            handles.append(Line2D([], [], color=GREY, marker="x", linestyle="none", label="diverged"))
        columns = 1 + len(handles) // 11
        row[-1].legend(handles=handles, title="depth", loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns)
    return drawing.finish(figure, f"thick: {middle} over seeds, as far as all of them go · thin: one seed", groups)


def _drawable(runs: pd.DataFrame) -> pd.DataFrame:
    """Counted runs, and those which only their status keeps from being counted; with `arm`: plain, residual or net."""
    shown = runs[(runs["counted"] | (runs["reason"] == runs["status"])) & runs["group"].notna()]
    return shown.assign(arm=shown["residual"].map({False: "plain", True: "residual"}).astype(object).fillna("net"))


def _deepest(frames: Frames) -> pd.DataFrame:
    """The runs with layer records at each group's greatest depth, of those depths that have the most arms."""
    runs = _drawable(frames.runs)
    runs = runs[runs["run"].isin(frames.layers["run"].unique()) & runs["depth"].notna()]
    picked = []
    for _, own in runs.groupby("group", sort=False):
        arms = own.groupby("depth")["arm"].nunique()
        picked.append(own[own["depth"] == arms.index[arms == arms.max()].max()])
    return pd.concat(picked) if picked else runs


def _groups(runs: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(runs["group"]))


def _arms(runs: pd.DataFrame) -> list[str]:
    return [arm for arm in COLOUR if arm in set(runs["arm"])] or ["plain"]


def _of(by_run: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    return by_run[[run for run in by_run.columns if run in set(runs["run"])]]


def _mark_published(ax: Axes, depths: pd.Series, place: Place, side: dict[str, int]) -> list[Line2D]:
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
    """Diverged runs have no accuracy to draw: their number stands at the foot of the axis."""
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


def _mark_end(ax: Axes, values: pd.Series, foot: float, colour: object) -> None:
    """A cross where a diverged run has its last number."""
    if len(values):
        ax.plot(values.index[-1], max(values.iloc[-1], foot), marker="x", color=colour, markersize=5, clip_on=False)
