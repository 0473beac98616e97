"""What a job finds in the directory of a run: what plan=true says of it is what the job does, and both say it in one line."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from forked import Project, new_project

from labs.files import read_json, write_json
from labs.jobs import rundir
from labs.training import results

QUICK = ["model.depth=1", "study=s", "logger=none", "trainer.epochs=2"]
Damage = Callable[[Path], Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forker: subprocess.Popen[str]) -> Project:
    """A study of one run that is finished."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", forker)
    assert project.train("-m", *QUICK).code == 0
    return project


@pytest.fixture
def study(finished: Project, tmp_path: Path) -> Project:
    """A copy of it, to be damaged."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", finished.forker)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def instead(name: str, kind: str) -> Damage:
    """Something of another kind in the place of a file or a folder of an unfinished run."""

    def put(run: Path) -> None:
        (run / "result.json").unlink(missing_ok=True)
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        {"a folder": path.mkdir, "a file": path.touch, "a pipe": lambda: os.mkfifo(path)}[kind]()

    return put


def edit(name: str, **entries: Any) -> Damage:
    """Other entries in a JSON file, with a checksum that agrees."""
    return lambda run: write_json(run / name, results.sealed(read_json(run / name) | entries))


def rewrite(name: str, content: str) -> Damage:
    return lambda run: (run / name).write_text(content)


def another_alone(run: Path) -> None:
    (run / "config.json").unlink()
    edit("result.json", hash="0123456789")(run)


def strip(run: Path) -> None:
    """A result as one makes it up: without checksum, and without the config.json that tells when there was none yet."""
    (run / "config.json").unlink()
    made_up = {key: value for key, value in read_json(run / "result.json").items() if key not in ("checksum", "records")}
    write_json(run / "result.json", made_up | {"test_acc": 99.9})


REFUSED: dict[str, Damage] = {
    "a file at checkpoints": instead("checkpoints", "a file"),
    "a file at tensorboard": instead("tensorboard", "a file"),
    "a folder at .lock": instead(".lock", "a folder"),
    "a folder at metrics.jsonl": instead("metrics.jsonl", "a folder"),
    "a folder at result.json": instead("result.json", "a folder"),
    "a pipe at last.pt": instead("checkpoints/last.pt", "a pipe"),
    "a file at the directory": lambda run: (shutil.rmtree(run), run.touch()),
    "another configuration": lambda run: [edit(name, hash="0123456789")(run) for name in ("config.json", "result.json")],
    "a result of another configuration alone": another_alone,
}  # fmt: skip
SET_ASIDE: dict[str, Damage] = {
    "a result that is cut": rewrite("result.json", '{"status": "done"'),
    "a result of another seed": edit("result.json", seed=7),
    "no config.json": lambda run: (run / "config.json").unlink(),
    "a config.json that is cut": rewrite("config.json", "{"),
    "a config.json of another seed": edit("config.json", seed=7),
    "neither config.json nor checksum": strip,
}
LOST: dict[str, Damage] = {
    "metrics.jsonl is not as the run left it, so no curve is drawn from it": rewrite("metrics.jsonl", ""),
    "layers.jsonl is gone, so no curve is drawn from it": lambda run: (run / "layers.jsonl").unlink(),
    "checkpoints/best.pt is gone, so the weights cannot be tested again": lambda run: (run / "checkpoints/best.pt").unlink(),
    "checkpoints/ is gone, so the weights cannot be tested again": lambda run: shutil.rmtree(run / "checkpoints"),
}


def planned(project: Project) -> tuple[str, list[str]]:
    """The status of the one job, and the lines beneath it; nothing on the disk has changed."""
    before = contents(project.folder / "multirun")
    ended = project.train("-m", *QUICK, "plan=true")
    assert (ended.code, ended.err) == (0, "")
    assert contents(project.folder / "multirun") == before
    _, job, *lines = ended.out.splitlines()
    return re.split("  +", job)[1], [line.strip() for line in lines if line.startswith("    ")]


@pytest.mark.one_in(12)
@pytest.mark.parametrize("damage", REFUSED.values(), ids=REFUSED)
def test_what_the_plan_refuses_the_job_refuses_with_the_same_line(study: Project, damage: Damage) -> None:
    run = study.run("s", "mlp-digits-depth=1-plain")
    damage(run)
    before = contents(run)
    status, [line] = planned(study)
    assert status == "refused"
    assert line.startswith(f"{run}")
    ended = study.train("-m", *QUICK)
    assert ended.code == 1
    assert ended.err == ""
    assert re.findall(r"^failed: (.*)$", ended.out, re.MULTILINE) == [line]
    assert re.findall(r"^failed  .*?: (.*)$", ended.out, re.MULTILINE) == [line]
    assert "Traceback" not in ended.out
    alone = study.train(*QUICK)
    assert (alone.code, alone.out, alone.err) == (1, "", f"error: {line}\n")
    assert contents(run) == before


@pytest.mark.one_in(12)
@pytest.mark.parametrize("damage", SET_ASIDE.values(), ids=SET_ASIDE)
def test_what_the_plan_sets_aside_the_job_sets_aside_and_measures_again(study: Project, damage: Damage) -> None:
    run = study.run("s", "mlp-digits-depth=1-plain")
    measured = read_json(run / "result.json")["test_acc"]
    damage(run)
    wrong = (run / "result.json").read_bytes()
    status, [line] = planned(study)
    assert status == "missing"
    said, _, _ = line.partition("; it will be set aside")
    ended = study.train("-m", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert f"{study.folder / said}; it is set aside as result.json.unusable, and the run continues without it\n" in ended.out
    assert (run / "result.json.unusable").read_bytes() == wrong
    assert read_json(run / "result.json")["test_acc"] == measured
    assert planned(study) == ("done", [])


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("said", "damage"), LOST.items(), ids=LOST)
def test_what_a_finished_run_has_lost_is_told_and_nothing_is_trained(study: Project, said: str, damage: Damage) -> None:
    run = study.run("s", "mlp-digits-depth=1-plain")
    damage(run)
    before = contents(run)
    assert planned(study) == ("done", [f"{run.relative_to(study.folder)}: {said}"])
    ended = study.train("-m", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[:3] == [
        "multirun/s: 1 job, 1 finished already, 0 to run",
        "done: 1",
        f"{run.relative_to(study.folder)}: {said}; the result stands; to have it back, delete result.json and start the sweep "
        "again",
    ]
    alone = study.train(*QUICK)
    assert alone.code == 0
    assert f"seed 0 is finished already, but {said}; the result stands" in alone.out
    assert contents(run) == before


def test_what_was_lost_comes_back_as_the_line_says(study: Project) -> None:
    run = study.run("s", "mlp-digits-depth=1-plain")
    whole = [{key: value for key, value in json.loads(line).items() if key != "seconds"}
             for line in (run / "metrics.jsonl").read_text().splitlines()]  # fmt: skip
    (run / "metrics.jsonl").unlink()
    (run / "checkpoints" / "best.pt").unlink()
    (run / "result.json").unlink()
    assert study.train("-m", *QUICK).code == 0
    again = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in again] == whole
    assert planned(study) == ("done", [])


def test_the_plan_says_that_another_process_trains_a_run(study: Project) -> None:
    run = study.run("s", "mlp-digits-depth=1-plain")
    with FileLock(run / ".lock"):
        assert planned(study) == ("done", [])
        (run / "result.json").unlink()
        assert planned(study) == ("refused", [rundir.busy(run)])
    assert planned(study)[0] == "missing"


@pytest.mark.one_in(5)
@pytest.mark.parametrize("place", ["multirun", "multirun/s", "multirun/s/{cell}", "multirun/s/{cell}/.hydra"])
@pytest.mark.parametrize("mode", [["-m"], []], ids=["sweep", "run"])
def test_a_file_where_the_directory_of_a_cell_belongs_is_one_line(study: Project, place: str, mode: list[str]) -> None:
    path = study.folder / place.format(cell=study.run("s", "mlp-digits").parent.name)
    (study.run("s", "mlp-digits") / "result.json").unlink()
    shutil.rmtree(path)
    path.touch()
    for plan in ([], ["plan=true"]):
        ended = study.train(*mode, *QUICK, *plan)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"error: {path}: a file is where a folder belongs; move it away\n"
