"""Run directories to tidy frames: `runs` (one row per run), `epochs` (per epoch), `layers` (per layer and record).

    frames = collect([Path("multirun/my_study")])
    frames.runs[["depth", "residual", "seed", "status", "test_acc"]]

Every run found is there with its status, and so is every run that the study's plan names and nobody has started. Nothing is
filled in: what a run did not write is missing. Directories are read, never written.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import groups, markup
from multirun_analysis.axes import DEPTH_STUDY, Axes, find
from multirun_analysis.plan import Plan, apart, asked, configured_depth, is_planned, read_plan, unstarted
from multirun_analysis.result import METRICS, is_number
from multirun_analysis.rundir import FILES, Layers, Run, command_of, read_run
from run_contract import is_further
from run_contract import typed as as_typed

SEVERAL_LINES = ("error_message", "error_traceback")
SKIPPED = {"checkpoints", ".hydra", ".submitit", "report", "tensorboard", "wandb"}  # never a run, maybe many files
UNSTARTED = "missing"  # status of a run that is in the plan only

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
CORRECT_COLUMNS = ("run", "test_data", "classes", "images", "correct")
LAYER_COLUMNS = ("run", "epoch", "layer", "name", "fraction", *QUANTITIES)
SIGNALS = (
    "activation_cosine", "activation_cosine_same_class", "gradient_cosine", "effective_rank", "dead_units", "probe_accuracy",
)  # fmt: skip
SIGNAL_COLUMNS = (*LAYER_COLUMNS[:5], *SIGNALS)
LESION_COLUMNS = ("run", "kind", "number", "place", "blocks", "test_acc")


@dataclass(frozen=True)
class Frames:
    """What was found. The `run` of the other frames refers to `runs.run`; `problems` are about folders, not about a run.

    `axes` says along what the groups of `runs` are drawn. `correct` has a row per run that tells which test images it got
    right: `classes` and `images` (how many of each class) are JSON lists, `correct` the bits of the images in order of their
    class, packed, in base64. `signals` is like `layers`, of what is measured between two epochs. `lesions` has a row for each
    change of a run's network: `kind` is whole, one, several or swapped, `number` how many blocks are gone, `place` counts the
    rows of a kind from 0, and `test_acc` is missing where the change cannot be made.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    layers: pd.DataFrame
    problems: tuple[str, ...] = ()
    correct: pd.DataFrame = field(default_factory=lambda: typed_correct(pd.DataFrame(columns=list(CORRECT_COLUMNS))))
    axes: Axes = DEPTH_STUDY
    signals: pd.DataFrame = field(default_factory=lambda: typed_layers(pd.DataFrame(columns=list(SIGNAL_COLUMNS))))
    lesions: pd.DataFrame = field(default_factory=lambda: typed_lesions(pd.DataFrame(columns=list(LESION_COLUMNS))))

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


def collect(directories: Sequence[Path], *, with_layers: bool = True) -> Frames:
    """Read every run below the given directories.

    Args:
        directories: studies, multirun or output folders, cells or single runs, finished or not; overlaps are read once.
        with_layers: whether to read layers.jsonl, by far the largest file, and signals.jsonl.

    Returns:
        `runs` sorted by group, depth, residual and seed. Accuracies are percent, losses nats, `seconds` wall-clock.
        `epochs` holds metrics.jsonl, `layers` holds layers.jsonl: `layer` counts from 0, `fraction` from 0 (first layer) to 1
        (head), then a column a quantity.

    Raises:
        NotADirectoryError: for a path that is not a directory.
    """
    for directory in directories:
        if not directory.is_dir():
            raise NotADirectoryError(f"no such directory: {directory}")
    roots = [Path(os.path.abspath(directory)) for directory in directories]
    base = Path(os.path.commonpath(roots))
    found, plan_files, problems = _find(roots, base)
    plans = {path.parent: plan for path in plan_files if (plan := read_plan(path, _relative(path, base), problems)) is not None}

    read = [read_run(directory, with_layers=with_layers) for directory in found]
    started = {run.directory: _row(run, base, plans) for run in read}
    _tell_depths(list(started.values()))
    rows = list(started.values())
    for folder, plan in plans.items():
        own = apart(plan)
        rows += [_missing_row(path, row, base, folder, plan, own) for path, row in unstarted(folder, plan, started)]
    rows = [_cleaned(row) for row in rows]
    runs = typed(pd.DataFrame(rows, columns=_columns(rows)))
    groups.fill_in_defaults(runs)
    axes = find(runs)
    runs = groups.assign(runs, axes)
    problems += _different_data(runs, axes)
    order = groups.sorted_order(runs, axes)
    runs = runs.iloc[order].reset_index(drop=True)
    runs["run"] = np.arange(len(runs))

    number = {int(row): position for position, row in enumerate(order)}
    numbered = sorted((number[row], run) for row, run in enumerate(read))
    layers = _by_layer([(number, run.result, run.layers) for number, run in numbered], QUANTITIES)
    signals = _by_layer([(number, run.result, run.signals) for number, run in numbered], SIGNALS)
    epochs, correct, lesions = _epochs(numbered), _correct(numbered), _lesions(numbered)
    return Frames(runs, epochs, layers, tuple(problems), correct, axes, signals, lesions)


def nothing_found(directories: Sequence[Path]) -> str:
    """The message where there is no run in any of these."""
    where = ", ".join(map(str, directories))
    return f"no runs found in {where}: a run is a seed=<s> folder with config.json, result.json or metrics.jsonl"


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
    kinds = {"kind": "str", "blocks": "str", "test_acc": "float64"}
    return lesions.astype({key: kinds.get(key, "int64") for key in LESION_COLUMNS})


def _find(roots: Sequence[Path], base: Path) -> tuple[list[Path], list[Path], list[str]]:
    """All run directories and all plans below, links followed, each place visited once."""
    runs, plans, problems = [], [], []
    visited: set[tuple[int, int]] = set()
    waiting = list(roots)
    while waiting:
        directory = waiting.pop()
        try:
            status = directory.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                inside = {entry.name: entry for entry in entries}
            below = [name for name, entry in inside.items() if name not in SKIPPED and entry.is_dir()]
        except OSError as error:
            problems.append(f"cannot look into {_relative(directory, base)}: {error.strerror}")
            continue
        if directory.name.startswith("seed=") and any(name in inside for name in FILES):
            runs.append(directory)
            continue
        if "study.json" in inside:
            plans.append(directory / "study.json")
        waiting += [directory / name for name in below]
    return sorted(runs), sorted(plans), sorted(problems)


def _row(run: Run, base: Path, plans: dict[Path, Plan]) -> dict[str, Any]:
    """One row of `runs`: the result, the configuration it belongs to, and what is odd about it."""
    config: dict[str, Any] = run.config.get("config") or {}
    model, dataset = _if(dict, config.get("model")) or {}, _if(dict, config.get("dataset")) or {}
    if folder := _if(str, dataset.get("folder")):
        config = config | {"dataset": dataset | {"folder": str(PurePosixPath(folder))}}  # imgs, imgs/ and ./imgs are one folder
    cell = run.directory.parent
    study = next((folder for folder in cell.parents if folder in plans), None)
    error = run.result.get("error") or {}
    return {
        **{key: run.result.get(key) for key in (*METRICS, "best_epoch", "epochs_run", "params", "mult_adds", "seconds")},
        "depth": configured_depth(_flat({"model": model})) if run.result.get("depth") is None else run.result["depth"],
        "residual": _if(bool, model.get("residual")) if run.result.get("residual") is None else run.result["residual"],
        "num_classes": run.result.get("num_classes"),
        "data": _if(str, run.result.get("data")),
        "test_data": _if(str, run.result.get("test_data")),
        "seed": run.seed,
        "status": run.status,
        "model": _if(str, model.get("name")) or _if(str, model.get("_target_")),
        "dataset": _if(str, dataset.get("name")) or _if(str, dataset.get("_target_")),
        "study": _if(str, run.config.get("study")) or (study and study.name),
        "cell": _relative(cell, base),
        "path": _relative(run.directory, base),
        "hash": _if(str, run.config.get("hash")) or _if(str, run.result.get("hash")),
        "planned": is_planned(plans[study], cell.relative_to(study).as_posix(), run.seed) if study else None,
        **(asked(plans[study], cell.relative_to(study).as_posix(), run.seed) if study else {}),
        "mismatch": run.mismatch,
        "note": "; ".join(run.notes) or None,
        **{f"error_{key}": _if(str, error.get(key)) for key in ("type", "message", "traceback")},
        "command": command_of(run),
        "started": _if(str, run.config.get("started")),
        **{key: value for key, value in (run.result.get("metrics") or {}).items() if is_further(key) and is_number(value)},
        **{f"config.{key}": value for key, value in _flat(config).items()},
        **{f"versions.{key}": str(value) for key, value in (run.result.get("versions") or {}).items()},
    }


def _different_data(runs: pd.DataFrame, axes: Axes) -> list[str]:
    """A line for each configuration whose runs did not see the same images, as happens when a folder of images changes."""
    return [
        f"{group}: its runs were {did} {count} different versions of the images, so their accuracies do not compare"
        for column, did in (("data", "trained on"), ("test_data", "tested on"))
        for group, own in groups.by_dataset(runs, groups.by_configuration(runs, axes))
        if (count := own[column].nunique()) > 1
    ]


def _tell_depths(rows: list[dict[str, Any]]) -> None:
    """Only a result knows the depth of a CNN, so an unfinished seed takes that of its cell: one configuration has one depth."""
    known = {(row["cell"], row["hash"]): row["depth"] for row in rows if row["depth"] is not None}
    for row in rows:
        if row["depth"] is None and row["hash"] is not None:
            row["depth"] = known.get((row["cell"], row["hash"]))


def _missing_row(
    path: Path, known: dict[str, Any], base: Path, study: Path, plan: Plan, own: dict[str, list[str]]
) -> dict[str, Any]:
    names = {"cell": _relative(path.parent, base), "path": _relative(path, base), "study": study.name}
    cell = path.parent.relative_to(study).as_posix()
    names |= asked(plan, cell, known["seed"])
    names["overrides"] = json.dumps(own.get(cell, []), ensure_ascii=False)
    command = _if(str, plan.get("command"))
    return {**known, **names, "status": UNSTARTED, "planned": True, "mismatch": False, "command": command}


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    free = {key for row in rows for key in row} - set(RUN_COLUMNS)
    return [*RUN_COLUMNS, *sorted(free)]


def _cleaned(row: dict[str, Any]) -> dict[str, Any]:
    """Texts as a CSV can hold them, where no text and an empty text are the same."""
    row = {"run": 0, "counted": False, **row}  # both are decided later
    return {
        markup.name(key): ((markup.visible if key in SEVERAL_LINES else markup.name)(value) or None)
        if isinstance(value, str)
        else value
        for key, value in row.items()
    }


def _epochs(numbered: list[tuple[int, Run]]) -> pd.DataFrame:
    rows = [{**record, "run": number} for number, run in numbered for record in run.epochs]
    more = sorted({key for row in rows for key in row} - set(EPOCH_COLUMNS))
    return typed_epochs(pd.DataFrame(rows, columns=[*EPOCH_COLUMNS, *more]))


def _by_layer(numbered: Sequence[tuple[int, dict[str, Any], Layers | None]], quantities: Sequence[str]) -> pd.DataFrame:
    """The records of runs, given with their results. Columns are filled as whole arrays: 1,000 runs have millions of rows here.

    Args:
        numbered: the number of each run, its result and its records.
        quantities: those that are always columns.
    """
    blocks = [(number, result.get("layers"), layers) for number, result, layers in numbered if layers is not None]
    fixed = (*LAYER_COLUMNS[:5], *quantities)
    more = sorted({key for _, _, layers in blocks for key in layers.values} - set(fixed))
    columns: dict[str, list[np.ndarray]] = {key: [] for key in (*fixed, *more)}
    codes: dict[str, int] = {}
    for number, names, layers in blocks:
        records, width = next(iter(layers.values.values())).shape
        coded = [codes.setdefault(markup.name(str(name)), len(codes)) for name in names or []] or [-1] * width
        columns["run"].append(np.full(records * width, number, dtype=np.int32))
        columns["epoch"].append(np.repeat(layers.epochs, width))
        columns["layer"].append(np.tile(np.arange(width, dtype=np.int32), records))
        columns["name"].append(np.tile(np.array(coded, dtype=np.int32), records))
        columns["fraction"].append(np.tile(np.linspace(0, 1, width), records))
        for key in (*quantities, *more):
            absent = np.full(records * width, np.nan)
            columns[key].append(layers.values[key].ravel() if key in layers.values else absent)
    whole: dict[str, Any] = {key: np.concatenate(parts) if parts else np.empty(0) for key, parts in columns.items()}
    whole["name"] = pd.Categorical.from_codes(whole["name"].astype(np.int32), categories=pd.Index(list(codes), dtype="str"))
    return typed_layers(pd.DataFrame(whole))


def _lesions(numbered: list[tuple[int, Run]]) -> pd.DataFrame:
    rows = [{**row, "blocks": markup.name(row["blocks"]), "run": number} for number, run in numbered for row in run.lesions]
    return typed_lesions(pd.DataFrame(rows, columns=list(LESION_COLUMNS)))


def _correct(numbered: list[tuple[int, Run]]) -> pd.DataFrame:
    rows = []
    for number, run in numbered:
        if run.correct:
            names = [markup.name(name) for name in run.correct["classes"]]
            lists = {"classes": json.dumps(names, ensure_ascii=False), "images": json.dumps(run.correct["images"])}
            rows.append({"run": number, **run.correct, **lists})
    return typed_correct(pd.DataFrame(rows, columns=list(CORRECT_COLUMNS)))


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"model": {"depth": 5}} as {"model.depth": "5"}."""
    flat: dict[str, str] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = as_typed(value)
    return flat


def _if(kind: type, value: Any) -> Any:
    """The value where it is of the kind that it should be, else None: a True is not an int here."""
    return value if type(value) is kind else None


def _relative(path: Path, base: Path) -> str:
    """Below the directory given, or below what several have in common: a table does not tell where it was made."""
    return markup.name(path.relative_to(base).as_posix() if base in path.parents else path.name)
