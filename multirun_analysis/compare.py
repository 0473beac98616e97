"""Single runs beside each other: how their configurations differ, what they reached, and which test images they got right.

python -m multirun_analysis compare RUN RUN [RUN ...]
python -m multirun_analysis compare RUN RUN --out DIR      also the curves over each other, and all of it as Markdown
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pandas as pd

from multirun_analysis import images, table, tested
from multirun_analysis.axes import DEPTH, FIRST, RESIDUAL, RESIDUAL_KEY, deciding_columns, is_under, short
from multirun_analysis.collect import collect, nothing_found
from multirun_analysis.frames import Frames
from multirun_analysis.markup import markdown, one_line
from multirun_analysis.run_rows import UNSTARTED
from multirun_analysis.table import Entry, Table, count, label, number, p_value, words

MOST = 10  # runs that are compared
SAID = 3  # differences that the legend of the figure names
# Branches that say nothing of how a run was computed.
NO_SETTINGS = (
    "study",
    "replicas",
    "plan",
    "resume",
    "logger",
    "diagnostics",
)  # branches that say nothing of how a run was computed
DIFFERENCES_NOTE = "First what decides a run's numbers, then what changes them by rounding at most, then versions."
PAIR_NOTE = "p: McNemar's exact test, two-sided, of these two networks on more such images; it says nothing of other seeds."
NO_PAIR_NOTE = "Counts of test images. With more than two runs no test is made."


def main(arguments: Sequence[str]) -> int:
    """The command line. Returns the exit status: 0, or 1 with one line on standard error; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m multirun_analysis compare",
        description="Show how single runs differ: in their configuration, in what they reached, by class, and image by image.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                        help=f"a run directory, …/seed=<s>, or a folder with some; {MOST} runs at most")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="write compare.md and the curves, curves.png and .svg, here")
    options = parser.parse_args(arguments)
    try:
        frames = read(options.runs)
    except (NotADirectoryError, ValueError) as error:
        return _fail(str(error))
    except OSError as error:  # such as a name that is too long
        return _fail(f"cannot read {error.filename}: {error.strerror}")
    shown, said = tables(frames), [*frames.problems, *remarks(frames)]
    print("\n".join([*(f"{one_line(each.title)}\n{table.text(each)}{_noted(each)}" for each in shown), *map(one_line, said)]))
    if options.out:
        try:
            write(frames, shown, said, options.out)
        except OSError as error:
            return _fail(f"cannot write to {options.out}: {error.strerror}")
        print(f"written: {options.out / 'compare.md'}")
    return 0


def read(directories: Sequence[Path]) -> Frames:
    """The runs below these directories, in the order in which they are given.

    Raises:
        NotADirectoryError: for a path that is not a directory.
        ValueError: if there are fewer than two runs, or too many.
    """
    frames = collect(directories, with_layers=False)
    runs = frames.runs[frames.runs["status"] != UNSTARTED]
    if not len(runs):
        raise ValueError(nothing_found(directories))
    if not 2 <= len(runs) <= MOST:
        found = f"{len(runs)} run{'s' * (len(runs) > 1)} in {', '.join(map(str, directories))}"
        raise ValueError(f"{found}: compare takes 2 to {MOST}; name their directories, …/seed=<s>")
    roots = [Path(os.path.abspath(directory)) for directory in directories]
    base = Path(os.path.commonpath(roots))
    place = [
        next((i for i, root in enumerate(roots) if root in (base / path, *(base / path).parents)), len(roots))
        for path in runs["path"]
    ]
    return replace(frames, runs=runs.iloc[pd.Series(place).sort_values(kind="stable").index])


def letters(frames: Frames) -> dict[Any, str]:
    """What each run is called: A, B, …"""
    return dict(zip(frames.runs["run"], ascii_uppercase, strict=False))


def tables(frames: Frames) -> list[Table]:
    """All tables that have rows."""
    found = [results(frames), differences(frames), *image_by_image(frames)]
    return [each for each in found if each.rows]


def remarks(frames: Frames) -> list[str]:
    """What the tables do not have, and why, a line each."""
    names, told = letters(frames), _told(frames)
    lines = []
    if not differences(frames).rows:
        lines.append("Their configurations do not differ.")
    if last := [names[run["run"]] for _, run in frames.runs.iterrows() if run.get(tested.KEY) == "last"]:
        lines.append(f"Tested with the weights of the last epoch (trainer.test_weights=last): {', '.join(last)}.")
    if untold := [name for run, name in names.items() if run not in set(frames.correct["run"])]:
        lines.append(f"Which test images they got right is not known of {', '.join(untold)}.")
    if other := [name for run, name in names.items() if run in set(frames.correct["run"]) - set(told["run"])]:
        lines.append(f"Tested on other images than {names[told['run'].iloc[0]]}: {', '.join(other)}.")
    return lines


def results(frames: Frames) -> Table:
    """What each run reached."""
    names = letters(frames)
    rows = [
        [
            words(names[run["run"]]), words(run["status"]), label(run["epochs_run"]), label(run["best_epoch"]),
            number(run["val_acc"]), number(run["test_acc"]), number(run["test_loss"], 4), count(run["params"]),
            words(run["path"]),
        ]
        for _, run in frames.runs.iterrows()
    ]  # fmt: skip
    columns = ["Name", "Status", "Epochs", "Best epoch", "Val Acc", "Test Acc", "Test Loss", "Params", "Run"]
    return Table("Runs", columns, rows)


def differences(frames: Frames) -> Table:
    """The keys in which the configurations differ, and the versions that the runs were made with."""
    names = letters(frames)
    rows = [
        [words(key.removeprefix("config.")), *(words(value) for value in frames.runs[key])] for key in differing(frames.runs)
    ]
    return Table("Configuration differences", ["Key", *names.values()], rows, DIFFERENCES_NOTE)


def differing(runs: pd.DataFrame) -> list[str]:
    """The `config.*` columns in which runs differ, the best known first, then the `versions.*` columns."""
    deciding = set(deciding_columns(runs))
    keys = [
        key for key in runs.columns
        if (key.startswith("config.") and not is_under(key, NO_SETTINGS) and runs[key].nunique(dropna=False) > 1)
        or (key.startswith("versions.") and runs[key].nunique() > 1)  # which an unfinished run does not tell
    ]  # fmt: skip

    def rank(key: str) -> tuple[int, int, str]:
        name = key.removeprefix("config.")
        kind = 0 if key in deciding or name == "seed" else 2 if key.startswith("versions.") else 1
        known = {"model.depth": DEPTH, RESIDUAL_KEY: RESIDUAL}.get(name, name)
        return kind, FIRST.index(known) if known in FIRST else len(FIRST), name

    return sorted(keys, key=rank)


def image_by_image(frames: Frames) -> list[Table]:
    """Accuracy of each class, and the images that one run gets right and another wrong; empty unless two runs tell."""
    told, names = _told(frames), letters(frames)
    if len(told) < 2:
        return []
    right = images.answers(told)
    classes = json.loads(told["classes"].iloc[0])
    pair = tuple(right.columns) if len(right.columns) == 2 else None
    rows = []
    for name, own in [*((classes[each], right.loc[[each]]) for each in right.index.unique()), ("all", right)]:
        row = [words(name), count(len(own)), *(number(100 * own[run].mean(), 1) for run in right.columns)]
        if pair:
            row += [count(int((own[one] & ~own[other]).sum())) for one, other in (pair, pair[::-1])]
        rows.append(row)
    columns = ["Class", "Images", *(names[run] for run in right.columns)]
    columns += [f"Only {names[run]} right" for run in pair or ()]
    return [Table("Test accuracy by class, %", columns, rows), _pairs(right, names)]


def _pairs(right: pd.DataFrame, names: dict[Any, str]) -> Table:
    """On how many test images two runs agree, and on how many one is right alone."""
    rows = []
    for one, other in combinations(right.columns, 2):
        first, second = right[one], right[other]
        alone = [int((first & ~second).sum()), int((second & ~first).sum())]
        row = [words(f"{names[one]}, {names[other]}"), count(len(right)), count(int((first & second).sum())),
               *map(count, alone), count(int((~first & ~second).sum()))]  # fmt: skip
        rows.append([*row, p_value(images.mcnemar(*alone))] if len(right.columns) == 2 else row)
    tested = len(right.columns) == 2
    columns = ["Runs", "Images", "Both right", "Only the first", "Only the second", "Neither", *(["p"] if tested else [])]
    return Table("Test images that one gets right and the other wrong", columns, rows, PAIR_NOTE if tested else NO_PAIR_NOTE)


def _told(frames: Frames) -> pd.DataFrame:
    """The rows of `frames.correct` of these runs, in their order, as far as they are on the images of the first."""
    known = frames.runs[["run"]].merge(frames.correct, on="run")
    return known[(known[["test_data", "images"]] == known[["test_data", "images"]].iloc[:1].to_numpy()).all(axis=1)]


def write(frames: Frames, shown: Sequence[Table], said: Sequence[str], out: Path) -> None:
    """Write compare.md and the curves. Raises OSError if the folder cannot be written to."""
    from multirun_analysis import archive, curves, drawing  # only here: the drawing libraries take a second to import

    archive.prepare(out)
    with drawing.style():
        figure = curves.draw(frames, described(frames))
        for kind in ("png", "svg"):
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
            archive.write_atomically(out / f"curves.{kind}", content.getvalue())
    blocks = [f"# Comparison of {len(frames.runs)} runs\n", "![Loss and accuracy by epoch](curves.png)\n"]
    blocks += [f"## {markdown(each.title)}\n\n{table.markdown(each)}{_noted(each)}" for each in shown]
    blocks += [f"{markdown(line)}\n" for line in said]
    archive.write_atomically(out / "compare.md", "\n".join(blocks).encode())


def described(frames: Frames) -> dict[Any, str]:
    """The name of each run with the first of the settings that tell it from the others, as in a legend."""
    keys = [key for key in differing(frames.runs) if key.startswith("config.")][:SAID]
    said = {}
    for (run, letter), (_, row) in zip(letters(frames).items(), frames.runs.iterrows(), strict=True):
        settings = [_setting(key.removeprefix("config."), words(row[key])) for key in keys]
        said[run] = f"{letter}: {', '.join(settings)}" if settings else letter
    return said


def _setting(key: str, value: Entry) -> str:
    return short(key, value.text) if value.value is not None else f"no {key}"


def _noted(each: Table) -> str:
    return f"\n{each.note}\n" if each.note else ""


def _fail(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 1
