"""Which runs may be compared: a group holds the cells that differ in depth and `model.residual` and in nothing else.

Runs that differ in anything else (dataset, optimizer, epochs, …) belong to different groups and are never averaged or paired.
So do runs that were trained or tested on different images, as when a folder of images has changed. Groups are named by the
configuration keys that tell them apart, such as `dataset=mnist, optimizer.lr=0.01`.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from run_contract import ADDED, NOT_IN_HASH

Key = tuple[tuple[str, str], ...]  # the configuration keys in which runs differ, with their values

ABSENT = "—"  # shown for a key that a configuration does not have

RESIDUAL = "config.model.residual"
# Keys that set the depth. They tell groups apart only if one depth is reached in several ways, as by two lists of widths.
DEPTH = ("config.model.depth", "config.model.widths", "config.model.filters", "config.model.blocks_per_stage")
# Columns with the fingerprints of the images a run has seen, and their names in the name of a group.
IMAGES = {"data": "training images", "test_data": "test images"}
UNKNOWN = "unknown"
# Keys that the names of groups use first.
NAMED_FIRST = ("config.dataset.name", "config.model.name", "config.optimizer._target_", "config.model.shortcut")


def assign(runs: pd.DataFrame) -> pd.DataFrame:
    """Fill in `group`, `counted` and `reason`.

    Statistics use the runs that are counted: those that are done, have a known configuration, and are the only one of their
    group, depth, residual and seed. `reason` says why any other run is not counted.
    """
    _fill_in_defaults(runs)
    runs["group"] = _by_images(runs, by_configuration(runs))
    runs["reason"] = pd.Series(_reasons(runs, _known(runs)), dtype="str", index=runs.index)
    runs["counted"] = runs["reason"].isna()
    return runs


def by_configuration(runs: pd.DataFrame) -> pd.Series:
    """The group of each run by its configuration alone, whatever images it saw; missing if the configuration is unknown."""
    deciding = deciding_columns(runs)
    varying = [key for key in deciding if key != RESIDUAL and runs[key].nunique(dropna=False) > 1]
    known = _known(runs)
    table = runs.loc[known, varying].fillna(ABSENT)
    ordinary = table[[key for key in varying if key not in DEPTH]]
    depth_keys = [key for key in varying if key in DEPTH]

    keys: dict[Any, Key] = {row: tuple(zip(ordinary.columns, ordinary.loc[row], strict=True)) for row in table.index}
    members: dict[Key, list[Any]] = {}
    for row, key in keys.items():
        members.setdefault(key, []).append(row)
    for key, rows in members.items():
        if ambiguous := _ambiguous(runs.loc[rows], depth_keys):
            keys |= {row: (*key, *zip(ambiguous, table.loc[row, ambiguous], strict=True)) for row in rows}

    names = _names(list(dict.fromkeys(keys.values())), runs[known])
    return pd.Series([names[keys[row]] if row in keys else None for row in runs.index], runs.index, dtype="str")


def _by_images(runs: pd.DataFrame, group: pd.Series) -> pd.Series:
    """Split groups whose runs saw different images, by the fingerprints of the images.

    An early result has no fingerprint and may have seen any images, so it is split off as well. A run without a result is put
    with the latest run.
    """
    group = group.copy()
    for column, what in IMAGES.items():
        for name, own in runs.groupby(group, sort=False):
            if own[column].nunique() < 2:
                continue
            ended = own["status"].isin(["done", "diverged"])
            latest = own[own[column].notna()].sort_values("started", na_position="first", kind="stable")[column].iloc[-1]
            version = own[column].fillna(UNKNOWN).where(ended | own[column].notna(), latest)
            group[own.index] = f"{name}, {what}=" + version
    return group


def _known(runs: pd.DataFrame) -> pd.Series:
    """Whether the configuration of each run is known."""
    deciding = deciding_columns(runs)
    return runs[deciding].notna().any(axis=1) if deciding else pd.Series(False, index=runs.index)


def deciding_columns(runs: pd.DataFrame) -> list[str]:
    """The `config.*` columns that decide a run's numbers."""
    return [key for key in runs.columns if key.startswith("config.") and not _is_under(key, NOT_IN_HASH)]


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


def sorted_order(runs: pd.DataFrame) -> np.ndarray:
    """Positions of the rows sorted by group, depth, residual, seed and path, missing values last.

    Numbers within texts are compared as numbers.
    """
    keys = pd.DataFrame(index=runs.index)
    for column in ("group", "cell", "path"):
        rank = {text: position for position, text in enumerate(sorted(runs[column].dropna().unique(), key=natural))}
        keys[column] = runs[column].map(rank).astype("float64")
    for column in ("depth", "residual", "seed"):
        keys[column] = runs[column].astype("Float64").astype("float64")
    ordered = keys.sort_values(["group", "depth", "residual", "cell", "seed", "path"], na_position="last", kind="stable")
    return ordered.index.to_numpy()


def natural(text: str) -> list[Any]:
    """A sort key that puts depth=5 before depth=10 and lr=0.001 before lr=0.01."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", text)
    return [(0, float(part), "") if number % 2 else (1, 0, part) for number, part in enumerate(parts) if part]


def _fill_in_defaults(runs: pd.DataFrame) -> None:
    """Give runs that lack a key its default, if the key was added later and applies to the `_target_` of that branch."""
    for name, default in ADDED.items():
        key, target = f"config.{name}", f"config.{name.rpartition('.')[0]}._target_"
        if key in runs.columns and target in runs.columns:
            lacks = runs[key].isna() & runs[target].isin(runs.loc[runs[key].notna(), target])
            runs.loc[lacks, key] = default


def _is_under(key: str, branches: Iterable[str]) -> bool:
    name = key.removeprefix("config.")
    return any(name == branch or name.startswith(f"{branch}.") for branch in branches)


def _ambiguous(rows: pd.DataFrame, depth_keys: list[str]) -> list[str]:
    """The depth keys that take several values at one depth, among runs whose depth is known."""
    placed = rows[rows["depth"].notna() | (rows["status"] == "done")]
    values = placed[depth_keys].fillna(ABSENT).groupby(placed["depth"].astype("Float64").fillna(-1)).nunique()
    return [key for key in depth_keys if (values[key] > 1).any()]


def _names(keys: list[Key], runs: pd.DataFrame) -> dict[Key, str]:
    """Name each group by as few `key=value` as tell all of them apart. A single group is named `model on dataset`."""
    if len(keys) == 1:
        model, dataset = (next(iter(runs[column].dropna()), column) for column in ("model", "dataset"))
        return {keys[0]: f"{model} on {dataset}"}
    values = {key: dict(key) for key in keys}
    preference = sorted(
        {name for key in keys for name, _ in key},
        key=lambda name: (NAMED_FIRST.index(name) if name in NAMED_FIRST else len(NAMED_FIRST), name.endswith("_"), name),
    )
    chosen: list[str] = []
    told_apart = 1
    for name in preference:
        parts = len({tuple(values[key].get(each, ABSENT) for each in [*chosen, name]) for key in keys})
        if parts > told_apart:
            chosen, told_apart = [*chosen, name], parts
    return {key: ", ".join(_named(name, values[key][name]) for name in chosen if name in values[key]) for key in keys}


def _named(key: str, value: str) -> str:
    """Such as `dataset=mnist` for `config.dataset.name` and `optimizer=Adam` for `config.optimizer._target_`."""
    key = key.removeprefix("config.")
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={value.rpartition('.')[2]}"
    return f"{key.removesuffix('.name')}={value}"


def _reasons(runs: pd.DataFrame, known: pd.Series) -> list[str | None]:
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
    for _, same in latest_first.groupby(["group", "depth", "residual", "seed"], dropna=False):
        for row in same.index[1:]:
            reasons[position[row]] = f"same configuration and seed as {same['path'].iloc[0]}"
    return reasons
