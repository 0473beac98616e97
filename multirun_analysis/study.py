"""A study in Python: its runs as typed frames, what is computed from them, and its figures.

from multirun_analysis import load

study = load("multirun/my_study")
study.runs[["depth", "residual", "seed", "test_acc"]]
study.figure("test_accuracies", x="optimizer.lr", metric="val_acc").savefig("rates.pdf")
"""

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import archive, cells, drawing, gallery, statistics
from multirun_analysis.analysis import analyse, counts
from multirun_analysis.collect import collect, nothing_found
from multirun_analysis.frames import Frames
from multirun_analysis.markup import one_line
from multirun_analysis.outcomes import MARGIN

LARGEST = 2**63  # integers that a column of numbers can hold lie below


def load(*paths: str | os.PathLike[str]) -> "Study":
    """Read runs, finished or not. Nothing is changed or written.

    Args:
        paths: a study or any folder with runs in it, or several; or the folder of one report, which has all that a study
            needs in its CSV files.

    Raises:
        ValueError: if there are no runs, or if a report is damaged or one of several paths.
        OSError: if a folder does not exist or cannot be read.
    """
    folders = [Path(path).expanduser() for path in paths]
    if not folders:
        raise ValueError("load() takes the folder of a study, such as multirun/my_study")
    if report := next((folder for folder in folders if (folder / "runs.csv").is_file()), None):
        if len(folders) > 1:
            raise ValueError(f"{report}: is a report, and is loaded alone")
        return Study(archive.load(report).along(), archive.margin(report) or MARGIN)
    frames = collect(folders)
    for problem in frames.problems:
        warnings.warn(one_line(problem), stacklevel=2)
    if not len(frames.runs):
        raise ValueError(nothing_found(folders))
    return Study(frames)


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Runs, and the axes along which they are summarized and drawn.

    Attributes:
        frames: the runs as the rest of the package has them, with values of the configuration as text.
        margin: percentage points of test accuracy below which a difference counts as none.
        asked: the axes that were asked for, as in `along`.
    """

    frames: Frames
    margin: float = MARGIN
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        axes = self.frames.axes
        facets = f", facets {', '.join(axes.facets)}" if axes.facets else ""
        return f"<Study of {counts(self.frames.runs)}; x {axes.x}, hue {axes.arm}{facets}, metric {axes.metric}>"

    # ── frames ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run. A `config.*` column whose values are all numbers, or all true or false, has that type."""
        runs = self.frames.runs
        return with_numbers(runs, [key for key in runs.columns if key.startswith("config.")])

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per run and epoch; `run` is that of `runs`."""
        return self.frames.epochs

    @property
    def layers(self) -> pd.DataFrame:
        """One row per run, epoch and layer; epoch 0 is at initialisation, and `run` is that of `runs`."""
        return self.frames.layers

    @property
    def signals(self) -> pd.DataFrame:
        """One row per run, record and layer, of what was measured between two epochs; empty without `diagnostics=full`."""
        return self.frames.signals

    @property
    def lesions(self) -> pd.DataFrame:
        """One row per run and change of its trained network, with its test accuracy; empty without `labs.lesion`."""
        return self.frames.lesions

    # ── axes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def along(
        self, x: str | None = None, hue: str | None = None, facets: str | Sequence[str] | None = None,
        metric: str | None = None,
    ) -> "Study":  # fmt: skip
        """The same runs along other axes; what is not given stays as it is.

        Args:
            x: the x axis: depth, or a configuration key such as optimizer.lr.
            hue: the key whose two values are compared: residual, or any other.
            facets: keys that the names of groups begin with.
            metric: what is drawn along x, such as val_acc.

        Raises:
            ValueError: for an axis that these runs do not have, or an unknown metric.
        """
        names = [facets] if isinstance(facets, str) else facets
        given: dict[str, Any] = {"x": x, "hue": hue, "facets": names, "metric": metric}
        given = {key: value for key, value in given.items() if value is not None}
        if not given:
            return self
        asked = {**self.asked, **given}
        return replace(self, frames=self.frames.along(**asked), asked=asked)

    # ── statistics ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self) -> pd.DataFrame:
        """One row per cell of a group: n, mean, standard deviation and interval of each metric (`statistics.summarize`)."""
        return self._typed(statistics.summarize(self.frames.runs, self.frames.axes))

    def cells(self) -> pd.DataFrame:
        """One row per cell of the study, with the mean and interval of the metric (`cells.every`)."""
        return self._typed(cells.every(self.frames.runs, self.frames.axes))

    def best(self) -> pd.DataFrame:
        """Each arm at its own best setting, chosen on the validation images (`cells.best`)."""
        return self._typed(cells.best(self.frames.runs, self.frames.axes))

    def compare(self, margin: float | None = None) -> pd.DataFrame:
        """The difference of the two arms at each x, with its interval and tests (`statistics.compare_arms`).

        Args:
            margin: percentage points of test accuracy below which a difference counts as none, if not the study's.
        """
        return self._typed(statistics.compare_arms(self.frames.runs, self._margin(margin), self.frames.axes))

    def finding(self, margin: float | None = None) -> list[str]:
        """What the study shows in sentences, one paragraph per group; `margin` as in `compare`."""
        return analyse(self.frames, self._margin(margin)).finding

    # ── figures and report ─────────────────────────────────────────────────────────────────────────────────────────────

    def figure(
        self, name: str, *, x: str | None = None, hue: str | None = None, facets: str | Sequence[str] | None = None,
        metric: str | None = None,
    ) -> Figure:  # fmt: skip
        """A figure of the report. It does not belong to pyplot, so nothing has to be closed.

        Args:
            name: of the figure, such as test_accuracies, validation_losses or heat_map.
            x, hue, facets, metric: see `along`.

        Raises:
            ValueError: for an unknown figure, axis or metric, or if these runs have no data for the figure.
        """
        modules = {gallery.name(module): module for module in gallery.FIGURES}
        if name not in modules:
            raise ValueError(f"figure {name}: must be one of {', '.join(modules)}")
        frames = self.along(x, hue, facets, metric).frames
        with drawing.style():
            figure = gallery.draw(modules[name], frames)
            if figure is None:
                raise ValueError(f"figure {name}: these runs have no data for it")
        return figure

    def report(self, out: str | os.PathLike[str], margin: float | None = None) -> Path:
        """Write the report with all its files to a folder, and return the path of report.html.

        Args:
            out: the folder.
            margin: see `compare`.

        Raises:
            OSError: if the folder cannot be written to.
        """
        folder = Path(out).expanduser()
        archive.prepare(folder)
        archive.write(analyse(self.frames, self._margin(margin)), folder)
        return folder / "report.html"

    def _margin(self, margin: float | None) -> float:
        margin = self.margin if margin is None else margin
        if not 0 < margin <= 100:
            raise ValueError(f"margin {margin}: must be a number of percentage points, above 0 and at most 100")
        return margin

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        axes = self.frames.axes
        return with_numbers(frame, [key for key in (*axes.keys, *axes.facets) if key in frame.columns])


def with_numbers(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The frame with those of the columns as numbers, or as true and false, whose texts are all of that kind.

    Whole numbers are Int64, others float64, and true and false boolean. `null` is neither, so that a column with it stays text.
    """
    found = {key: numbers for key in columns if (numbers := _numbers(frame[key])) is not None}
    return frame.assign(**found)


def _numbers(texts: pd.Series) -> pd.Series | None:
    if texts.dtype != "str":
        return None
    values = {text: _value(text) for text in texts.dropna().unique()}
    kinds = {type(value) for value in values.values()}
    if not kinds or not (kinds == {bool} or kinds <= {int, float}):
        return None
    whole = kinds == {int} and all(-LARGEST <= value < LARGEST for value in values.values())
    dtype = "boolean" if kinds == {bool} else "Int64" if whole else "float64"
    return texts.astype(object).map(values, na_action="ignore").astype(dtype)  # type: ignore[call-overload]


def _value(text: str) -> Any:
    """What a text of JSON stands for, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
