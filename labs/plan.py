"""The jobs of a multirun, known before the first one starts, and what is on disk of each.

A job is one configuration with its seeds; jobs that differ in their seeds alone share a cell. Nothing here imports torch.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from labs import cells
from labs.files import read_json, write_json
from labs.rerun import without_seed


@dataclass(frozen=True)
class Job:
    """One job.

    `overrides` are those Hydra composes it with, `cfg` is what comes of them, without Hydra's own node, `cell` its directory,
    `name` what sets it apart from the sweep's other jobs, and `number` its place among them.
    """

    overrides: list[str]
    cfg: DictConfig
    cell: Path
    seeds: list[int]
    name: str
    number: int = 0

    @cached_property
    def hash(self) -> str:
        """What the job's results carry, and those of another configuration do not."""
        return cells.config_hash(self.cfg)

    def results(self) -> list[dict[str, Any]]:
        """The result.json of each seed that has one of this configuration."""
        found = [read_json(cells.run_directory(self.cell, seed) / "result.json") for seed in self.seeds]
        return [result for result in found if isinstance(result, dict) and result.get("hash") == self.hash]

    def status(self) -> str:
        """done, diverged or failed if all seeds have a result (the worst of them), else missing."""
        statuses = [result.get("status", "missing") for result in self.results()]
        if len(statuses) < len(self.seeds):
            return "missing"
        return next((s for s in ("failed", "missing", "interrupted", "diverged") if s in statuses), "done")


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
    write_json(directory / "study.json", {"study": study, "command": command, "cells": entries})
