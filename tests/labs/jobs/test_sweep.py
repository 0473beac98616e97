"""Sweeps from the outside: real ones on the bundled digits, started, interrupted and started again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Ended, Project, new_project
from PIL import Image
from sweeping import QUICK, STUDY, numbers, read, state

from labs.training import results

ROOT = Path(__file__).parents[3]


# ── a sweep ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_tells_each_job_and_what_came_out(finished: tuple[Project, Ended]) -> None:
    ended = finished[1]
    first, *jobs, counts, analyse = ended.out.splitlines()
    assert first == "multirun/s: 4 jobs, 0 finished already, 4 to run"
    names = [f"depth={depth}-plain seed={seed}" for depth in (1, 2) for seed in (0, 1)]
    for number, (name, line) in enumerate(zip(names, jobs, strict=True), start=1):
        pattern = rf"\[{number}/4\] {name}  done  test accuracy  \d\d\.\d\d %  \d+ s(  \d\d:\d\d left)?"
        assert re.fullmatch(pattern, line)
    assert counts == "done: 4"
    assert analyse == "analyse: python -m multirun_analysis multirun/s"
    assert ended.err == ""
    assert ended.code == 0


def test_a_sweep_leaves_the_run_contract(finished: tuple[Project, Ended]) -> None:
    project = finished[0]
    assert sorted(path.name for path in project.folder.iterdir()) == ["conf", "multirun", "train.py"]
    plan = read(project.folder / "multirun/s/study.json")
    assert plan["command"] == "python train.py -m model.depth=1,2 'seed=range(2)' study=s logger=none trainer.epochs=2"
    assert [cell["seeds"] for cell in plan["cells"]] == [[0, 1], [0, 1]]
    cells = sorted(path for path in (project.folder / "multirun/s").iterdir() if path.is_dir())
    assert [cell.name for cell in cells] == sorted(cell["dir"] for cell in plan["cells"])
    for cell, planned in zip(cells, sorted(plan["cells"], key=lambda cell: cell["dir"]), strict=True):
        assert sorted(path.name for path in cell.iterdir()) == [".hydra", "seed=0", "seed=1", "summary.txt", "train.log"]
        for seed in (0, 1):
            run = cell / f"seed={seed}"
            assert {"metrics.jsonl", "layers.jsonl", "config.json", "result.json", "checkpoints"} <= {
                p.name for p in run.iterdir()
            }
            result, noted = read(run / "result.json"), read(run / "config.json")
            assert (result["status"], result["seed"], result["hash"]) == ("done", seed, planned["hash"])
            assert (noted["study"], noted["seed"], noted["hash"]) == ("s", seed, planned["hash"])


def test_the_second_start_runs_nothing_and_touches_nothing(study: Project) -> None:
    before = state(study.folder / "multirun")
    ended = study.train(*STUDY)
    assert ended == Ended(
        0,
        "multirun/s: 4 jobs, 4 finished already, 0 to run\ndone: 4\nanalyse: python -m multirun_analysis multirun/s\n",
        "",
    )
    after = state(study.folder / "multirun")
    assert {path for path in before if before[path] != after.get(path)} <= {study.folder / "multirun/s/study.json"}
    assert set(before) == set(after)


def test_the_next_start_runs_what_is_missing_and_failed_and_leaves_the_rest(study: Project) -> None:
    missing, failed = study.run("s", "mlp-digits-depth=1-plain", 0), study.run("s", "mlp-digits-depth=2-plain", 1)
    first = numbers(missing), numbers(failed)
    (missing / "result.json").unlink()
    results.write(failed, {"status": "failed", "seed": 1, "hash": read(failed / "result.json")["hash"]})
    others = [run for run in study.runs("s") if run not in (missing, failed)]
    before = state(*others)
    ended = study.train(*STUDY)
    assert ended.out.startswith("multirun/s: 4 jobs, 2 finished already, 2 to run\n[3/4] depth=1-plain seed=0  done")
    assert ended.out.endswith("\ndone: 4\nanalyse: python -m multirun_analysis multirun/s\n")
    assert state(*others) == before
    assert (numbers(missing), numbers(failed)) == first
    assert ended.code == 0


def test_more_seeds_join_their_cells(study: Project) -> None:
    before = state(*study.runs("s"))
    ended = study.train(*STUDY, "model.depth=1", "seed=range(3)")
    assert ended.out.startswith("multirun/s: 3 jobs, 2 finished already, 1 to run\n[3/3] seed=2  done")
    assert {path: content for path, content in state(*study.runs("s")).items() if path in before} == before
    assert [run.name for run in study.runs("s")] == ["seed=0", "seed=1", "seed=2", "seed=0", "seed=1"]


def test_a_single_run_of_the_study_finds_its_place(study: Project) -> None:
    before = state(*study.runs("s"))
    ended = study.train("model.depth=1", "seed=1", "study=s", *QUICK)
    cell = study.run("s", "mlp-digits-depth=1-plain", 1)
    assert (ended.code, ended.out) == (0, f"seed 1 is finished already, nothing to do: {cell}\n")
    assert state(*study.runs("s")) == before


def test_seeds_trained_together_measure_what_they_measure_alone(finished: tuple[Project, Ended], project: Project) -> None:
    assert project.train("model.depth=2", "replicas=2", "study=s", *QUICK).code == 0
    for seed in (0, 1):
        alone = finished[0].run("s", "mlp-digits-depth=2-plain", seed)
        assert numbers(project.run("s", "mlp-digits-depth=2-plain", seed)) == numbers(alone)


# ── what is typed ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_that_look_like_numbers_and_folders_from_where_the_user_stood(project: Project) -> None:
    """`hydra.job.chdir=true` moves every job into its own directory; what was typed was typed outside of it."""
    for number in range(24):
        path = project.folder / "2024_01" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(path)
    data = ["dataset=imagefolder", "dataset.folder=2024_01", "dataset.resize=8", "dataset.channels=1", "dataset.val_size=4"]
    for study in ("12e3000", "34e4001"):
        ended = project.train("-m", "model.depth=1,2", f"study={study}", "hydra.job.chdir=true", *data, *QUICK)
        assert (ended.code, ended.err) == (0, "")
        assert "0 finished already, 2 to run\n" in ended.out
        assert {read(run / "config.json")["config"]["dataset"]["folder"] for run in project.runs(study)} == {"2024_01"}
    assert sorted(path.name for path in (project.folder / "multirun").iterdir()) == ["12e3000", "34e4001"]
    ended = project.train("study=34e4001", "model.depth=1", "hydra.job.chdir=true", *data, *QUICK)
    assert "is finished already, nothing to do: " in ended.out


# ── before the first job ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_of_one_job_calls_it_by_its_cell(project: Project) -> None:
    command = ["-m", "trainer.epochs=1", "logger=none", "model.depth=2", "study=x1"]
    planned = project.train(*command, "plan=true").out.splitlines()
    ended = project.train(*command)
    [run] = project.runs("x1")
    cell = run.parent.name
    assert planned[0].split() == ["job", "status", "parameters", "disk", "at", "most"]
    assert planned[1].startswith(f"{cell}  missing ")
    assert re.fullmatch(r"1 job, at most \d\d:\d\d with 1 at a time; nothing was run", planned[-1])
    first, job, counts, analyse = ended.out.splitlines()
    assert first == "multirun/x1: 1 job, 0 finished already, 1 to run"
    assert re.fullmatch(rf"\[1/1\] {cell}  done  test accuracy  [\d ]\d\.\d\d %  \d+ s", job)
    assert (counts, analyse) == ("done: 1", "analyse: python -m multirun_analysis multirun/x1")
    assert project.train(*command).out.startswith("multirun/x1: 1 job, 1 finished already, 0 to run\n")


def test_a_plan_lists_the_jobs_and_leaves_no_trace(study: Project) -> None:
    (study.run("s", "mlp-digits-depth=2-plain", 1) / "result.json").unlink()
    before = state(study.folder / "multirun")
    ended = study.train(*STUDY, "plan=true")
    head, *jobs, space, total = ended.out.splitlines()
    assert head.split() == ["job", "status", "parameters", "disk", "at", "most"]
    assert [re.split("  +", line.strip()) for line in jobs[:3]] == [
        ["model.depth=1 seed=0", "done", "9,866"],  # (64 + 1) 128 + 2 · 128 + (128 + 1) 10
        ["model.depth=1 seed=1", "done", "9,866"],
        ["model.depth=2 seed=0", "done", "17,610"],
    ]
    assert re.fullmatch(r"model.depth=2 seed=1  missing +17,610 +\d+ kB +\d\d:\d\d", jobs[3])
    assert re.fullmatch(
        r"disk: at most \d+ kB, and \d+ kB while they run, without files of TensorBoard and W&B; .* are free", space
    )
    assert re.fullmatch(r"4 jobs, at most \d\d:\d\d with 1 at a time; nothing was run", total)
    assert (ended.code, ended.err) == (0, "")
    assert state(study.folder / "multirun") == before


@pytest.mark.parametrize("mode", [["-m", "model.depth=1,2"], ["model.depth=1", "study=s"]])
def test_a_plan_of_something_new_makes_no_directory(project: Project, mode: list[str]) -> None:
    ended = project.train(*mode, "plan=true", *QUICK)
    assert ended.code == 0
    assert ended.out.endswith("; nothing was run\n")
    assert project.written() == []


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", [[], ["plan=true"], ["-m"]])
def test_a_schedule_that_never_moves_is_told_once(project: Project, mode: list[str]) -> None:
    ended = project.train(*mode, "scheduler=multistep_steps", "study=s", *QUICK)
    assert ended.code == 0
    assert (ended.out + ended.err).count("steps; this schedule counts optimizer steps\n") == 1


# ── nothing leaks from one job into the next ─────────────────────────────────────────────────────────────────────────────

JOBS = {
    "a convolution with dropout": ["model=cnn", "model.filters=[4,8]", "model.hidden=16", "dataset.augment=standard"],
    "another precision and rate": ["model=mlp", "trainer.precision=bf16", "optimizer.lr=0.1"],
    "one that diverges": ["model=mlp", "optimizer=sgd", "optimizer.lr=1e30"],
}


@pytest.mark.slow
@pytest.mark.parametrize("first", JOBS)
def test_a_job_gives_the_same_bits_alone_and_after_another(project: Project, tmp_path: Path, first: str) -> None:
    """Job 2 is `model.depth=3` in a process of its own, and in one that has just run job 1."""
    second = ["model.depth=3", "model.residual=true", "study=s", "trainer.steps_per_epoch=6", *QUICK]
    (tmp_path / "alone").mkdir()
    alone = new_project(tmp_path / "alone" / "project", project.forker)
    assert alone.train(*second).code == 0
    order = (
        "import sys; sys.argv = ['train.py']\nfrom hydra import compose, initialize_config_dir\nfrom pathlib import Path\n"
        "from labs import cells, config\nfrom labs.cells import Cell\nfrom labs.training import run\n"
        "config.register(); cells.register()\n"
        f"with initialize_config_dir({str(ROOT / 'conf')!r}, version_base='1.3'):\n"
        f"    for name, overrides in {[('first', [*JOBS[first], *QUICK]), ('second', second)]!r}:\n"
        "        Path(name).mkdir(); cell = Cell.of(compose('config', overrides=overrides), Path(name))\n"
        "        run.train(cell, [0], show_progress=False)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", order], cwd=tmp_path, env=environment, check=True, timeout=600)
    [run] = alone.runs("s")
    assert numbers(tmp_path / "second" / "seed=0") == numbers(run)


# ── in parallel, and interrupted ─────────────────────────────────────────────────────────────────────────────────────────


def popen(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_in_parallel_the_results_are_those_of_one_after_the_other(finished: tuple[Project, Ended], project: Project) -> None:
    process = popen(project, *STUDY, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    out, err = process.communicate(timeout=600)
    assert err == ""
    assert out.startswith("multirun/s: 4 jobs, 0 finished already, 4 to run\n[1/4] ")
    assert out.endswith("\ndone: 4\nanalyse: python -m multirun_analysis multirun/s\n")
    assert process.returncode == 0
    serial = {run.relative_to(finished[0].folder): numbers(run) for run in finished[0].runs("s")}
    assert {run.relative_to(project.folder): numbers(run) for run in project.runs("s")} == serial


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_an_interrupted_sweep_goes_on_to_the_same_numbers(project: Project, tmp_path: Path, launcher: list[str]) -> None:
    command = ["-m", "model.depth=1,2,3", "study=s", "trainer.patience=null", "trainer.epochs=300", "logger=none", *launcher]
    process = popen(project, *command)
    while not any(len(path.read_text().splitlines()) > 3 for path in project.folder.glob("multirun/s/*/seed=0/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert err == "\ninterrupted; the same command resumes from there\n"
    assert "done: " not in out
    statuses = [json.loads(path.read_text())["status"] for path in project.folder.glob("multirun/s/*/seed=0/result.json")]
    assert "interrupted" in statuses

    process = popen(project, *command)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert "\ndone: 3\n" in out
    (tmp_path / "undisturbed").mkdir()
    undisturbed = new_project(tmp_path / "undisturbed" / "project", project.forker)
    assert undisturbed.train(*command).code == 0
    assert len(project.runs("s")) == 3
    for interrupted, run in zip(project.runs("s"), undisturbed.runs("s"), strict=True):
        assert interrupted.relative_to(project.folder) == run.relative_to(undisturbed.folder)
        assert numbers(interrupted) == numbers(run)
