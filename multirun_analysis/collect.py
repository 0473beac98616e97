"""Run directories to tidy frames, see `frames`.

    frames = collect([Path("multirun/my_study")])
    frames.runs[["depth", "residual", "seed", "status", "test_acc"]]

Every run found is there with its status, and so is every run that the study's plan names and nobody has started. Nothing is
filled in: what a run did not write is missing. Directories are read, never written.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import groups, markup, predictions
from multirun_analysis.axes import Axes, find
from multirun_analysis.evaluations import read_mistakes
from multirun_analysis.frames import (
    CORRECT_COLUMNS,
    EPOCH_COLUMNS,
    LAYER_COLUMNS,
    LESION_COLUMNS,
    MISTAKE_COLUMNS,
    QUANTITIES,
    SIGNALS,
    Frames,
    typed,
    typed_correct,
    typed_epochs,
    typed_layers,
    typed_lesions,
    typed_mistakes,
)
from multirun_analysis.plan import apart, read_plan, unstarted
from multirun_analysis.records import Layers
from multirun_analysis.run_rows import cleaned, columns, missing_row, relative, started_row, tell_depths
from multirun_analysis.rundir import FILES, Run, read_run

SKIPPED = {"checkpoints", ".hydra", ".submitit", "report", "tensorboard", "wandb"}  # never a run, maybe many files


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
    plans = {path.parent: plan for path in plan_files if (plan := read_plan(path, relative(path, base), problems)) is not None}

    read = [read_run(directory, with_layers=with_layers) for directory in found]
    started = {run.directory: started_row(run, base, plans) for run in read}
    tell_depths(list(started.values()))
    rows = list(started.values())
    for folder, plan in plans.items():
        own = apart(plan)
        rows += [missing_row(path, row, base, folder, plan, own) for path, row in unstarted(folder, plan, started)]
    rows = [cleaned(row) for row in rows]
    runs = typed(pd.DataFrame(rows, columns=columns(rows)))
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
    frames = Frames(runs, epochs, layers, tuple(problems), correct, axes, signals, lesions)
    return _with_mistakes(frames, dict(numbered), base) if with_layers else frames


def nothing_found(directories: Sequence[Path]) -> str:
    """The message where there is no run in any of these."""
    where = ", ".join(map(str, directories))
    return f"no runs found in {where}: a run is a seed=<s> folder with config.json, result.json or metrics.jsonl"


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
            problems.append(f"cannot look into {relative(directory, base)}: {error.strerror}")
            continue
        if directory.name.startswith("seed=") and any(name in inside for name in FILES):
            runs.append(directory)
            continue
        if "study.json" in inside:
            plans.append(directory / "study.json")
        waiting += [directory / name for name in below]
    return sorted(runs), sorted(plans), sorted(problems)


def _different_data(runs: pd.DataFrame, axes: Axes) -> list[str]:
    """A line for each configuration whose runs did not see the same images, as happens when a folder of images changes."""
    return [
        f"{group}: its runs were {did} {count} different versions of the images, so their accuracies do not compare"
        for column, did in (("data", "trained on"), ("test_data", "tested on"))
        for group, own in groups.by_dataset(runs, groups.by_configuration(runs, axes))
        if (count := own[column].nunique()) > 1
    ]


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


def _with_mistakes(frames: Frames, runs: dict[int, Run], base: Path) -> Frames:
    """The frames with the most wrong images of the runs at the greatest depth: those of a whole study are many megabytes."""
    rows: list[dict[str, Any]] = []
    problems = list(frames.problems)
    deepest = predictions.of_deepest(frames)
    for place, number in enumerate(deepest["run"]):
        run = runs[number]
        notes: list[str] = []
        wrong = int((~predictions.bits(deepest.iloc[[place]])).sum())
        path = run.directory / "mistakes.json"
        found = read_mistakes(path, run.correct["images"], wrong, run.correct["test_data"], notes)
        rows += [{"run": number, **row} for row in found]
        problems += [f"{relative(run.directory, base)}: {note}" for note in notes]
    return replace(frames, problems=tuple(problems), mistakes=typed_mistakes(pd.DataFrame(rows, columns=list(MISTAKE_COLUMNS))))
