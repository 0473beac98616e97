"""Sweeps of which some jobs diverge, crash or find their place taken."""

import json
import re
import shutil

import pytest
from filelock import FileLock
from forked import Project
from sweeping import QUICK, STUDY, read, state

FRAGILE = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, **arguments):
        super().__init__(64, 10)

    def forward(self, x):
        assert not self.training or x.min() >= 0, "breaks in training"
        return super().forward(x.flatten(1))
"""


def test_a_diverged_run_is_a_result_and_not_repeated(project: Project) -> None:
    command = ["-m", "optimizer.lr=1e30,0.01", "model.depth=1", "study=d", *QUICK]
    ended = project.train(*command)
    assert "\n[1/2] lr=1e+30  diverged    0 s" in ended.out
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
    assert lines[1].startswith("[1/2] Net  failed")
    assert lines[2].startswith("[2/2] MLP  done")
    assert lines[3] == "done: 1  failed: 1"
    (failed,) = (path for path in project.folder.glob("there/*/seed=0/result.json") if read(path)["status"] == "failed")
    error = read(failed)["error"]
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert set(read(failed)) == {"status", "seed", "hash", "error", "checksum"}
    assert lines[4] == f"failed  mlp-digits-depth=1-plain Net: {' '.join(error['message'].split())}"
    assert error["message"]
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err

    ended = project.train(*command)  # fails again, is told again, and the other is left
    assert ended.out.startswith("there: 2 jobs, 1 finished already, 1 to run\n[2/2] Net  failed")
    assert "\ndone: 1  failed: 1\n" in ended.out
    assert ended.code == 1

    (command,) = project.again(ended)  # the failure once more, in its own directory
    failed.unlink()
    ended = project.train(*command)
    assert ended.code == 1
    assert ended.err.endswith(f"AssertionError: {error['message']}\n")  # with its traceback: it is no mistake of the user's
    assert read(failed)["status"] == "failed"
    assert len(list(project.folder.glob("*/*/seed=0"))) == 2


@pytest.mark.slow
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
    assert "\n[1/4] depth=2-plain seed=1  done  test accuracy" in ended.out
    assert "\ndone: 1  missing: 3\n" in ended.out
    for name, reason in zip(("depth=1-plain seed=0", "depth=1-plain seed=1", "depth=2-plain seed=0"), reasons, strict=True):
        assert f"\nfailed  mlp-digits-{name}: {reason.removeprefix('failed: ')}\n" in ended.out
    assert all(reason in (file.parent / "train.log").read_text() for reason in reasons[:2])

    file.unlink()  # once they are out of the way, the commands work as they stand
    shutil.rmtree(other)
    commands = study.again(ended)
    assert commands[0] == ["model.depth=1", "seed=0", "study=s", *QUICK, "hydra.mode=RUN"]
    for command in commands:
        assert study.train(*command).code == 0
    assert study.train(*STUDY).out.startswith("multirun/s: 4 jobs, 4 finished already, 0 to run\ndone: 4\n")
