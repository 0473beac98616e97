"""The jobs of a multirun, known before the first one starts, and what is on disk of each.

A job is one configuration with its seeds; jobs that differ in their seeds alone share a cell. Nothing here imports torch.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from labs import cells, results
from labs.files import write_json
from labs.rerun import shown, without_seed


@dataclass(frozen=True)
class Job:
    """One job.

    `overrides` are those Hydra composes it with, `values` what comes of them, in plain Python and without Hydra's own node,
    `cell` is its directory, `name` what sets it apart from the sweep's other jobs, and `number` its place among them.
    """

    overrides: list[str]
    values: dict[str, Any]
    cell: Path
    seeds: list[int]
    name: str
    number: int = 0

    @cached_property
    def hash(self) -> str:
        """What the job's results carry, and those of another configuration do not."""
        return cells.digest(self.values)

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration."""
        return OmegaConf.create(cells.literal(self.values))

    def results(self) -> list[dict[str, Any]]:
        """The result.json of each seed that has one which can be believed."""
        return [result for result, _ in self._read() if result is not None]

    def flaws(self) -> list[str]:
        """A line for each result.json that cannot be believed: which, and why."""
        paths = [cells.run_directory(self.cell, seed) / "result.json" for seed in self.seeds]
        return [f"{shown(path)}: {flaw}" for path, (_, flaw) in zip(paths, self._read(), strict=True) if flaw]

    def lost(self) -> list[Path]:
        """The best.pt of each finished run that has lost it, but not of one without any checkpoints, as in an archive."""
        runs = [cells.run_directory(self.cell, seed) for seed in self.seeds]
        found = [(run, result) for run, (result, _) in zip(runs, self._read(), strict=True) if result is not None]
        return [results.best_of(run) for run, result in found
                if results.without_best(run, result) and results.best_of(run).parent.is_dir()]  # fmt: skip

    def status(self) -> str:
        """done, diverged or failed if all seeds have a result (the worst of them), else missing."""
        statuses = [result["status"] for result in self.results()]
        if len(statuses) < len(self.seeds):
            return "missing"
        return next((s for s in ("failed", "interrupted", "diverged") if s in statuses), "done")

    def _read(self) -> list[tuple[dict[str, Any] | None, str]]:
        return [results.read(cells.run_directory(self.cell, seed), seed, self.hash) for seed in self.seeds]


def write(directory: Path, study: str | None, command: str, jobs: list[Job]) -> None:
    """Write the plan to `study.json`, from which the analysis knows what is missing."""
    planned: dict[str, dict[str, Any]] = {}
    for job in jobs:
        entry = planned.setdefault(
            os.path.relpath(job.cell, directory),
            {"hash": job.hash, "seeds": [], "overrides": without_seed(job.overrides)},
        )
        entry["seeds"] = sorted({*entry["seeds"], *job.seeds})
    entries = [{"dir": name, **entry} for name, entry in planned.items()]
    write_json(directory / "study.json", results.sealed({"study": study, "command": command, "cells": entries}))
