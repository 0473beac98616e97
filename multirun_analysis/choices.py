"""The axes that were asked for: on the command line, or else by `analysis:` in the configuration of the runs."""

import json
from dataclasses import dataclass

import pandas as pd

from multirun_analysis.axes import ALIASES
from multirun_analysis.frames import Frames

NAMES = ("x", "hue", "facets", "metric")


@dataclass(frozen=True)
class Choices:
    """What to draw; None, and no facets, where nothing was asked for. See `axes.find` for their meaning."""

    x: str | None = None
    hue: str | None = None
    facets: tuple[str, ...] = ()
    metric: str | None = None


def along(frames: Frames, typed: Choices) -> Frames:
    """The frames along the axes that were typed, and otherwise along those of the configuration.

    Raises:
        ValueError: one line, for axes that these runs do not have.
    """
    own = configured(frames.runs)
    x = own.x if typed.x is None else typed.x
    hue = own.hue if typed.hue is None else typed.hue
    if x is not None and ALIASES.get(x, x) == ALIASES.get(str(hue), hue) and (typed.x is None) != (typed.hue is None):
        x, hue = typed.x, typed.hue  # what was typed takes the place of the same key elsewhere
    try:
        return frames.along(x, hue, typed.facets or own.facets, typed.metric or own.metric or "test_acc")
    except ValueError as error:
        name = str(error).partition(" ")[0]
        if {"x": typed.x, "hue": typed.hue, "facet": typed.facets or None, "metric": typed.metric}[name] is not None:
            raise ValueError(f"--{error}") from error
        line = f"analysis.{error}".replace("analysis.facet ", "analysis.facets ", 1)
        raise ValueError(f"{line}; it is from the configuration of the runs, and --{name} overrides it") from error


def configured(runs: pd.DataFrame) -> Choices:
    """The choices of the run that started last."""
    told = _told(runs)
    if not len(told):
        return Choices()
    texts = told.iloc[-1]
    x, hue, metric = (None if text in ("null", "''") else text for text in (texts["x"], texts["hue"], texts["metric"]))
    return Choices(x, hue, _keys(texts["facets"]), metric)


def notices(runs: pd.DataFrame) -> list[str]:
    """A line if not all runs name the same choices."""
    told = _told(runs)
    if len(told.drop_duplicates()) < 2:
        return []
    last = " ".join(f"analysis.{name}={told.iloc[-1][name]}" for name in NAMES)
    return [f"The configurations of the runs ask for different axes; those of the run that started last count: {last}."]


def _told(runs: pd.DataFrame) -> pd.DataFrame:
    """The choices of each run whose configuration has any, as text, in the order in which the runs started."""
    ordered = runs[~runs["mismatch"]].sort_values("started", na_position="first", kind="stable")
    table = ordered.reindex(columns=[f"config.analysis.{name}" for name in NAMES]).dropna(how="all")
    unset = pd.Series(["null", "null", "[]", "null"], table.columns)
    return table.astype("object").fillna(unset).set_axis(list(NAMES), axis=1)


def _keys(text: str) -> tuple[str, ...]:
    """The keys of a list that config.json held."""
    try:
        keys = json.loads(text)
    except ValueError:
        return ()
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()
