"""The plan of a study, `study.json`: the runs that its last launch asked for, and so which ones are missing or left over.

{"study": "my_study", "command": "python train.py -m …",
 "cells": [{"dir": …, "hash": …, "seeds": [0, 1], "overrides": […]}],
 "launches": [{"time": …, "command": …, "cells": {dir: [0, 1]}}]}

`launches` has the seeds that each launch was the first to ask for. Those that were there before launches were recorded stand in
a first one without a time, and so do all seeds of a study.json that has no `launches`. `earlier` is for loggers.
"""

import json
from pathlib import Path
from typing import Any

from multirun_analysis import markup
from multirun_analysis.files import read_json
from multirun_analysis.result import checksum

VARIED = ("model.depth", "model.widths", "model.residual")  # what may differ within a group

Plan = dict[str, Any]
Row = dict[str, Any]


def read_plan(path: Path, name: str, problems: list[str]) -> Plan | None:
    """Read a plan. If that fails, append a line about the file `name` to `problems` and return None."""
    try:
        plan = read_json(path)
        if "checksum" in plan and plan["checksum"] != checksum(plan):
            raise ValueError("changed or damaged")
        for cell in plan["cells"]:
            texts = [cell["dir"], cell["hash"], *cell["overrides"]]
            if not all(isinstance(text, str) for text in texts) or not _are_seeds(cell["seeds"]):
                raise TypeError("not a plan")
        plan = {"launches": [{"time": None, "cells": {cell["dir"]: cell["seeds"] for cell in plan["cells"]}}], **plan}
        for launch in plan["launches"]:
            if not isinstance(launch["time"], str | None) or not all(map(_are_seeds, launch["cells"].values())):
                raise TypeError("not a plan")
        return plan
    except OSError as error:
        problems.append(f"{name} cannot be read: {error.strerror}; what is missing is unknown")
    except (ValueError, TypeError, KeyError, AttributeError):
        problems.append(f"{name} is damaged; what is missing is unknown")
    return None


def is_planned(plan: Plan, cell: str, seed: int | None) -> bool:
    """Whether the plan contains this seed of this cell."""
    return any(planned["dir"] == cell and seed in planned["seeds"] for planned in plan["cells"])


def asked(plan: Plan, cell: str, seed: int | None) -> Row:
    """When a run was first asked for, and for how many seeds of its cell.

    Returns:
        `launch`: the number of that launch, from 1; 0 if it is from before launches were recorded, None if none is known.
        `planned_first`: how many seeds the first launch that names the cell asked for; None if that one was not recorded.
        `planned_later`: how many seeds later launches added. None both if no launch names the cell.
    """
    unknown = int(bool(plan["launches"]) and plan["launches"][0]["time"] is None)
    named = [(number, launch["cells"][cell]) for number, launch in enumerate(plan["launches"], 1 - unknown)
             if cell in launch["cells"]]  # fmt: skip
    if not named:
        return {"launch": None, "planned_first": None, "planned_later": None}
    (first, seeds), *later = named
    return {
        "launch": next((number for number, seeds in named if seed in seeds), None),
        "planned_first": len(seeds) if first else None,
        "planned_later": sum(len(seeds) for _, seeds in later),
    }


def apart(plan: Plan) -> dict[str, list[str]]:
    """For each cell the overrides that not all cells of the plan have, without characters that a terminal would obey."""
    common = set.intersection(*(set(cell["overrides"]) for cell in plan["cells"])) if plan["cells"] else set()
    return {cell["dir"]: [markup.name(line) for line in cell["overrides"] if line not in common] for cell in plan["cells"]}


def unstarted(folder: Path, plan: Plan, started: dict[Path, Row]) -> list[tuple[Path, Row]]:
    """The planned runs that have no directory yet, with what is known about them.

    If another seed of the cell has started, its configuration is that of the cell. Otherwise the configuration is taken from a
    cell whose overrides differ in depth and residual only, and these two come from the cell's own overrides.

    Args:
        folder: directory of the study.
        plan: plan of the study.
        started: the rows of the runs that have started, by run directory.
    """
    by_cell = {path.parent: row for path, row in reversed(started.items()) if _configuration(row) and not row["mismatch"]}
    by_rest = {_rest(cell): by_cell[folder / cell["dir"]] for cell in plan["cells"] if folder / cell["dir"] in by_cell}
    rows = []
    for cell in plan["cells"]:
        directory = folder / cell["dir"]
        known = _described(by_cell[directory]) if directory in by_cell else _expected(cell, by_rest.get(_rest(cell)))
        for seed in cell["seeds"]:
            if directory / f"seed={seed}" not in started:
                rows.append((directory / f"seed={seed}", {**known, "seed": seed, "hash": cell["hash"]}))
    return rows


def _are_seeds(seeds: Any) -> bool:
    return isinstance(seeds, list) and all(type(seed) is int and 0 <= seed < 2**62 for seed in seeds)


def _rest(cell: Row) -> frozenset[str]:
    return frozenset(text for text in cell["overrides"] if text.partition("=")[0].lstrip("+") not in VARIED)


def _configuration(row: Row) -> Row:
    return {key: value for key, value in row.items() if key.startswith("config.")}


def _described(row: Row) -> Row:
    return {key: row[key] for key in ("depth", "residual", "model", "dataset", "num_classes")} | _configuration(row)


def _expected(cell: Row, sibling: Row | None) -> Row:
    """What is known about a cell of which no run has started."""
    own = {key.lstrip("+"): value for key, _, value in (text.partition("=") for text in cell["overrides"])}
    known = _described(sibling) if sibling else {}
    known |= {f"config.{key}": own[key] for key in VARIED if key in own and sibling}
    if "model.residual" in own:
        known["residual"] = {"true": True, "false": False}.get(own["model.residual"].lower())
    if "model.depth" in own or "model.widths" in own:
        known["depth"] = configured_depth(own)
    return known


def configured_depth(settings: dict[str, str]) -> int | None:
    """The depth of an MLP that has no result yet, from settings as typed; None for other networks, whose results tell it."""
    try:
        widths = json.loads(settings.get("model.widths", "null"))
        return len(widths) if isinstance(widths, list) else int(settings["model.depth"])
    except (ValueError, KeyError):
        return None
