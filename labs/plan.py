"""The jobs of a multirun, known before the first one starts, and what is on disk of each.

A job is one configuration with its seeds; jobs that differ in their seeds alone share a cell. Nothing here imports torch.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from labs import cells, results
from labs.files import write_json


@dataclass(frozen=True)
class Job:
    """One job: its overrides, its composed configuration, its cell's directory, its seeds, and what sets it apart as a name."""

    overrides: list[str]
    cfg: DictConfig
    cell: Path
    seeds: list[int]
    name: str

    @cached_property
    def hash(self) -> str:
        """What the job's results carry, and those of another configuration do not."""
        return cells.config_hash(self.cfg)

    def results(self) -> list[dict[str, Any]]:
        """The result.json of each seed that has one which can be believed."""
        return [result for result, _ in self._read() if result is not None]

    def flaws(self) -> list[str]:
        """A line for each result.json that cannot be believed: which, and why."""
        paths = [cells.run_directory(self.cell, seed) / "result.json" for seed in self.seeds]
        return [f"{path}: {flaw}" for path, (_, flaw) in zip(paths, self._read(), strict=True) if flaw]

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


def expand(master: DictConfig) -> list[Job] | None:
    """Every job of a multirun in the order in which it will run; None if its sweeper decides as it goes.

    Args:
        master: the configuration Hydra composed for the multirun, with its `hydra` node.
    """
    sweeper = master.hydra.sweeper
    if not sweeper._target_.endswith("BasicSweeper"):
        return None
    loader = GlobalHydra.instance().config_loader()
    arguments = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    arguments += list(master.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    grid = [job for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None) for job in batch]
    return compose(master, grid)


def compose(master: DictConfig, grid: Sequence[Sequence[str]], first: int = 0) -> list[Job]:
    """The jobs of these lists of overrides, composed as the launcher will.

    Args:
        master: the configuration Hydra composed for the multirun.
        grid: the overrides of each job.
        first: the number of the first of them in the sweep.
    """
    loader = GlobalHydra.instance().config_loader()
    common = set.intersection(*map(set, grid)) if len(grid) > 1 else set()
    jobs = []
    for number, job_overrides in enumerate(grid, first):
        cfg = loader.load_sweep_config(master, list(job_overrides))
        with open_dict(cfg):
            cfg.hydra.job.id = cfg.hydra.job.num = number
        cell = Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir
        name = " ".join(o for o in job_overrides if o not in common)
        jobs.append(Job(list(job_overrides), cfg, cell, cells.seeds(cfg), name or cell.name))
    return jobs


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


def rerun_command(overrides: list[str], cfg: DictConfig, cell: Path) -> str:
    """The command that trains one job by itself, into the same directory, or goes on with it."""
    overrides = [o for o in overrides if not o.startswith("resume=")]
    goes_there = cell.absolute() == Path(cells.run_dir(cfg, now="")).absolute()
    quoted = str(cell).replace('"', '\\"')  # in Hydra's quotes, for the names of cells hold a =
    place = [] if goes_there else [f'hydra.run.dir="{quoted}"']
    return shlex.join(["python", "train.py", *overrides, "hydra.mode=RUN", *place])


def without_seed(overrides: list[str]) -> list[str]:
    """The overrides that decide the cell and not the seed."""
    return [o for o in overrides if o.partition("=")[0].lstrip("+") not in ("seed", "replicas")]
