"""Which runs the figures show, and in which order."""

import pandas as pd

from multirun_analysis.axes import DEPTH_STUDY, Axes
from multirun_analysis.drawing import COLOUR
from multirun_analysis.frames import Frames
from multirun_analysis.groups import at_greatest_depth


def drawable(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """The counted runs and those that are not counted because of their status alone, with their arms."""
    shown = runs[(runs["counted"] | (runs["reason"] == runs["status"])) & runs["group"].notna()]
    return with_arms(shown, axes)


def with_arms(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """The runs with a column `arm`: plain, residual, or network if a run does not say which.

    Of another key the first value looks as plain networks do, and the second as residual ones; `drawing.name` has their names.
    """
    looks = {value: arm for (value, _), arm in zip(axes.arms, COLOUR, strict=False)}
    return runs.assign(arm=runs[axes.arm].map(looks).astype(object).fillna("network"))


def deepest(frames: Frames) -> pd.DataFrame:
    """The runs with layer records at the greatest depth of each group, among the depths that have the most arms."""
    runs = drawable(frames.runs)
    return at_greatest_depth(runs[runs["run"].isin(frames.layers["run"].unique())])


def groups(runs: pd.DataFrame) -> list[str]:
    """The names of the groups, in the order of the runs."""
    return list(dict.fromkeys(runs["group"]))


def arms(runs: pd.DataFrame) -> list[str]:
    """The arms of these runs, plain first."""
    return [arm for arm in COLOUR if arm in set(runs["arm"])]
