"""What is on disk of a sweep's jobs: its plan, and how far each job is."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
    (launch,) = written.pop("launches")
    assert launch["cells"] == {jobs[i].cell.name: [0, 1, 3, 4] for i in (0, 2)}
    assert launch["command"] == "python train.py -m …"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(launch["time"])) < timedelta(minutes=10)
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


def launch(expand: Expand, *overrides: str) -> list[dict[str, Any]]:
    """Plan a sweep over these in one study; its launches, as study.json has them afterwards."""
    plan.write(Path("multirun/s"), "s", " ".join(overrides), expand("trainer.epochs=1", *overrides))
    written = json.loads(Path("multirun/s/study.json").read_text(encoding="utf-8"))
    assert written.pop("checksum") == results.checksum(written)
    return list(written["launches"])


def seeds(launches: list[dict[str, Any]]) -> list[list[list[int]]]:
    return [list(entry["cells"].values()) for entry in launches]


@pytest.mark.usefixtures("tmp_path")
def test_each_launch_is_kept_with_the_seeds_that_it_added(expand: Expand) -> None:
    first = launch(expand, "model.depth=1,2", "replicas=2")
    assert seeds(first) == [[[0, 1], [0, 1]]]
    assert launch(expand, "model.depth=1,2", "replicas=2") == first  # the same again adds nothing
    assert launch(expand, "model.depth=1", "replicas=1") == first  # nor does a part of it
    more = launch(expand, "model.depth=1,2,3", "replicas=3")
    assert seeds(more) == [[[0, 1], [0, 1]], [[2], [2], [0, 1, 2]]]
    assert more[0] == first[0]
    assert more[1]["command"] == "model.depth=1,2,3 replicas=3"
    assert seeds(launch(expand, "model.depth=2", "seed=7")) == [*seeds(more), [[7]]]


@pytest.mark.parametrize("checksum", [True, False])
def test_a_plan_of_before_there_were_launches_is_one_of_unknown_time(expand: Expand, checksum: bool) -> None:
    launch(expand, "model.depth=1,2", "replicas=2")
    path = Path("multirun/s/study.json")
    old = json.loads(path.read_text(encoding="utf-8"))
    del old["launches"], old["checksum"]
    path.write_text(json.dumps(results.sealed(old) if checksum else old), encoding="utf-8")
    launches = launch(expand, "model.depth=1", "replicas=3")
    assert seeds(launches) == [[[0, 1], [0, 1]], [[2]]]
    assert [entry["time"] is None for entry in launches] == [True, False]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"cells": 3}', '{"launches": [3], "cells": []}',
                                     '{"launches": [], "cells": [], "checksum": "0"}'])  # fmt: skip
def test_runs_whose_plan_is_lost_are_of_unknown_time_too(expand: Expand, content: str | None) -> None:
    (job,) = expand("trainer.epochs=1", "model.depth=1")
    for seed in (0, 5):
        write_result(job.cell.directory, job.cell.hash, seed)
    if content is not None:
        Path("multirun/s/study.json").write_text(content, encoding="utf-8")
    launches = launch(expand, "model.depth=1", "replicas=3")
    assert seeds(launches) == [[[0, 5]], [[1, 2]]]
    assert launches[0]["time"] is None


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
