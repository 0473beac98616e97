"""The jobs of a multirun, which are known before the first one starts, and what each has on disk.

A job is one configuration with its seeds; jobs that differ only in their seeds share a cell. Nothing here imports torch.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labs.cells import Cell
from labs.files import read_json, write_json
from labs.jobs.rerun import shown, without_seed
from labs.jobs.rundir import Found, busy, is_locked, look
from labs.training import results


@dataclass(frozen=True)
class Job:
    """One job: seeds of a cell.

    Hydra composes it with `overrides`. `name` distinguishes it from the sweep's other jobs as a command line would, `label` is
    what progress and summary call it, by default its name, and `number` is its place among the jobs.
    """

    overrides: list[str]
    cell: Cell
    seeds: list[int]
    name: str
    number: int = 0
    label: str = ""

    @property
    def title(self) -> str:
        """What progress and summary call it."""
        return self.label or self.name

    def found(self) -> list[tuple[Path, Found]]:
        """The directory of each seed, and what it holds."""
        runs = [(self.cell.run_directory(seed), seed) for seed in self.seeds]
        return [(run, look(run, seed, self.cell.hash)) for run, seed in runs]

    def refusals(self) -> list[str]:
        """Why the job will train nothing, one line per blocked seed."""
        found = [(run, found) for run, found in self.found() if not found.finished]
        return [found.refusal or busy(run) for run, found in found if found.refusal or is_locked(run)]

    def results(self) -> list[dict[str, Any]]:
        """The result.json of each seed that has a valid one."""
        return [result for _, found in self.found() if (result := found.result) is not None]

    def flaws(self) -> list[str]:
        """One line per invalid result.json: which, and why."""
        return [f"{shown(run / 'result.json')}: {found.flaw}" for run, found in self.found() if found.flaw]

    def lost(self) -> list[tuple[Path, str]]:
        """What finished runs have lost: the directory and a line."""
        return [(run, line) for run, found in self.found() if found.result for line in results.lost(run, found.result).values()]

    def status(self) -> str:
        """done, diverged or failed if all seeds have a result (the worst of them), else missing."""
        statuses = [result["status"] for result in self.results()]
        if len(statuses) < len(self.seeds):
            return "missing"
        return next((s for s in ("failed", "interrupted", "diverged") if s in statuses), "done")


def write(directory: Path, study: str | None, command: str, jobs: list[Job]) -> None:
    """Write `study.json`: what this launch asks for, which tells the analysis what is missing, and what each one added."""
    planned: dict[str, dict[str, Any]] = {}
    for job in jobs:
        entry = planned.setdefault(
            os.path.relpath(job.cell.directory, directory),
            {"hash": job.cell.hash, "seeds": [], "overrides": without_seed(job.overrides)},
        )
        entry["seeds"] = sorted({*entry["seeds"], *job.seeds})
    entries = [{"dir": name, **entry} for name, entry in planned.items()]
    launches = _launches(directory, command, {name: entry["seeds"] for name, entry in planned.items()})
    content: dict[str, Any] = {"study": study, "command": command, "cells": entries, "launches": launches}
    if earlier := _earlier(directory, planned):
        content["earlier"] = earlier
    write_json(directory / "study.json", results.sealed(content))


def _earlier(directory: Path, planned: Iterable[str]) -> dict[str, list[str]]:
    """The overrides of cells that earlier launches have started and this one does not ask for; they tell what sets it apart."""
    old = read_json(directory / "study.json")
    try:
        found = old.get("earlier", {}) | {cell["dir"]: cell["overrides"] for cell in old["cells"]}
        return {name: own for name, own in found.items() if name not in planned and (directory / name).is_dir()}
    except (AttributeError, TypeError, KeyError):  # no plan
        return {}


def _launches(directory: Path, command: str, asked: dict[str, list[int]]) -> list[dict[str, Any]]:
    """The launches with the seeds of each cell that they were the first to ask for, this one last unless it adds none.

    Seeds that were there before launches were recorded, or whose record is lost, come first, without a time.

    Args:
        directory: of the study.
        command: of this launch.
        asked: the seeds of each cell that it asks for.
    """
    launches = _recorded(directory, asked)
    known = {(name, seed) for launch in launches for name, seeds in launch["cells"].items() for seed in seeds}
    new = {name: [seed for seed in seeds if (name, seed) not in known] for name, seeds in asked.items()}
    if new := {name: seeds for name, seeds in new.items() if seeds}:
        launches.append({"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": command, "cells": new})
    return launches


def _recorded(directory: Path, cells: Iterable[str]) -> list[dict[str, Any]]:
    """The launches that study.json tells; without any, one of unknown time for the runs that are planned or there."""
    old = read_json(directory / "study.json")
    before: dict[str, set[int]] = {}
    try:
        if old.get("checksum", results.checksum(old)) == results.checksum(old):
            if "launches" in old:
                return [
                    {"time": launch["time"], "command": launch["command"],
                     "cells": {name: sorted(seeds) for name, seeds in launch["cells"].items()}}
                    for launch in old["launches"]
                ]  # fmt: skip
            before = {cell["dir"]: set(cell["seeds"]) for cell in old["cells"]}
    except (AttributeError, TypeError, KeyError):  # no plan
        pass
    for name in cells:
        for path in (directory / name).glob("seed=*/config.json"):
            if (seed := path.parent.name.removeprefix("seed=")).isdecimal():
                before.setdefault(name, set()).add(int(seed))
    return [{"time": None, "command": None, "cells": {name: sorted(before[name]) for name in before}}] if before else []
