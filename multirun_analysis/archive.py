"""Write the report directory, each file whole or not at all, and read the frames back for `--load`.

runs.csv epochs.csv layers.csv.gz test_correct.csv signals.csv.gz lesions.csv mistakes.csv    the frames, all that --load
needs, the last four where there is something in them; a ' is put before what looks like a formula
summary.csv differences.csv trainability.csv shortfall.csv published.csv gradient_slopes.csv summary.md final_results.pkl
report.html <figure>.png <figure>.svg, and with --latex a file per table in latex/
"""

import gzip
import io
import math
import os
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from multirun_analysis import gallery, latex, markup, packed_csv, report
from multirun_analysis.analysis import Analysis
from multirun_analysis.frames import (
    CORRECT_COLUMNS,
    EPOCH_COLUMNS,
    LAYER_COLUMNS,
    LESION_COLUMNS,
    MISTAKE_COLUMNS,
    RUN_COLUMNS,
    SIGNAL_COLUMNS,
    Frames,
    kind_of,
    typed_correct,
    typed_epochs,
    typed_layers,
    typed_lesions,
    typed_mistakes,
)
from multirun_analysis.output import REPORT, Output
from run_contract import is_further

LATER = (
    "test_data",
    "test_acc_recalibrated",
    "launch",
    "planned_first",
    "planned_later",
    "overrides",
)  # columns that reports of earlier versions lack
# The frames that only some studies have.
CORRECT, SIGNALS, LESIONS, MISTAKES = "test_correct.csv", "signals.csv.gz", "lesions.csv", "mistakes.csv"
PROBLEMS = "problems.txt"  # lines about unreadable folders, if there are any


def prepare(directory: Path) -> None:
    """Make the directory and check that it is writable, before minutes of work. Raises OSError if it is not."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / f".probe.{os.getpid()}"
    probe.write_bytes(b"")
    probe.unlink()


def write(analysis: Analysis, directory: Path, output: Output = REPORT) -> None:
    """Write all files of the report, and what `output` asks for. Raises OSError if the directory cannot be written to."""
    frames = analysis.frames
    write_atomically(directory / "runs.csv", csv(stored(frames.runs)))
    write_atomically(directory / "epochs.csv", csv(frames.epochs))
    write_atomically(directory / "layers.csv.gz", packed_csv.write(markup.to_csv(frames.layers)))
    optional = {
        CORRECT: csv(frames.correct) if len(frames.correct) else b"",
        SIGNALS: packed_csv.write(markup.to_csv(frames.signals)) if len(frames.signals) else b"",
        LESIONS: csv(frames.lesions) if len(frames.lesions) else b"",
        MISTAKES: csv(frames.mistakes) if len(frames.mistakes) else b"",
        PROBLEMS: "".join(f"{line}\n" for line in frames.problems).encode(),
    }
    for name, content in optional.items():
        if content:
            write_atomically(directory / name, content)
        else:
            (directory / name).unlink(missing_ok=True)

    for name, frame in analysis.tables().items():
        write_atomically(directory / f"{name}.csv", table_csv(frame))
    write_atomically(directory / "final_results.pkl", pickle.dumps(_rounded(analysis.summary)))
    write_atomically(directory / "summary.md", report.summary_markdown(analysis).encode())

    images = gallery.render(frames)
    for name, content in gallery.files(images, frames, output).items():
        write_atomically(directory / name, content)
    page = report.report_html(analysis, images, output.formats or gallery.FORMATS)
    write_atomically(directory / "report.html", page.encode())
    if output.latex:
        _write_latex(analysis, directory / "latex", bare=output.bare)


def _write_latex(analysis: Analysis, folder: Path, *, bare: bool) -> None:
    """Write the tables as LaTeX, and remove those that an earlier call wrote and this one does not."""
    folder.mkdir(exist_ok=True)
    files = latex.files(report.summary_tables(analysis), bare=bare)
    for name, content in files.items():
        write_atomically(folder / name, content.encode())
    for path in folder.glob("*.tex"):
        if path.name not in files and path.read_bytes().startswith(latex.WRITTEN.encode()):
            path.unlink()


def load(directory: Path) -> Frames:
    """Read the frames back from their CSV files.

    Raises:
        OSError: if a file is missing or cannot be read.
        ValueError: if a file is damaged.
    """
    header = pd.read_csv(directory / "runs.csv", nrows=0).columns
    if absent := [name for name in RUN_COLUMNS if name not in header and name not in LATER]:
        raise ValueError(f"runs.csv has no column {absent[0]}")
    kinds = {name: kind_of(name) for name in header}
    runs = pd.read_csv(directory / "runs.csv", dtype=kinds, keep_default_na=False, na_values=[""])
    for name in LATER:
        if name not in header:
            runs[name] = pd.Series(None, runs.index, dtype=RUN_COLUMNS[name])
    epochs = pd.read_csv(directory / "epochs.csv")
    layers = _by_layer(directory / "layers.csv.gz")
    correct, signals, lesions, mistakes = map(_without_rows, (CORRECT_COLUMNS, SIGNAL_COLUMNS, LESION_COLUMNS, MISTAKE_COLUMNS))
    if (directory / CORRECT).exists():
        correct = pd.read_csv(directory / CORRECT, dtype="str", keep_default_na=False)
        correct = correct.assign(taken_for=correct.get("taken_for", ""))  # which reports of earlier versions lack
    if (directory / SIGNALS).exists():
        signals = _by_layer(directory / SIGNALS)
    if (directory / LESIONS).exists():
        texts = {"kind": "str", "blocks": "str"}
        empty = {"test_acc": [""], "share": [""]}
        lesions = pd.read_csv(directory / LESIONS, dtype=texts, keep_default_na=False, na_values=empty)
        lesions = lesions.assign(share=lesions.get("share", math.nan))  # which reports of earlier versions lack
    if (directory / MISTAKES).exists():
        mistakes = pd.read_csv(directory / MISTAKES, dtype={"picture": "str"}, keep_default_na=False)
    for name, frame, needed in (
        ("epochs.csv", epochs, EPOCH_COLUMNS), ("layers.csv.gz", layers, LAYER_COLUMNS), (CORRECT, correct, CORRECT_COLUMNS),
        (SIGNALS, signals, SIGNAL_COLUMNS), (LESIONS, lesions, LESION_COLUMNS),
        (MISTAKES, mistakes, MISTAKE_COLUMNS),
    ):  # fmt: skip
        if absent := [column for column in needed if column not in frame.columns]:
            raise ValueError(f"{name} has no column {absent[0]}")
    problems = (directory / PROBLEMS).read_text(encoding="utf-8").splitlines() if (directory / PROBLEMS).exists() else []
    runs, epochs, layers = map(markup.from_csv, (runs, epochs, layers))
    return Frames(
        runs, typed_epochs(epochs), typed_layers(layers), tuple(map(markup.name, problems)),
        typed_correct(markup.from_csv(correct)), signals=typed_layers(markup.from_csv(signals)),
        lesions=typed_lesions(markup.from_csv(lesions)), mistakes=typed_mistakes(markup.from_csv(mistakes)),
    ).along()  # fmt: skip


def margin(directory: Path) -> float | None:
    """The margin that a report was made with; None if its differences.csv does not tell it."""
    try:
        told = pd.read_csv(directory / "differences.csv")["margin"].unique()
    except (OSError, ValueError, KeyError):
        return None
    return float(told[0]) if len(told) == 1 and told.dtype.kind == "f" and 0 < told[0] <= 100 else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one, never a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _without_rows(columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns))


def _by_layer(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(_unpacked(path)), dtype={"name": "str"}, keep_default_na=False, na_values=[""])


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def csv(frame: pd.DataFrame, float_format: str | None = None) -> bytes:
    """A frame as CSV. Without a format, floats have as many digits as it takes to read the same number back."""
    text = markup.to_csv(frame).to_csv(index=False, lineterminator="\n", float_format=float_format)
    return text.encode()


def table_csv(frame: pd.DataFrame) -> bytes:
    """A computed frame as CSV, without the digits in which machines differ."""
    return csv(_rounded(frame), float_format="%.6g")


def stored(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs without the columns that axes have added, which follow from the others."""
    return runs[[name for name in runs if kept(str(name))]]


def kept(column: str) -> bool:
    """Whether a column of the runs is one that `collect` makes."""
    return column in RUN_COLUMNS or is_further(column) or column.startswith(("config.", "versions."))


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without the last digits, in which sums differ between machines, and without minus zeros."""
    floats = frame.select_dtypes("float64").columns
    return frame.assign(**{name: frame[name].round(10) + 0.0 for name in floats})
