"""The axes of a study: the keys in which its configurations differ, and which of them tables and figures are drawn along.

    axes = find(runs)                         what a report uses unless it is told otherwise
    axes = find(runs, x="optimizer.lr")       by a configuration key, as it is typed on the command line, or by depth

A key that is settled by others is no axis of its own: with `dataset=mnist,cifar10` every key that the dataset brings along
varies, and follows `dataset.name`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from run_contract import CROSS_ENTROPY, decides, is_further
from run_contract import short as in_short

DEPTH, RESIDUAL = "depth", "residual"
# Keys that set the depth. Where depth is an axis, they tell groups apart only if one depth is reached in several ways.
DEPTH_KEYS = ("model.depth", "model.widths", "model.filters", "model.blocks_per_stage")
RESIDUAL_KEY = "model.residual"
# Keys that a reader thinks of first, in this order: the others follow from them where they can.
FIRST = ("dataset.name", "dataset._target_", "model.name", "model._target_", DEPTH, RESIDUAL, "optimizer._target_",
         "scheduler._target_", "model.shortcut", "model.width", "optimizer.lr", "trainer.batch_size")  # fmt: skip
NAMES = {
    "optimizer.lr": "learning rate", "trainer.batch_size": "batch size (images)", "model.width": "width (units a layer)",
    "optimizer.weight_decay": "weight decay", "optimizer.momentum": "momentum", "trainer.epochs": "epochs",
    "dataset.name": "dataset", "model.name": "model", "model.shortcut": "shortcut", "optimizer._target_": "optimizer",
    "scheduler._target_": "scheduler", "model.dropout": "dropout", "dataset.val_size": "validation images",
    "model.norm_bias": "initial norm bias", "model.branch_scale": "scale of the branches", "model.norm": "norm",
    "model.activation": "activation", "model.init": "initial weights", "model.block": "block",
    "loss._target_": "loss", "loss.label_smoothing": "label smoothing", "trainer.clip_grad_norm": "gradients clipped to norm",
    "trainer.decay_norm_and_bias": "weight decay of norms and biases",
}  # fmt: skip
METRICS = {
    "test_acc": "test accuracy (%)", "val_acc": "validation accuracy (%)", "train_acc": "training accuracy (%)",
    "test_loss": "test loss (nats)", "val_loss": "validation loss (nats)", "train_loss": "training loss (nats)",
}  # fmt: skip
COLUMNS = ("group", "difference", "low", "high", "p", "pairs", "correlation", "margin", "equivalent")  # no names of arms
ABSENT = "—"  # in place of a key that a configuration does not have
ALIASES = {"model.depth": DEPTH, RESIDUAL_KEY: RESIDUAL, "dataset": "dataset.name", "model": "model.name"}  # as they are typed


@dataclass(frozen=True)
class Axes:
    """Which columns of `runs` the tables and figures are about.

    Attributes:
        x: the column on the x axis: `depth`, or a configuration key.
        arm: the column whose two values are compared with each other: `residual`, or a key with two values. Where it does not
            vary, there is one arm and nothing is compared.
        arms: the values of `arm`, with their names, the first one the reference.
        facets: the other keys that vary. Cells that differ in one of them belong to different groups.
        named_first: facets that the names of groups begin with.
        is_numeric: whether x is a number; else `order` has its values, in the order in which they are drawn.
        order: see above.
        follows: for each axis, the keys that vary with it.
        metric: what the figures along x show and by which cells are ranked.
    """

    x: str = DEPTH
    arm: str = RESIDUAL
    arms: tuple[tuple[Any, str], ...] = ((False, "plain"), (True, "residual"))
    facets: tuple[str, ...] = ()
    named_first: tuple[str, ...] = ()
    is_numeric: bool = True
    order: tuple[str, ...] = ()
    follows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    metric: str = "test_acc"

    @property
    def cell(self) -> list[str]:
        """The columns that tell cells apart."""
        return ["group", self.x, self.arm]

    @property
    def is_depth(self) -> bool:
        return self.x == DEPTH

    @property
    def is_residual(self) -> bool:
        return self.arm == RESIDUAL

    @property
    def on_datasets(self) -> bool:
        """Whether x changes the images, so that its values are not better or worse."""
        return self.x.startswith("dataset.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The axes that are not facets."""
        return (self.x, self.arm)

    def place(self, value: Any) -> float:
        """Where a value of x is drawn: at its number, or at its position in the order."""
        return float(value) if self.is_numeric else float(self.order.index(value))

    def sorted(self, values: Iterable[Any]) -> list[Any]:
        """Values of x in the order in which they are drawn, each once."""
        return sorted({value for value in values if pd.notna(value)}, key=self.place)


DEPTH_STUDY = Axes()


def find(
    runs: pd.DataFrame, x: str | None = None, arm: str | None = None, facets: Sequence[str] = (), metric: str = "test_acc"
) -> Axes:
    """Choose the axes of these runs.

    By default x is the depth where it varies, else the number with most values, else what has most values; the arms are plain
    and residual where both are there, else any other axis with two values that is neither x nor of the dataset: accuracies on
    other images do not compare.

    Args:
        runs: the runs, with `config.*` columns as text.
        x, arm: use these. A key need not vary.
        facets: keys to name first in the names of groups.
        metric: one of `METRICS`, or a metric that the runs list.

    Raises:
        ValueError: for a key that no configuration has, residual as x, an arm with more than two values, or an unknown metric.
    """
    if metric not in (known_metrics := [*METRICS, *further(runs)]):
        raise ValueError(f"metric {metric}: must be one of {', '.join(known_metrics)}")
    chosen = {name: _checked(runs, key, name) for name, key in (("x", x), ("hue", arm)) if key is not None}
    for key in facets:
        _checked(runs, key, "facet")
    x, arm = chosen.get("x"), chosen.get("hue")
    if x == RESIDUAL:
        raise ValueError(f"x {RESIDUAL_KEY}: plain and residual networks are compared at each x; name another key, or none")
    if x is not None and x == arm:
        raise ValueError(f"hue {arm}: is the x axis already; name another key")
    found, follows = independent(runs, [key for key in (x, arm) if key is not None])
    values = {key: texts(runs, key) for key in {*found, *chosen.values()}}
    numbers = [key for key in found if is_number(values[key])]
    if arm is None:
        two = [key for key in found if key not in (x, DEPTH) and not key.startswith("dataset.") and values[key].nunique() == 2]
        two.sort(key=lambda key: key in numbers)  # a choice between two things before two of many numbers
        others = [key for key in found if key not in (x, *two[:1])]
        arm = RESIDUAL if RESIDUAL in two else two[0] if two and (x or others) else RESIDUAL
    if x is None:
        rest = [key for key in found if key != arm]
        most = sorted(rest, key=lambda key: (key != DEPTH, key not in numbers, -values[key].nunique(), found.index(key)))
        x = most[0] if most else DEPTH
    if arm != RESIDUAL and (number := texts(runs, arm).nunique()) != 2:
        raise ValueError(f"hue {arm}: has {number} value{'s' * (number != 1)} here, and two are compared; name another key")
    own = values.get(x, texts(runs, x))
    numeric = x == DEPTH or is_number(own)
    return Axes(
        x=x, arm=arm, facets=tuple(key for key in found if key not in (x, arm)), named_first=tuple(facets),
        arms=DEPTH_STUDY.arms if arm == RESIDUAL else tuple((value, short(arm, value)) for value in in_order(texts(runs, arm))),
        is_numeric=numeric, order=() if numeric else tuple(in_order(own)), follows=follows, metric=metric,
    )  # fmt: skip


def independent(runs: pd.DataFrame, given: Sequence[str] = ()) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The keys that vary and are not settled by those before them, and for each the keys that it settles.

    Args:
        runs: the runs.
        given: keys to be taken first.
    """
    is_known = known(runs)
    values = {key: _texts(runs, key, is_known) for key in _candidates(runs)}
    varying = [key for key, own in values.items() if own.nunique() > 1]
    ranked = sorted(varying, key=lambda key: (key not in given, FIRST.index(key) if key in FIRST else len(FIRST), key))
    table = pd.DataFrame({key: values[key] for key in ranked}).dropna().drop_duplicates()
    found: list[str] = []
    follows: dict[str, list[str]] = {}
    for key in ranked:
        settled = next((other for other in found if _settles(table, [other], key)), None)
        if settled is not None:
            follows.setdefault(settled, []).append(key)
        elif found and _settles(table, found, key) and key not in (DEPTH, RESIDUAL, *given):
            follows.setdefault(found[0], []).append(key)
        else:
            found.append(key)
    return found, {key: tuple(keys) for key, keys in follows.items()}


def _settles(table: pd.DataFrame, keys: list[str], key: str) -> bool:
    return len(table[[*keys, key]].drop_duplicates()) == len(table[keys].drop_duplicates())


def _candidates(runs: pd.DataFrame) -> list[str]:
    """Depth and residual, and the deciding keys other than those that set them."""
    told = (RESIDUAL_KEY, *(DEPTH_KEYS if runs[DEPTH].nunique() > 1 else ()))
    keys = [column.removeprefix("config.") for column in deciding_columns(runs)]
    return [DEPTH, RESIDUAL, *(key for key in keys if key not in told)]


def deciding_columns(runs: pd.DataFrame) -> list[str]:
    """The `config.*` columns that decide a run's numbers."""
    return [key for key in runs.columns if key.startswith("config.") and decides(key.removeprefix("config."))]


def is_under(key: str, branches: Iterable[str]) -> bool:
    """Whether a key, with or without `config.`, is one of these or in one of them."""
    name = key.removeprefix("config.")
    return any(name == branch or name.startswith(f"{branch}.") for branch in branches)


def columns_of(key: str) -> tuple[str, ...]:
    """The `config.*` columns that an axis stands for."""
    keys = {DEPTH: DEPTH_KEYS, RESIDUAL: (RESIDUAL_KEY,)}.get(key, (key,))
    return tuple(f"config.{each}" for each in keys)


def texts(runs: pd.DataFrame, key: str) -> pd.Series:
    """The values of an axis as text, with `ABSENT` where a known configuration has none; missing where it is not known."""
    return _texts(runs, key, known(runs))


def _texts(runs: pd.DataFrame, key: str, is_known: pd.Series) -> pd.Series:
    if key in (DEPTH, RESIDUAL):
        return runs[key].astype("object").map(str, na_action="ignore")
    column = runs.get(f"config.{key}", pd.Series(None, runs.index, dtype="str"))
    return column.astype("object").fillna(ABSENT).where(is_known)


def known(runs: pd.DataFrame) -> pd.Series:
    """Whether the configuration of each run is known."""
    deciding = deciding_columns(runs)
    return runs[deciding].notna().any(axis=1) if deciding else pd.Series(False, runs.index)


def typed(runs: pd.DataFrame, key: str, *, numeric: bool) -> pd.Series:
    """The column of `runs` for an axis: numbers, or text."""
    if key in (DEPTH, RESIDUAL):
        return runs[key]
    values = texts(runs, key)
    return pd.to_numeric(values, errors="coerce").astype("float64") if numeric else values.astype("str")


def is_number(values: pd.Series) -> bool:
    """Whether all values are numbers. true and false are none."""
    found = [as_number(text) for text in values.dropna().unique()]
    return bool(found) and None not in found


def as_number(text: str) -> float | None:
    """The number that a text is; None for any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def in_order(values: pd.Series) -> list[str]:
    """The values, each once, with numbers in texts compared as numbers, and false before true."""
    return sorted(values.dropna().unique(), key=natural)


def natural(text: str) -> list[Any]:
    """A sort key that puts depth=5 before depth=10 and lr=0.001 before lr=0.01."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)", text)
    return [(0, float(part), "") if number % 2 else (1, 0, part) for number, part in enumerate(parts) if part]


def _checked(runs: pd.DataFrame, key: str, name: str) -> str:
    """The axis of this name.

    Raises:
        ValueError: if no configuration has it.
    """
    key = ALIASES.get(key, key)
    if key in (DEPTH, RESIDUAL) or f"config.{key}" in deciding_columns(runs):
        return key
    varying, _ = independent(runs)
    raise ValueError(
        f"{name} {key}: no key that decides the numbers of these runs; what varies here is {', '.join(varying) or 'nothing'}"
    )


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def label(key: str, models: Iterable[str] = ()) -> str:
    """What an axis is called on a figure, such as `depth (hidden layers)` or `learning rate`."""
    if key == DEPTH:
        counted = sorted({{"mlp": "hidden layers", "cnn": "convolutions"}.get(model, "layers") for model in models})
        return f"depth ({' or '.join(counted) or 'layers'})"
    if is_further(key):
        part, _, rest = key.partition("_")
        return f"{ {'val': 'validation'}.get(part, part) } {rest.replace('_', ' ')}"
    return METRICS.get(key) or NAMES.get(key, key)


def further(runs: pd.DataFrame) -> list[str]:
    """The columns of metrics that the runs list, such as test_f1."""
    return [column for column in runs.columns if is_further(column)]


def measured(metric: str, runs: pd.DataFrame) -> str:
    """What a metric is called on a figure of these runs; a loss of the user's own need not be in nats."""
    return label(metric) if in_nats(runs) else label(metric).replace(" (nats)", "")


def unit_of_losses(runs: pd.DataFrame) -> str:
    """The unit of the losses, in words that follow them."""
    return "in nats" if in_nats(runs) else "in the units of the runs' own loss"


def in_nats(runs: pd.DataFrame) -> bool:
    """Whether the losses of all runs are cross-entropies."""
    column = "config.loss._target_"
    return column not in runs or set(runs[column].dropna()) <= {CROSS_ENTROPY}


def name(key: str) -> str:
    """The same without its unit, such as `depth` or `learning rate`."""
    return label(key).partition(" (")[0]


def heading(key: str) -> str:
    """What an axis is called at the head of a column: Depth, Residual, or the key as typed."""
    return {DEPTH: "Depth", RESIDUAL: "Residual"}.get(key, key)


def short(key: str, value: str) -> str:
    """A value as people write it: a class by its own name, `weight_decay=0` for a bare number, true or false."""
    return f"{key.rpartition('.')[2]}={value}" if value in COLUMNS else in_short(key, value)
