"""What cells are called in tables of cells: their directories without the hash, and what the study varies beyond that."""

import json
from collections import Counter

import pandas as pd

from multirun_analysis import axes as axis
from multirun_analysis.axes import ABSENT, DEPTH, RESIDUAL, RESIDUAL_KEY, Axes
from run_contract import decides, label, typed

AS_TYPED = {DEPTH: "model.depth", RESIDUAL: RESIDUAL_KEY}
WORDS = {"True": "true", "False": "false", "None": "null"}


def of_cells(runs: pd.DataFrame, axes: Axes) -> dict[str, str]:
    """What each cell is called, by its directory (the column `cell`): `mlp-digits-depth=5-plain lr=0.01`.

    Of a cell whose configuration is not known, since none of its runs has started, the plan tells what sets it apart. Cells
    that would be called the same go by their directories.
    """
    texts = {AS_TYPED.get(key, key): axis.texts(runs, key) for key in (axes.x, axes.arm, *axes.facets)}
    varying = {key: values for key, values in texts.items() if values.nunique() > 1}
    plans = runs.dropna(subset="overrides").groupby("cell", sort=False)["overrides"].first()
    planned = {cell: _settings(text) for cell, text in plans.items()}
    for key in dict.fromkeys(key for own in planned.values() for key in own):
        if key not in varying and f"config.{key}" in runs.columns:  # it will vary once these cells have started
            varying[key] = axis.texts(runs, key)
    order = {key: position for position, key in enumerate(varying)}
    called = {}
    for cell, own in runs[["cell", "group"]].groupby("cell", sort=False):
        settings: dict[str, str] = {
            key: told[0] for key, values in varying.items() if len(told := values[own.index].dropna().unique()) == 1
        }
        if own["group"].isna().all():
            settings = planned.get(cell, {}) | settings
        ordered = sorted(settings.items(), key=lambda setting: order.get(setting[0], len(order)))
        called[str(cell)] = label(str(cell), [(key, WORDS.get(text, text)) for key, text in ordered if text != ABSENT])
    often = Counter(called.values())
    return {cell: name if often[name] == 1 else cell for cell, name in called.items()}


def _settings(overrides: str) -> dict[str, str]:
    """Keys and values of the overrides that decide a cell, from a list in JSON, see `plan.apart`."""
    try:
        lines = [line for line in json.loads(overrides) if "=" in line]
    except (ValueError, TypeError):
        return {}
    pairs = [line.lstrip("+").partition("=") for line in lines]
    numbers = {key: axis.as_number(value) for key, _, value in pairs}
    return {key: value.strip("\"'") if numbers[key] is None else typed(numbers[key]) for key, _, value in pairs if decides(key)}
