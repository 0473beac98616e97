"""What jobs and cells are called where people read: `mlp-digits-depth=5-plain lr=0.01`, where the directory has a hash.

A name tells what sets a cell apart from the others of its sweep. Nothing here imports torch.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hydra.errors import HydraException

from labs.cells import Cell
from labs.files import read_json
from labs.jobs.overrides import key_of, parse
from run_contract import decides, label, short, typed

Setting = tuple[str, str]  # a key and its value as typed


def of_cells(overrides: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What cells are called, by their names.

    Args:
        overrides: for each name, those that set its cell apart.

    Returns:
        The name itself, which has the hash, where nothing sets a cell apart or another one would be called the same.
    """
    settings = {name: [setting for setting in _settings(lines) if decides(setting[0])] for name, lines in overrides.items()}
    called = {name: label(name, own) for name, own in settings.items()}
    often = Counter(called.values())
    return {name: called[name] if own and often[called[name]] == 1 else name for name, own in settings.items()}


def of_job(cell: str, overrides: Sequence[str]) -> str:
    """What a job is called: as its cell is, and by what sets it apart from others of this cell, such as `seed=1`."""
    return " ".join([cell, *(short(*setting) for setting in _settings(overrides) if not decides(setting[0]))])


def apart(titles: Sequence[str]) -> list[str]:
    """The titles of a sweep's jobs without what all of them begin with: `depth=5-plain`, `depth=20-plain`."""
    parts = [re.split(r"(?<=[- ])", title) for title in titles]
    same = next((at for at, part in enumerate(zip(*parts, strict=False)) if len(set(part)) > 1), 0)
    return ["".join(own[same:]) for own in parts]


def in_study(cell: Cell) -> str:
    """What a cell is called in the sweep that its study was last planned for; its name where no plan has it."""
    plan = read_json(cell.directory.parent / "study.json")
    try:
        lines = {entry["dir"]: entry["overrides"] for entry in plan["cells"]}
        common = set.intersection(*map(set, lines.values()))
        return of_cells({name: [line for line in own if line not in common] for name, own in lines.items()})[cell.name]
    except (TypeError, KeyError, AttributeError, HydraException):  # no plan, or not of this cell
        return cell.name


def _settings(overrides: Iterable[str]) -> list[Setting]:
    return [(key_of(line), _value(line)) for line in overrides if "=" in line]


def _value(override: str) -> str:
    value = parse(override).value()
    return typed(value) if value is None or isinstance(value, bool | int | float) else override.partition("=")[2].strip("\"'")
