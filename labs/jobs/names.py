"""What jobs and cells are called where people read: `mlp-digits-depth=5-plain lr=0.01`, where the directory has a hash.

A name tells what sets a cell apart from the others of its sweep. Nothing here imports torch.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hydra.errors import HydraException

from labs.cells import Cell
from labs.files import read_json
from labs.jobs.overrides import key_of, parse
from run_contract import decides, label, short, typed

Setting = tuple[str, str]  # a key and its value as typed
DAMAGED = (TypeError, KeyError, AttributeError, HydraException)  # no plan, a damaged one, or not of this cell


def of_cells(overrides: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What cells are called, by their names.

    Args:
        overrides: for each name, those that set its cell apart.

    Returns:
        The name itself, which has the hash, where nothing sets a cell apart or another one would be called the same.
    """
    return _called({name: [each for each in _settings(lines) if decides(each[0])] for name, lines in overrides.items()})


def of_job(cell: str, overrides: Sequence[str]) -> str:
    """What a job is called: as its cell is, and by what sets it apart from others of this cell, such as `seed=1`."""
    return " ".join([cell, *(short(*setting) for setting in _settings(overrides) if not decides(setting[0]))])


def apart(titles: Sequence[str]) -> list[str]:
    """The titles of a sweep's jobs without what all of them begin with: `depth=5-plain`, `depth=20-plain`."""
    parts = [re.split(r"(?<=[- ])", title) for title in titles]
    same = next((at for at, part in enumerate(zip(*parts, strict=False)) if len(set(part)) > 1), 0)
    return ["".join(own[same:]) for own in parts]


def in_study(
    cell: Cell, overrides: Sequence[str] = (), choices: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, dict[str, Any]]:
    """What a cell is called in its study, whichever launch trains it, and the keys that set it apart there, with their values.

    Without a plan that has the cell it goes by its name, and by what the overrides set.

    Args:
        cell: the cell.
        overrides: those of the run.
        choices: the files that were chosen of the groups, such as `adam` for `optimizer`.
    """
    try:
        apart = _apart_in_study(cell, choices)
        called, settings = _called(apart)[cell.name], apart[cell.name]
    except DAMAGED:
        called, settings = cell.name, [setting for setting in _settings(overrides) if decides(setting[0])]
    values = _flat(cell.values)
    return called, {key: values.get(key, value) for key, value in settings}


def _apart_in_study(cell: Cell, choices: Mapping[str, str]) -> dict[str, list[Setting]]:
    """For each cell of the study, also of earlier launches, the settings that not all of them have.

    A key that this cell leaves at its default counts where another one sets it to something else.
    """
    plan = read_json(cell.directory.parent / "study.json")
    lines = plan.get("earlier", {}) | {entry["dir"]: entry["overrides"] for entry in plan["cells"]}
    same = set.intersection(*map(set, lines.values()))  # as typed, which is fast
    own = {name: _settings(line for line in own if line not in same) for name, own in lines.items()}
    settings = {name: [setting for setting in found if decides(setting[0])] for name, found in own.items()}
    common = set.intersection(*map(set, settings.values()))
    apart = {name: [setting for setting in own if setting not in common] for name, own in settings.items()}
    values: dict[str, set[str]] = {}  # of every key
    for key, value in (setting for own in apart.values() for setting in own):
        values.setdefault(key, set()).add(value)
    known = {key: typed(value) for key, value in (_flat(cell.values) | dict(choices)).items()}
    left = sorted(values.keys() & known.keys() - {key for key, _ in settings[cell.name]})
    apart[cell.name] += [(key, known[key]) for key in left if values[key] != {known[key]}]
    return apart


def _called(settings: Mapping[str, list[Setting]]) -> dict[str, str]:
    called = {name: label(name, own) for name, own in settings.items()}
    often = Counter(called.values())
    return {name: called[name] if own and often[called[name]] == 1 else name for name, own in settings.items()}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration by full keys, such as `optimizer.lr`."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _settings(overrides: Iterable[str]) -> list[Setting]:
    return [(key_of(line), _value(line)) for line in overrides if "=" in line]


def _value(override: str) -> str:
    value = parse(override).value()
    return typed(value) if value is None or isinstance(value, bool | int | float) else override.partition("=")[2].strip("\"'")
