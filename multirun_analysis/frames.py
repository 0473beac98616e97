"""The frames that a study is read into: `runs` (one row per run), `epochs` (per epoch), `layers` (per layer and record), and
what only some studies have. Their columns, their types, and the axes along which the runs are grouped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from multirun_analysis import groups
from multirun_analysis.axes import DEPTH_STUDY, Axes, find
from run_contract import is_further

# Columns of `runs` and their types. Behind them follow metrics that the runs list, val_<name> and test_<name>, as numbers, and
# config.<key> and versions.<package>, all of them text: a value of the configuration reads as one would type it on the
# command line (true, null, 0.001, [128,64]) missing where there is no such key.
RUN_COLUMNS = {
    "run": "int64",
    "group": "str",
    "depth": "Int64",
    "residual": "boolean",
    "seed": "Int64",
    "status": "str",
    "counted": "bool",
    "reason": "str",
    "train_loss": "float64",
    "train_acc": "float64",
    "val_loss": "float64",
    "val_acc": "float64",
    "test_loss": "float64",
    "test_acc": "float64",
    "test_acc_recalibrated": "float64",
    "best_epoch": "Int64",
    "epochs_run": "Int64",
    "params": "Int64",
    "mult_adds": "Int64",
    "num_classes": "Int64",
    "data": "str",
    "test_data": "str",
    "model": "str",
    "dataset": "str",
    "study": "str",
    "cell": "str",
    "path": "str",
    "hash": "str",
    "planned": "boolean",
    "launch": "Int64",
    "planned_first": "Int64",
    "planned_later": "Int64",
    "overrides": "str",
    "mismatch": "bool",
    "note": "str",
    "error_type": "str",
    "error_message": "str",
    "error_traceback": "str",
    "command": "str",
    "started": "str",
    "seconds": "float64",
}
EPOCH_COLUMNS = ("run", "epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds")
QUANTITIES = ("grad_norm", "weight_norm", "update_ratio")  # always columns; others that layers.jsonl holds follow
CORRECT_COLUMNS = ("run", "test_data", "classes", "images", "correct", "taken_for")
MISTAKE_COLUMNS = ("run", "index", "label", "predicted", "probability", "height", "width", "channels", "picture")
LAYER_COLUMNS = ("run", "epoch", "layer", "name", "fraction", *QUANTITIES)
SIGNALS = (
    "activation_cosine", "activation_cosine_same_class", "gradient_cosine", "effective_rank", "dead_units", "probe_accuracy",
)  # fmt: skip
SIGNAL_COLUMNS = (*LAYER_COLUMNS[:5], *SIGNALS)
LESION_COLUMNS = ("run", "kind", "number", "place", "blocks", "test_acc", "share")


@dataclass(frozen=True)
class Frames:
    """What was found. The `run` of the other frames refers to `runs.run`; `problems` are about folders, not about a run.

    `axes` says along what the groups of `runs` are drawn. `correct` has a row per run that tells which test images it got
    right: `classes` and `images` (how many of each class) are JSON lists, `correct` the bits of the images in order of their
    class, packed, in base64, and `taken_for` the classes that the wrong ones were taken for, empty if the run does not
    tell. `mistakes` has a row for each of the most wrong test images of a run at the greatest depth: its place in the test
    images, the numbers of its class and of the one it was taken for, the probability of the latter, and a small picture, uint8
    in base64. `signals` is like `layers`, of what is measured between two epochs. `lesions` has a row for each
    change of a run's network: `kind` is whole, one, several or swapped, `number` how many blocks are gone, `place` counts the
    rows of a kind from 0, and `test_acc` is missing where the change cannot be made. Rows of the kind path are no changes:
    `share` is how much of the gradient, in percent, comes through `number` branches.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    layers: pd.DataFrame
    problems: tuple[str, ...] = ()
    correct: pd.DataFrame = field(default_factory=lambda: typed_correct(pd.DataFrame(columns=list(CORRECT_COLUMNS))))
    axes: Axes = DEPTH_STUDY
    signals: pd.DataFrame = field(default_factory=lambda: typed_layers(pd.DataFrame(columns=list(SIGNAL_COLUMNS))))
    lesions: pd.DataFrame = field(default_factory=lambda: typed_lesions(pd.DataFrame(columns=list(LESION_COLUMNS))))
    mistakes: pd.DataFrame = field(default_factory=lambda: typed_mistakes(pd.DataFrame(columns=list(MISTAKE_COLUMNS))))

    def by_depth(self) -> "Frames":
        """The same runs, grouped by depth and by plain and residual networks."""
        if self.axes.is_depth and self.axes.is_residual:
            return self
        return self._regrouped(replace(DEPTH_STUDY, metric=self.axes.metric))

    def along(
        self, x: str | None = None, hue: str | None = None, facets: Sequence[str] = (), metric: str = "test_acc"
    ) -> "Frames":
        """The same runs, grouped and sorted along these axes; see `axes.find` for what None means.

        Raises:
            ValueError: for axes that these runs do not have.
        """
        return self._regrouped(find(self.runs, x, hue, facets, metric))

    def _regrouped(self, axes: Axes) -> "Frames":
        runs = groups.assign(self.runs.copy(), axes)
        return replace(self, runs=runs.iloc[groups.sorted_order(runs, axes)].reset_index(drop=True), axes=axes)


def typed(runs: pd.DataFrame) -> pd.DataFrame:
    """The frame with the types of RUN_COLUMNS, whether its cells come from JSON or from a CSV."""
    for column in runs.columns:
        kind = kind_of(column)
        if kind == "str":  # by way of object, so that a column without any text stays missing instead of becoming "None"
            runs[column] = pd.Series(runs[column].astype(object).where(runs[column].notna(), None), dtype="str")
        else:
            runs[column] = runs[column].astype(kind)  # type: ignore[call-overload]
    return runs


def kind_of(column: str) -> str:
    """The type of a column of `runs`."""
    return RUN_COLUMNS.get(column, "float64" if is_further(column) else "str")


def typed_epochs(epochs: pd.DataFrame) -> pd.DataFrame:
    """As `typed`, for the epochs frame."""
    return epochs.astype({key: "int64" if key in ("run", "epoch") else "float64" for key in epochs.columns})


def typed_layers(layers: pd.DataFrame) -> pd.DataFrame:
    """As `typed`, for the layers frame, in types that keep millions of rows small."""
    kinds = {"run": "int32", "epoch": "int32", "layer": "int32", "name": "category"}
    return layers.astype({key: kinds.get(key, "float64") for key in layers.columns})


def typed_correct(correct: pd.DataFrame) -> pd.DataFrame:
    """As `typed`, for the frame of correct test images."""
    return correct.astype({key: "int64" if key == "run" else "str" for key in CORRECT_COLUMNS})


def typed_lesions(lesions: pd.DataFrame) -> pd.DataFrame:
    """As `typed`, for the frame of lesions."""
    kinds = {"kind": "str", "blocks": "str", "test_acc": "float64", "share": "float64"}
    return lesions.astype({key: kinds.get(key, "int64") for key in LESION_COLUMNS})


def typed_mistakes(mistakes: pd.DataFrame) -> pd.DataFrame:
    """As `typed`, for the frame of mistakes."""
    kinds = {"probability": "float64", "picture": "str"}
    return mistakes.astype({key: kinds.get(key, "int64") for key in MISTAKE_COLUMNS})
