"""Everything that is computed from the frames before a report is written: statistics, comparison, finding and notices."""

from dataclasses import dataclass

import pandas as pd

from multirun_analysis import axes as axis
from multirun_analysis import (
    cells,
    choices,
    finding,
    groups,
    images,
    initialisation,
    outcomes,
    published,
    shortfall,
    statistics,
    status,
    tested,
    trend,
)
from multirun_analysis.axes import Axes
from multirun_analysis.frames import Frames
from multirun_analysis.wording import listed

MACHINE = {"host": "", "processor": "processors", "gpu": "GPUs"}  # of what runs were made with, and what several are called

MOST_PARAGRAPHS = 6  # of a finding, one per group


@dataclass(frozen=True)
class Analysis:
    """The frames and everything computed from them.

    Attributes:
        frames: the runs as they were read.
        summary: see `statistics.summarize`.
        differences: see `statistics.compare_arms`.
        shares: see `statistics.trainability`.
        shortfall: see `shortfall.first_shortfall`.
        seeds: see `statistics.seeds_by_group`.
        comparison: see `published.compare`.
        slopes: see `initialisation.slopes`.
        both_errors: see `images.both_errors`.
        one_pair: see `images.one_pair`.
        by_class: see `images.by_class`.
        cells: see `cells.every`.
        best: see `cells.best`.
        finding: one paragraph per group.
        notices: remarks on the runs, one line each.
    """

    frames: Frames
    summary: pd.DataFrame
    differences: pd.DataFrame
    shares: pd.DataFrame
    shortfall: pd.DataFrame
    seeds: pd.DataFrame
    comparison: pd.DataFrame
    slopes: pd.DataFrame
    both_errors: pd.DataFrame
    one_pair: pd.DataFrame
    by_class: pd.DataFrame
    cells: pd.DataFrame
    best: pd.DataFrame
    finding: list[str]
    notices: list[str]

    @property
    def axes(self) -> Axes:
        """What the study varies."""
        return self.frames.axes

    def tables(self) -> dict[str, pd.DataFrame]:
        """The computed frames by the name of their CSV file."""
        return {
            "summary": self.summary,
            "differences": self.differences,
            "trainability": self.shares,
            "shortfall": self.shortfall,
            "published": self.comparison,
            "gradient_slopes": self.slopes,
            "seeds_and_images": self.both_errors,
            "image_by_image": self.one_pair,
            "classes": self.by_class,
            "cells": self.cells,
            "best": self.best,
        }


def analyse(frames: Frames, margin: float = outcomes.MARGIN) -> Analysis:
    """Compute everything that the tables, the figures and the report show.

    What is about depth (theory, published numbers, the depth of the first shortfall) and what compares networks image by image
    is computed by depth, whatever the axes are.

    Args:
        frames: the runs.
        margin: percentage points of test accuracy below which a difference counts as none.
    """
    runs, axes, by_depth = frames.runs, frames.axes, frames.by_depth()
    summary = statistics.summarize(runs, axes)
    summary_by_depth = summary if by_depth is frames else statistics.summarize(by_depth.runs)
    differences = statistics.compare_arms(runs, margin, axes)
    shares = statistics.trainability(runs, axes)
    seeds = statistics.seeds_by_group(runs, axes)
    first = shortfall.first_shortfall(by_depth.runs)
    slopes = initialisation.slopes(by_depth)
    best = cells.best(runs, axes)
    if axes.is_depth and axes.is_residual:
        found = finding.finding(runs, summary, differences, shares, first, seeds, slopes)
    else:
        found = trend.finding(runs, differences, seeds, axes)
    if len(found) > MOST_PARAGRAPHS:
        more = f"{len(found) - MOST_PARAGRAPHS} more groups are in the tables."
        found = [*found[:MOST_PARAGRAPHS], more]
    found = [*trend.tuning(best, axes, cells.tuned(axes)), *found]
    return Analysis(
        frames=frames,
        summary=summary,
        differences=differences,
        shares=shares,
        shortfall=first,
        seeds=seeds,
        comparison=published.compare(by_depth.runs, summary_by_depth),
        slopes=slopes,
        both_errors=images.both_errors(by_depth),
        one_pair=images.one_pair(by_depth),
        by_class=images.by_class(by_depth),
        cells=cells.every(runs, axes),
        best=best,
        finding=found,
        notices=notices(frames),
    )


def counts(runs: pd.DataFrame) -> str:
    """Such as `24 runs: 20 done, 3 diverged, 1 missing; 20 counted, 3 as chance`."""
    by_status = ", ".join(f"{count} {status}" for status, count in runs["status"].value_counts().sort_index().items())
    at_chance = int((~outcomes.ended(runs)["survived"]).sum())
    more = f", {at_chance} as chance" if at_chance else ""
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: {by_status}; {int(runs['counted'].sum())} counted{more}"


def notices(frames: Frames) -> list[str]:
    """Say what was unreadable, what was mixed, and what was left out and why, one line each."""
    runs = frames.runs
    lines = [*frames.problems, *status.remarks(runs), *choices.notices(runs), *depths_of_others(runs)]
    if len(studies := sorted(runs["study"].dropna().unique())) > 1:
        lines.append(f"Runs of {len(studies)} studies ({', '.join(studies)}); seeds of one configuration count together.")
    if (number := runs["group"].nunique()) > 1:
        axes = frames.axes
        swept = {column.removeprefix("config.") for key in axes.keys for column in axis.columns_of(key)}
        swept |= {"group", "depth", "residual", *axes.keys, *(key for each in axes.keys for key in axes.follows.get(each, ()))}
        told = [key for key in groups.differences(runs).columns if key not in swept]
        configurations = groups.by_configuration(runs, axes).nunique()
        if configurations > 1 and not told:
            told = ["how they reach a depth"]
        if configurations < number:
            told.append("the images they were trained or tested on")
        lines.append(f"{number} groups of runs, never averaged or paired with each other; they differ in {', '.join(told)}.")
    counted = runs[runs["counted"]]
    different = [
        key.removeprefix("versions.") for key in runs.columns if key.startswith("versions.") and counted[key].nunique() > 1
    ]
    if packages := ["the code" if key == "commit" else key for key in different if key not in MACHINE]:
        lines.append(f"Counted runs were made with several versions of {', '.join(packages)}.")
    if machines := [MACHINE[key] for key in different if MACHINE.get(key)]:
        lines.append(f"Counted runs were made on several {' and '.join(machines)}, which round differently.")
    if line := tested.note(runs):
        lines.append(line)
    if extra := int((groups.left_over(runs) & ~runs["mismatch"]).sum()):
        lines.append(f"Not in the plan of the last launch, and counted all the same where done: {extra}.")
    if wrong := int(runs["mismatch"].sum()):
        lines.append(f"Not counted, since directory and files name different configurations: {wrong}.")
    if repeated := int(runs["reason"].str.startswith("same configuration", na=False).sum()):
        lines.append(f"Not counted, since the same configuration and seed is there twice: {repeated}.")
    return lines


def depths_of_others(runs: pd.DataFrame) -> list[str]:
    """What was counted as the depth of networks that are not ours, see `depth_of` in labs/models/build.py."""
    if "config.model._target_" not in runs.columns:
        return []
    known = runs[runs["depth"].notna() & ~runs["config.model._target_"].fillna("labs.").str.startswith("labs.")]
    lines = []
    for target, own in known.groupby("config.model._target_"):
        depths = listed(str(depth) for depth in sorted(own["depth"].unique()))
        lines.append(
            f"Depth of {target} ({depths} here): its attribute depth if that is an integer, and otherwise the number of its "
            "layers with a weight, linear or convolutional, between the input and the head."
        )
    return lines
