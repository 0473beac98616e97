"""What is on disk of a sweep's jobs: its plan, and how far each job is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written import write_result

from labs import cells
from labs.cells import Cell
from labs.jobs import plan
from labs.training import results
from multirun_analysis.rundir import read_run

Expand = Callable[..., list[plan.Job]]


# ── study.json ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_plan_on_disk_has_a_cell_once_with_all_its_seeds(expand: Expand, tmp_path: Path) -> None:
    jobs = expand("model.depth=1,2", "seed=3,0", "replicas=2", "trainer.epochs=1")
    plan.write(Path("multirun/s"), "s", "python train.py -m …", jobs)
    written = json.loads((tmp_path / "multirun/s/study.json").read_text())
    assert written.pop("checksum") == results.checksum(written)
    assert written == {
        "study": "s",
        "command": "python train.py -m …",
        "cells": [
            {
                "dir": jobs[i].cell.name,
                "hash": cells.config_hash(jobs[i].cell.cfg),
                "seeds": [0, 1, 3, 4],
                "overrides": ["study=s", f"model.depth={depth}", "trainer.epochs=1"],
            }
            for i, depth in ((0, 1), (2, 2))
        ],
    }


def test_the_plan_names_cells_relative_to_itself(expand: Expand) -> None:
    jobs = expand("model.depth=1,2", "hydra.sweep.subdir=a/${model.depth}")
    plan.write(Path("multirun/s"), "s", "", jobs)
    written = json.loads(Path("multirun/s/study.json").read_text(encoding="utf-8"))
    assert [cell["dir"] for cell in written["cells"]] == ["a/1", "a/2"]


# ── what is on disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(tmp_path: Path) -> plan.Job:
    return plan.Job([], Cell({"model": {"depth": 1}}, tmp_path / "cell"), [0, 1], "")


def result(job: plan.Job, seed: int, **entries: Any) -> None:
    write_result(job.cell.directory, job.cell.hash, seed, **entries)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("done", "done"), "done"),
        (("done", "diverged"), "diverged"),
        (("diverged", "diverged"), "diverged"),
        (("diverged", "failed"), "failed"),
        (("failed", "done"), "failed"),
        (("done",), "missing"),
        (("failed",), "missing"),
        ((), "missing"),
    ],
)
def test_a_job_is_as_far_as_its_worst_seed(job: plan.Job, statuses: tuple[str, ...], expected: str) -> None:
    for seed, status in enumerate(statuses):
        result(job, seed, status=status)
    assert job.status() == expected
    assert [found["status"] for found in job.results()] == list(statuses)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"status": "done"}', '{"status": "done", "hash": "0123456789"}'])
def test_a_damaged_result_or_that_of_another_configuration_is_none(job: plan.Job, content: str) -> None:
    result(job, 0, status="done")
    result(job, 1, status="done")
    (job.cell.run_directory(1) / "result.json").write_text(content)
    assert job.status() == "missing"
    assert len(job.results()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(job: plan.Job, name: str) -> None:
    for seed in job.seeds:
        write_result(job.cell.directory, job.cell.hash, seed)
    path = job.cell.run_directory(0) / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert job.status() == "missing"
    assert job.refusals() == [f"{path}: a pipe or a device is where a file belongs; move it away"]
    assert read_run(path.parent).status == "corrupt"
