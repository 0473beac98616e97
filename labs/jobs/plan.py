"""The jobs of a multirun, which are known before the first one starts, and what each has on disk.

A job is one configuration with its seeds; jobs that differ only in their seeds share a cell. Nothing here imports torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labs.cells import Cell
from labs.files import write_json
from labs.jobs.rerun import shown, without_seed
from labs.jobs.rundir import Found, busy, is_locked, look
from labs.training import results


@dataclass(frozen=True)
class Job:
    """One job: seeds of a cell.

    Hydra composes it with `overrides`, `name` distinguishes it from the sweep's other jobs, and `number` is its place among
    them.
    """

    overrides: list[str]
    cell: Cell
    seeds: list[int]
    name: str
    number: int = 0

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
    """Write the plan to `study.json`, which tells the analysis what is missing."""
    planned: dict[str, dict[str, Any]] = {}
    for job in jobs:
        entry = planned.setdefault(
            os.path.relpath(job.cell.directory, directory),
            {"hash": job.cell.hash, "seeds": [], "overrides": without_seed(job.overrides)},
        )
        entry["seeds"] = sorted({*entry["seeds"], *job.seeds})
    entries = [{"dir": name, **entry} for name, entry in planned.items()]
    write_json(directory / "study.json", results.sealed({"study": study, "command": command, "cells": entries}))
