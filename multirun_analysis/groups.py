"""Which runs may be compared: a group holds the cells that differ in the x axis and in the arm, and in nothing else.

These are depth and `model.residual` unless a study varies something else (see `axes`). Runs that differ in anything else
(dataset, optimizer, epochs, …) belong to different groups and are never averaged or paired.
So do runs that were trained or tested on different images, as when a folder of images has changed. Groups are named by the
configuration keys that tell them apart, such as `dataset=mnist, optimizer.lr=0.01`.
"""

from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import axes as axis
from multirun_analysis.axes import ABSENT, DEPTH_STUDY, Axes, deciding_columns, natural
from run_contract import ADDED, ADDED_TO_NETWORKS, typed

Key = tuple[tuple[str, str], ...]  # the configuration keys in which runs differ, with their values

# Columns with the fingerprints of the images a run has seen, and their names in the name of a group.
IMAGES = {"data": "training images", "test_data": "test images"}
UNKNOWN = "unknown"
# Keys that the names of groups use first.
NAMED_FIRST = ("config.dataset.name", "config.model.name", "config.optimizer._target_", "config.model.shortcut")


def assign(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """Fill in `group`, `counted` and `reason`, and add the columns of axes that are no columns of `runs` yet.

    Statistics use the runs that are counted: those that are done, have a known configuration, and are the only one of their
    group, depth, residual and seed. `reason` says why any other run is not counted.
    """
    runs["group"] = _by_images(runs, by_configuration(runs, axes))
    runs[axes.x] = axis.typed(runs, axes.x, numeric=axes.is_numeric)
    runs[axes.arm] = axis.typed(runs, axes.arm, numeric=False)
    runs["reason"] = pd.Series(_reasons(runs, axis.known(runs), axes), dtype="str", index=runs.index)
    runs["counted"] = runs["reason"].isna()
    return runs


def by_configuration(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.Series:
    """The group of each run by its configuration alone, whatever images it saw; missing if the configuration is unknown."""
    drawn = {column for key in axes.keys for column in axis.columns_of(key)}
    drawn |= {column for key in axes.keys for other in axes.follows.get(key, ()) for column in axis.columns_of(other)}
    by_depth = axes.is_depth or "depth" in axes.follows.get(axes.x, ())
    varying = [key for key in deciding_columns(runs) if runs[key].nunique(dropna=False) > 1]
    known = axis.known(runs)
    table = runs.loc[known, varying].fillna(ABSENT)
    ordinary = table[[key for key in varying if key not in drawn]]
    depth_keys = [key for key in varying if by_depth and key in axis.columns_of("depth")]

    values = map(tuple, ordinary.to_numpy(dtype=object))
    keys: dict[Any, Key] = {
        row: tuple(zip(ordinary.columns, own, strict=True)) for row, own in zip(table.index, values, strict=True)
    }
    members: dict[Key, list[Any]] = {}
    for row, key in keys.items():
        members.setdefault(key, []).append(row)
    for key, rows in members.items():
        if ambiguous := _ambiguous(runs.loc[rows], depth_keys):
            keys |= {row: (*key, *zip(ambiguous, table.loc[row, ambiguous], strict=True)) for row in rows}

    names = _names(list(dict.fromkeys(keys.values())), runs[known], axes)
    return pd.Series([names[keys[row]] if row in keys else None for row in runs.index], runs.index, dtype="str")


def _by_images(runs: pd.DataFrame, group: pd.Series) -> pd.Series:
    """Split groups whose runs saw different images, by the fingerprints of the images.

    An early result has no fingerprint and may have seen any images, so it is split off as well. A run without a result is put
    with the latest run.
    """
    group = group.copy()
    for column, what in IMAGES.items():
        for name, own in by_dataset(runs, group):
            if own[column].nunique() < 2:
                continue
            ended = own["status"].isin(["done", "diverged"])
            latest = own[own[column].notna()].sort_values("started", na_position="first", kind="stable")[column].iloc[-1]
            version = own[column].fillna(UNKNOWN).where(ended | own[column].notna(), latest)
            group[own.index] = f"{name}, {what}=" + version
    return group


def by_dataset(runs: pd.DataFrame, group: pd.Series) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each group, apart where the group holds several datasets, with the name of the group."""
    datasets = [key for key in deciding_columns(runs) if key.startswith("config.dataset.")]
    parts = runs[group.notna()].groupby([group[group.notna()], *datasets], sort=False, dropna=False)
    return [(str(name[0]), own) for name, own in parts]


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration of a cell and one column per deciding key in which the configurations differ."""
    known = runs[runs["group"].notna()]
    varying = [key for key in deciding_columns(runs) if known[key].nunique(dropna=False) > 1]
    columns = ["group", "depth", "residual", *varying]
    table = known[columns].drop_duplicates().reset_index(drop=True)
    return table.rename(columns={key: key.removeprefix("config.") for key in varying})


def shared(runs: pd.DataFrame) -> dict[str, str]:
    """The keys and values that the configurations of all runs have in common."""
    known = runs[runs["group"].notna()]
    keys = [key for key in runs.columns if key.startswith("config.") and known[key].nunique(dropna=False) == 1]
    return {key.removeprefix("config."): value for key in keys if isinstance(value := known[key].iloc[0], str)}


def left_over(runs: pd.DataFrame) -> pd.Series:
    """Whether each run is outside the plan of its study's last launch. Such runs are valid: they come from another launch."""
    return runs["planned"].eq(False).fillna(False).astype(bool)


def sorted_order(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> np.ndarray:
    """Positions of the rows sorted by group, x axis, arm, depth, residual, seed and path, missing values last.

    Numbers within texts are compared as numbers.
    """
    columns = list(dict.fromkeys([*axes.cell, "depth", "residual", "cell", "seed", "path"]))
    keys = pd.DataFrame(index=runs.index)
    for column in columns:
        if pd.api.types.is_numeric_dtype(runs[column]) or runs[column].dtype == "boolean":
            keys[column] = runs[column].astype("Float64").astype("float64")
        else:
            rank = {text: position for position, text in enumerate(axis.in_order(runs[column]))}
            keys[column] = runs[column].map(rank).astype("float64")
    return keys.sort_values(columns, na_position="last", kind="stable").index.to_numpy()


def fill_in_defaults(runs: pd.DataFrame) -> None:
    """Give runs that lack a key its default, if the key was added later and applies to the branch's `_target_`, if any."""
    known = axis.known(runs)
    for name, default in ADDED.items():
        if isinstance(default, dict):  # a whole branch
            lacks = known & runs.filter(regex=rf"^config\.{name}\.").isna().all(axis=1)
            for leaf, value in default.items():
                if (key := f"config.{name}.{leaf}") in runs.columns:
                    runs.loc[lacks, key] = typed(value)
            continue
        key, target = f"config.{name}", f"config.{name.rpartition('.')[0]}._target_"
        if key in runs.columns:
            lacks = runs[key].isna() & known
            if target in runs.columns:
                lacks &= runs[target].isin(runs.loc[runs[key].notna(), target])
            runs.loc[lacks, key] = typed(default)
    for network, defaults in ADDED_TO_NETWORKS.items():
        for name, default in defaults.items():
            if (key := f"config.{name}") in runs.columns and "config.model._target_" in runs.columns:
                runs.loc[runs[key].isna() & (runs["config.model._target_"] == network), key] = typed(default)


def _ambiguous(rows: pd.DataFrame, depth_keys: list[str]) -> list[str]:
    """The depth keys that take several values at one depth, among runs whose depth is known."""
    placed = rows[rows["depth"].notna() | (rows["status"] == "done")]
    values = placed[depth_keys].fillna(ABSENT).groupby(placed["depth"].astype("Float64").fillna(-1)).nunique()
    return [key for key in depth_keys if (values[key] > 1).any()]


def _names(keys: list[Key], runs: pd.DataFrame, axes: Axes) -> dict[Key, str]:
    """Name each group by as few `key=value` as tell all of them apart. A single group is named `model on dataset`."""
    if len(keys) == 1:
        model, dataset = (_all_of(runs[column], column) for column in ("model", "dataset"))
        return {keys[0]: f"{model} on {dataset}"}
    values = {key: dict(key) for key in keys}
    first = [*(column for key in axes.named_first for column in axis.columns_of(key)), *NAMED_FIRST]
    preference = sorted(
        {name for key in keys for name, _ in key},
        key=lambda name: (first.index(name) if name in first else len(first), name.endswith("_"), name),
    )
    chosen: list[str] = []
    told_apart = 1
    for name in preference:
        parts = len({tuple(values[key].get(each, ABSENT) for each in [*chosen, name]) for key in keys})
        if parts > told_apart:
            chosen, told_apart = [*chosen, name], parts
    return {key: ", ".join(_named(name, values[key][name]) for name in chosen if name in values[key]) for key in keys}


def _all_of(names: pd.Series, absent: str) -> str:
    """The one name, or all of them, as where the dataset is the x axis."""
    return ", ".join(sorted(names.dropna().unique(), key=natural)) or absent


def _named(key: str, value: str) -> str:
    """Such as `dataset=mnist` for `config.dataset.name` and `optimizer=Adam` for `config.optimizer._target_`."""
    key = key.removeprefix("config.")
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={value.rpartition('.')[2]}"
    return f"{key.removesuffix('.name')}={value}"


def _reasons(runs: pd.DataFrame, known: pd.Series, axes: Axes) -> list[str | None]:
    """Why each run is not counted; None if it is."""
    reasons: list[str | None] = []
    for row, status, mismatch in zip(runs.index, runs["status"], runs["mismatch"], strict=True):
        if mismatch:
            reasons.append("its directory and files name different configurations")
        elif status in ("done", "diverged") and not known[row]:
            reasons.append("no readable config.json, so its configuration is unknown")
        else:
            reasons.append(None if status == "done" else status)

    # A seed of a configuration that ran twice is one observation: the run that started last stands for both.
    ended = runs[
        pd.Series([reason in (None, "diverged") for reason in reasons], runs.index, dtype="bool") & runs["seed"].notna()
    ]
    latest_first = ended.sort_values(["started", "path"], ascending=False, na_position="last")
    position = {row: number for number, row in enumerate(runs.index)}
    cell = list(dict.fromkeys([*axes.cell, "depth", "residual"]))
    kept = latest_first.groupby([*cell, "seed"], dropna=False)["path"].transform("first")
    for row in latest_first.index[latest_first.duplicated([*cell, "seed"])]:
        reasons[position[row]] = f"same configuration and seed as {kept[row]}"
    return reasons


def at_greatest_depth(runs: pd.DataFrame) -> pd.DataFrame:
    """Those of these runs at the greatest depth of their group, among the depths that have most of plain and residual."""
    runs = runs[runs["depth"].notna()]
    picked = []
    for _, own in runs.groupby("group", sort=False):
        arms = own.groupby("depth")["residual"].nunique(dropna=False)
        picked.append(own[own["depth"] == arms.index[arms == arms.max()].max()])
    return pd.concat(picked) if picked else runs
