"""Slope of the gradient over the layers, at initialisation and during training, compared with mean-field theory (`theory`).

The slope is the change of the natural logarithm of the gradient norm from one layer to the next, counted from the input. It is
measured by a straight line through the layers from a tenth of the depth (at least the fifth layer) to the last hidden layer.
Earlier layers are left out, since the prediction holds only after the first few layers, and where widths are equal.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from multirun_analysis import theory
from multirun_analysis.frames import Frames
from multirun_analysis.intervals import t_interval
from run_contract import ADDED_TO_NETWORKS, typed

FIRST_LAYER = 4
FEWEST_LAYERS = 10
TARGET = "config.model._target_"
BATCH_SIZE = "config.trainer.batch_size"
WIDTHS = "config.model.widths"
# What the theory is of, beside depth and widths; He initialisation differs from torch's by a factor, which BatchNorm undoes.
LAYERS = {f"config.{key}": {typed(value)} for key, value in ADDED_TO_NETWORKS["labs.models.mlp.MLP"].items()}
LAYERS["config.model.init"] |= {"he"}
NORM_BIAS = "config.model.norm_bias"
COLUMNS = ["group", "depth", "residual", "epoch", "n", "slope", "sd", "low", "high", "norm_bias", "predicted", "ratio"]


def slopes(frames: Frames) -> pd.DataFrame:
    """Fit the slope of every counted run and summarize it over seeds.

    Returns:
        One row per group, depth, arm and recorded epoch, where epoch 0 is at initialisation. `n` is the number of seeds;
        `slope`, `sd`, `low` and `high` are the mean, the standard deviation and the 95 % t-interval over seeds, per layer.
        `predicted` is -ln(lambda(B, b))/2 for plain MLPs at initialisation, where b is their `norm_bias`; other than 0 it makes
        it an approximation. Both are missing elsewhere, since the theory does not cover skips, convolutions, training, widths
        that keep changing, batches of fewer than four images, or norms, activations and blocks other than the usual ones.
        `ratio` is measured over predicted. Networks with fewer than ten layers to fit have no row.
    """
    runs = frames.runs[frames.runs["counted"]]
    layers = frames.layers.loc[frames.layers["run"].isin(runs["run"]), ["run", "epoch", "layer", "grad_norm"]]
    each = _slope_of_each(layers)
    if each.empty:
        return pd.DataFrame(columns=COLUMNS)
    cells = ["group", "depth", "residual"]
    starts = each[each["epoch"] == 0].merge(runs[["run", *cells, "model", *_present(runs)]], on="run")
    plain = starts[starts["residual"].eq(False).fillna(False).astype(bool)]
    covered = {key: batch_and_bias(cell) for key, cell in plain.groupby(cells, dropna=False)}
    theories = {key: (found[1], theory.slope(*found)) for key, found in covered.items() if found is not None}
    table = each.merge(runs[["run", *cells]], on="run")
    rows = []
    for (group, depth, residual, epoch), measured in table.groupby([*cells, "epoch"], dropna=False)["slope"]:
        values = measured.to_numpy(dtype=float)
        low, high = t_interval(values)
        unknown = (np.nan, np.nan)
        bias, predicted = theories.get((group, depth, residual), unknown) if epoch == 0 else unknown
        rows.append({
            "group": group, "depth": depth, "residual": residual, "epoch": epoch, "n": len(values), "slope": values.mean(),
            "sd": values.std(ddof=1) if len(values) > 1 else np.nan, "low": low, "high": high,
            "norm_bias": bias, "predicted": predicted, "ratio": values.mean() / predicted,
        })  # fmt: skip
    order = {group: position for position, group in enumerate(frames.runs["group"].unique())}
    slopes = pd.DataFrame(rows, columns=COLUMNS).round(6)  # the CSV file of the layers has no more digits
    return slopes.sort_values("group", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def at_start(frames: Frames) -> Frames:
    """The frames with the layers of epoch 0 alone: slopes of every epoch take a while in a large study."""
    return replace(frames, layers=frames.layers[frames.layers["epoch"] == 0])


def fitted_layers(count: int) -> slice:
    """The layers that the line is fitted to, out of `count` layers with the head."""
    return slice(max(FIRST_LAYER, (count - 1) // 10), count - 1)


def _slope_of_each(layers: pd.DataFrame) -> pd.DataFrame:
    """run, epoch and least-squares slope of each record with enough layers, all of them with a positive gradient."""
    head = layers.groupby("run")["layer"].transform("max")
    fitted = layers[(layers["layer"] >= (head // 10).clip(lower=FIRST_LAYER)) & (layers["layer"] < head)]
    records = fitted.groupby(["run", "epoch"], sort=False)
    record, x = records.ngroup().to_numpy(), fitted["layer"].to_numpy(dtype=float)
    norm = fitted["grad_norm"].to_numpy(dtype=float)
    y = np.log(norm, where=norm > 0, out=np.full(len(norm), np.nan))
    # A record with a zero or missing gradient has no slope: its NaN stays in the sums.
    n, sx, sy, sxx, sxy = (np.bincount(record, weights=each) for each in (np.ones(len(x)), x, y, x * x, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (n * sxy - sx * sy) / (n * sxx - sx**2)
    table = records.head(1)[["run", "epoch"]].reset_index(drop=True).assign(slope=slope)
    return table[(n >= FEWEST_LAYERS) & np.isfinite(sy)].reset_index(drop=True)


def _present(runs: pd.DataFrame) -> list[str]:
    return [column for column in (TARGET, BATCH_SIZE, WIDTHS, *LAYERS) if column in runs]


def is_usual_mlp(runs: pd.DataFrame) -> bool:
    """Whether all are MLPs of this project, whatever name they were given."""
    if TARGET in runs and runs[TARGET].notna().all():
        return set(runs[TARGET]) == {"labs.models.mlp.MLP"}
    return set(runs["model"]) == {"mlp"}


def batch_and_bias(cell: pd.DataFrame) -> tuple[int, float] | None:
    """The batch size and the initial BatchNorm bias of these runs, if the theory covers them.

    It covers MLPs of the usual layers with equal widths where the line is fitted, batches of four images or more, and biases
    from -10 to 10.
    """
    has_usual_layers = is_usual_mlp(cell) and all(
        key not in cell or pd.isna(cell[key].iloc[0]) or cell[key].iloc[0] in usual
        for key, usual in LAYERS.items() if key != NORM_BIAS
    )  # fmt: skip
    widths = json.loads(cell[WIDTHS].iloc[0]) if WIDTHS in cell and pd.notna(cell[WIDTHS].iloc[0]) else None
    has_one_width = widths is None or len(set(widths[fitted_layers(len(widths) + 1)])) == 1
    if not has_usual_layers or not has_one_width or BATCH_SIZE not in cell:
        return None
    size = int(cell[BATCH_SIZE].iloc[0])
    bias = float(cell[NORM_BIAS].iloc[0]) if NORM_BIAS in cell and pd.notna(cell[NORM_BIAS].iloc[0]) else 0.0
    return (size, bias) if size >= theory.SMALLEST_BATCH and abs(bias) <= theory.LARGEST_BIAS else None


def told(biases: "pd.Series[float]") -> str:
    """For which initial BatchNorm biases predictions are, for a caption."""
    if (biases == 0).all():
        return "for BatchNorm biases that start at 0"
    return "for the initial BatchNorm biases, approximate other than for 0"
