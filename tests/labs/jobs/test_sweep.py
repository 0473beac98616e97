"""Sweeps from the outside: real ones on the bundled digits, started, broken, interrupted and started again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from forked import Ended, Project, new_project
from omegaconf import OmegaConf
from PIL import Image

from labs.cells import Cell
from labs.errors import UserError
from labs.jobs.checks import refuse_ignored
from labs.jobs.plan import Job
from labs.training import results

ROOT = Path(__file__).parents[3]
QUICK = ["logger=none", "trainer.epochs=2"]


@pytest.fixture
def project(tmp_path: Path, forker: subprocess.Popen[str]) -> Project:
    return new_project(tmp_path / "project", forker)


FRAGILE = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, **arguments):
        super().__init__(64, 10)

    def forward(self, x):
        assert not self.training or x.min() >= 0, "breaks in training"
        return super().forward(x.flatten(1))
"""

STUDY = ["-m", "model.depth=1,2", "seed=range(2)", "study=s", *QUICK]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forker: subprocess.Popen[str]) -> tuple[Project, Ended]:
    """A study of two depths and two seeds after its first start."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", forker)
    return project, project.train(*STUDY)


@pytest.fixture
def study(finished: tuple[Project, Ended], tmp_path: Path) -> Project:
    """A copy of that study, to be changed."""
    shutil.copytree(finished[0].folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", finished[0].forker)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def numbers(run: Path) -> Any:
    """Everything a run has measured, apart from times."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    layers = [json.loads(line) for line in (run / "layers.jsonl").read_text().splitlines()]
    everything = [read(run / "result.json"), *rows, *layers]
    return [{key: value for key, value in row.items() if key not in ("seconds", "records", "checksum")} for row in everything]


def state(*runs: Path) -> dict[Path, tuple[bytes, int]]:
    """Bytes and time of change of every file of these runs."""
    files = [path for run in runs for path in run.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# ── a sweep ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_tells_each_job_and_what_came_out(finished: tuple[Project, Ended]) -> None:
    ended = finished[1]
    first, *jobs, counts, analyse = ended.out.splitlines()
    assert first == "multirun/s: 4 jobs, 0 finished already, 4 to run"
    names = ["model.depth=1 seed=0", "model.depth=1 seed=1", "model.depth=2 seed=0", "model.depth=2 seed=1"]
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
    assert ended.out.startswith("multirun/s: 4 jobs, 2 finished already, 2 to run\n[3/4] model.depth=1 seed=0  done")
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
    for study in ("2026_11_25", "12e3000", "34e4001"):
        ended = project.train("-m", "model.depth=1,2", f"study={study}", "hydra.job.chdir=true", *data, *QUICK)
        assert (ended.code, ended.err) == (0, "")
        assert "0 finished already, 2 to run\n" in ended.out
        assert {read(run / "config.json")["config"]["dataset"]["folder"] for run in project.runs(study)} == {"2024_01"}
    assert sorted(path.name for path in (project.folder / "multirun").iterdir()) == ["12e3000", "2026_11_25", "34e4001"]
    ended = project.train("study=2026_11_25", "model.depth=1", "hydra.job.chdir=true", *data, *QUICK)
    assert "is finished already, nothing to do: " in ended.out


def test_a_number_in_a_file_where_text_belongs_is_refused(project: Project) -> None:
    (project.folder / "more" / "experiment").mkdir(parents=True)
    (project.folder / "more" / "experiment" / "mine.yaml").write_text("# @package _global_\nstudy: 2026_11_25\n")
    for mode in (["experiment=mine"], ["-m", "experiment=mine", "seed=1,2"]):
        ended = project.train("--config-dir", "more", *mode)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == (
            "error: study=20261125: is text, and was read as a number; put it in quotes, "
            'study=\'"…"\' on the command line, study: "…" in a file\n'
        )


# ── results that are not numbers ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_diverged_run_is_a_result_and_not_repeated(project: Project) -> None:
    command = ["-m", "optimizer.lr=1e30,0.01", "model.depth=1", "study=d", *QUICK]
    ended = project.train(*command)
    assert "\n[1/2] optimizer.lr=1e+30  diverged    0 s" in ended.out
    assert "\ndiverged: 1  done: 1\n" in ended.out
    assert "again:" not in ended.out
    assert ended.code == 0
    (diverged,) = (run for run in project.runs("d") if read(run / "result.json")["status"] == "diverged")
    result = read(diverged / "result.json")
    numeric = ["best_epoch", "train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc"]
    assert [result[name] for name in numeric] == [None] * len(numeric)
    assert result["epochs_run"] == 1
    assert json.loads((diverged / "metrics.jsonl").read_text())["train_loss"] is None
    before = state(*project.runs("d"))
    ended = project.train(*command)
    assert ended.out.startswith("multirun/d: 2 jobs, 2 finished already, 0 to run\ndiverged: 1  done: 1\n")
    assert ended.code == 0
    assert state(*project.runs("d")) == before


def test_a_crash_is_recorded_and_stops_nobody_else(project: Project) -> None:
    """A model whose forward pass breaks for normalised images alone passes everything that is tried before the first job."""
    (project.folder / "fragile.py").write_text(FRAGILE)
    command = ["-m", "model._target_=fragile.Net,labs.models.mlp.MLP", "model.depth=1", *QUICK, "hydra.sweep.dir=there"]
    ended = project.train(*command)
    lines = ended.out.splitlines()
    assert lines[0] == "there: 2 jobs, 0 finished already, 2 to run"
    assert lines[1].startswith("[1/2] model._target_=fragile.Net  failed")
    assert lines[2].startswith("[2/2] model._target_=labs.models.mlp.MLP  done")
    assert lines[3] == "done: 1  failed: 1"
    (failed,) = (path for path in project.folder.glob("there/*/seed=0/result.json") if read(path)["status"] == "failed")
    error = read(failed)["error"]
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert set(read(failed)) == {"status", "seed", "hash", "error", "checksum"}
    assert lines[4] == f"failed  model._target_=fragile.Net: {' '.join(error['message'].split())}"
    assert error["message"]
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err

    ended = project.train(*command)  # fails again, is told again, and the other is left
    assert ended.out.startswith("there: 2 jobs, 1 finished already, 1 to run\n[2/2] model._target_=fragile.Net  failed")
    assert "\ndone: 1  failed: 1\n" in ended.out
    assert ended.code == 1

    (command,) = project.again(ended)  # the failure once more, in its own directory
    failed.unlink()
    ended = project.train(*command)
    assert ended.code == 1
    assert ended.err.endswith(f"AssertionError: {error['message']}\n")  # with its traceback: it is no mistake of the user's
    assert read(failed)["status"] == "failed"
    assert len(list(project.folder.glob("*/*/seed=0"))) == 2


def test_obstacles_fail_their_jobs_alone_and_are_left_untouched(study: Project) -> None:
    file, other, held, last = study.runs("s")
    shutil.rmtree(file)
    file.write_text("mine")
    for name in ("result.json", "config.json"):  # done, but not with this configuration
        (other / name).write_text(json.dumps(read(other / name) | {"hash": "0123456789"}))
    (held / "result.json").unlink()
    (last / "result.json").unlink()
    before = state(other, held)
    with FileLock(held / ".lock"):
        ended = study.train(*STUDY)
        assert state(other, held) == before
    assert file.read_text() == "mine"
    assert ended.code == 1
    reasons = [
        f"failed: {file}: a file is where a folder belongs; move it away",
        f"failed: {other}: holds a run of another configuration (hash 0123456789, not {other.parent.name[-10:]}) "
        "and is left as it is; choose another directory, or delete it",
        f"failed: {held}: another process is training this run; wait for it, or stop it",
    ]
    assert re.findall("^failed: .*$", ended.out, re.MULTILINE) == reasons
    assert "\n[1/4] model.depth=2 seed=1  done  test accuracy" in ended.out
    assert "\ndone: 1  missing: 3\n" in ended.out
    for name, reason in zip(("model.depth=1 seed=0", "model.depth=1 seed=1", "model.depth=2 seed=0"), reasons, strict=True):
        assert f"\nfailed  {name}: {reason.removeprefix('failed: ')}\n" in ended.out
    assert all(reason in (file.parent / "train.log").read_text() for reason in reasons[:2])

    file.unlink()  # once they are out of the way, the commands work as they stand
    shutil.rmtree(other)
    commands = study.again(ended)
    assert commands[0] == ["model.depth=1", "seed=0", "study=s", *QUICK, "hydra.mode=RUN"]
    for command in commands:
        assert study.train(*command).code == 0
    assert study.train(*STUDY).out.startswith("multirun/s: 4 jobs, 4 finished already, 0 to run\ndone: 4\n")


# ── before the first job ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["dataset.val_size=100,1436"], "error: dataset.val_size=1436: 1436 of the 1437 images; must be from 10, "
                                        "as many as there are classes, to 1435, which leaves two to train on"),
        (["model.depth=1,2", "device=cuda:99"], r"error: device=cuda:99: torch finds \d CUDA devices here; set device=cpu or "
                                                r"device=auto"),
        (["model=cnn", "model.filters=[8,8],[8,8,8,8,8]"], r"error: model.filters=\[8, 8, 8, 8, 8\]: 4 max-pools leave nothing "
                                                           "of 8x8 pixels; give at most 4 filter counts"),
        (["model.depth=1,2", "+optimizer.beta=1"], "error: optimizer.beta: torch.optim.Adam takes no beta; it takes lr, .*"),
        (["model.depth=1,2", "+scheduler.gamma=1"], "error: scheduler.gamma: .*ReduceLROnPlateau takes no gamma; .*"),
        (["model.depth=1,2", "optimizer._target_=torch.optim.Adma"], "error: optimizer._target_=torch.optim.Adma: .*"),
    ],
)  # fmt: skip
def test_what_a_later_job_would_stumble_over_stops_the_first(project: Project, overrides: list[str], line: str) -> None:
    ended = project.train("-m", *overrides, "study=x", *QUICK)
    assert re.fullmatch(line + "\n", ended.err)
    assert ended.out == ""
    assert ended.code == 1
    assert project.written() == []


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["hydra.run.dir=out/${nope}"], "hydra.run.dir: Interpolation key 'nope' not found"),
        (["-m", "hydra.sweep.dir=out/${nope}"], "hydra.sweep.dir: Interpolation key 'nope' not found"),
        (["-m", "study=${nope}", "seed=0,1"], "study: Interpolation key 'nope' not found"),
        (["-m", "seed=0,1", "~optimizer.betas"], "optimizer.betas: cannot be removed, as the keys of optimizer=adam are fixed"),
        (["-m", "experiment=mnist_mlp,null"], "experiment=null: no such option; there is cifar10_cnn, depth_study, "),
        (["~seed"], "seed: cannot be removed; give it another value, seed=…"),
        (["-m", "model=any/target", "model._target_=ends.Net", "seed=0,1"],
         "model._target_=ends.Net: ends the program, by SystemExit: bye"),
        (["model=any/target", "model._target_=ends.nowhere"], "model._target_=ends.nowhere: cannot be imported ("),
        (["model=any/target", "model._target_=ends_at_once.Net"],
         "model._target_=ends_at_once.Net: cannot be imported (ends the program, by SystemExit: 5)"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_one_line_that_names_its_key(project: Project, overrides: list[str], line: str) -> None:
    (project.folder / "ends.py").write_text("def Net(input_shape, num_classes):\n    raise SystemExit('bye')\n")
    (project.folder / "ends_at_once.py").write_text("raise SystemExit(5)\n")
    ended = project.train(*overrides)
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1
    assert (ended.code, ended.out) == (1, "")


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


SHARED = r"error: jobs '{}' and '{}' would be one run, multirun/x/mlp-digits-depth=1-plain-\w+/seed={}; {}\n"


@pytest.mark.parametrize(
    ("overrides", "one", "other", "seed", "advice"),
    [
        (["device=cpu,auto"], "device=cpu", "device=auto", 0,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
        (["trainer.eval_batch_size=10,1000", "seed=3"], "trainer.eval_batch_size=10", "trainer.eval_batch_size=1000", 3,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
        (["seed=0,1", "replicas=3"], "seed=0", "seed=1", 1,
         "each trains 3 seeds: write 'seed=range\\(0,6,3\\)' replicas=3"),
        (["replicas=1,2"], "replicas=1", "replicas=2", 0,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
    ],
)  # fmt: skip
def test_two_jobs_that_would_be_one_run_stop_the_sweep(
    project: Project, overrides: list[str], one: str, other: str, seed: int, advice: str
) -> None:
    ended = project.train("-m", "model.depth=1", *overrides, "study=x", *QUICK)
    assert re.fullmatch(SHARED.format(one, other, seed, advice), ended.err)
    assert (ended.code, ended.out, project.written()) == (1, "", [])


def test_what_a_sweep_names_twice_is_run_once_and_what_was_told_to_part_passes(project: Project) -> None:
    ended = project.train("-m", "model.depth=1,1", "optimizer.lr=0.01,1e-2", "study=x", *QUICK)
    assert (ended.code, ended.err, len(project.runs("x"))) == (0, "", 1)
    assert "\ndone: 4\n" in ended.out
    ended = project.train("-m", "model.depth=1", "seed=range(0,6,3)", "replicas=3", "study=y", *QUICK)
    assert (ended.code, ended.err, len(project.runs("y"))) == (0, "", 6)
    ended = project.train(
        "-m", "model.depth=1", "trainer.eval_batch_size=10,1000", "hydra.sweep.subdir=${hydra.job.num}", "study=z", *QUICK
    )
    assert (ended.code, ended.err, len(project.runs("z"))) == (0, "", 2)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.widths=null,[8,8]", "++model.depth=3"],
        ["trainer.diagnostics=epoch,every_n", "trainer.diagnostics_every=5"],
    ],
)
def test_a_value_that_one_job_of_a_sweep_reads_passes(project: Project, overrides: list[str]) -> None:
    ended = project.train("-m", *overrides, "plan=true", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 5


def test_what_a_network_of_ones_own_does_with_its_depth_is_not_judged() -> None:
    model = {"_target_": "my_package.MyNet", "depth": 3, "widths": [8, 8]}
    cfg = OmegaConf.create({"model": model, "trainer": {"diagnostics": "epoch"}})
    refuse_ignored([Job(["model.depth=3"], Cell.of(cfg, Path()), [0], "")])
    cfg.model._target_ = "labs.models.mlp.MLP"
    with pytest.raises(UserError, match=r"^model\.depth=3: changes nothing beside model\.widths; give one of the two$"):
        refuse_ignored([Job(["model.depth=3"], Cell.of(cfg, Path()), [0], "")])


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


# ── nothing leaks from one job into the next ─────────────────────────────────────────────────────────────────────────────

JOBS = {
    "a convolution with dropout": ["model=cnn", "model.filters=[4,8]", "model.hidden=16", "dataset.augment=standard"],
    "another precision and rate": ["model=mlp", "trainer.precision=bf16", "optimizer.lr=0.1"],
    "one that diverges": ["model=mlp", "optimizer=sgd", "optimizer.lr=1e30"],
}


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
    assert err == "\ninterrupted; the same command goes on from there\n"
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
