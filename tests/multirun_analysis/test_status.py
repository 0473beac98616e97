"""How far a sweep is, from disk alone."""

import fcntl
import json
import shutil
import subprocess
import sys

import filelock  # noqa: F401  (before fcntl is taken away, which it would warn about)
import pytest
from synthetic import write_plan, write_run, write_study

from multirun_analysis import analysis, rundir, status, tables
from multirun_analysis.collect import collect

HOLD = (
    "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def hold():
    """Hold a lock in another process, as training does."""
    processes = []

    def start(path):
        process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in processes:
        process.communicate()


def counts(study):
    table = status.table(collect([study], with_layers=False))
    return dict(zip(table.columns[1:], (cell.text for cell in table.rows[-1][1:]), strict=True))


def test_every_state(tmp_path, hold):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0, 1])
    write_run(study, 20, False, 0, status="failed", error={"type": "ValueError", "message": "no", "traceback": "t"})
    write_run(study, 20, False, 1, status="diverged")
    write_run(study, 20, True, 0, status=None)
    running = write_run(study, 20, True, 1, status=None, epochs=3)
    hold(running / ".lock")
    write_run(study, 30, False, 0)  # of an earlier launch
    write_plan(study, depths=[5, 20], seeds=[0, 1, 2])
    expected = {"done": 4, "running": 1, "failed": 1, "diverged": 1, "interrupted": 1, "missing": 4, "stale": 1, "Now": ""}
    assert counts(study) == {state: str(count) for state, count in expected.items()}
    text = status.report(collect([study], with_layers=False))
    assert "seed 1: epoch 3 of 4" in text
    assert (
        "/seed=0: ValueError: no  again: python train.py study=depth_study model.depth=20 model.residual=false seed=0" in text
    )
    assert "missing ones run with: python train.py -m study=depth_study" in text
    assert "stale: 1 not in the plan of the last launch; the analysis keeps them" in text


def test_a_run_is_running_only_while_its_lock_is_held(tmp_path, hold):
    run = write_run(tmp_path / "s", status=None)
    process = hold(run / ".lock")
    assert collect([tmp_path]).runs["status"].item() == "running"
    process.communicate()
    assert collect([tmp_path]).runs["status"].item() == "interrupted"


def test_a_failed_run_that_runs_again_is_running(tmp_path, hold):
    run = write_run(tmp_path / "s", status="failed", error={"type": "E", "message": "m"})
    hold(run / ".lock")
    row = collect([tmp_path]).runs.iloc[0]
    assert (row["status"], row["note"]) == ("running", "started again; the attempt before ended as failed")


def test_looking_never_takes_the_lock_from_the_run(tmp_path, hold):
    run = write_run(tmp_path / "s", status=None)
    (run / ".lock").touch()
    assert not rundir.is_held(run / ".lock")
    hold(run / ".lock")  # after the look, the lock can be had
    assert rundir.is_held(run / ".lock")


def test_two_looks_at_once_do_not_take_each_other_for_a_run(tmp_path):
    lock = tmp_path / ".lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not rundir.is_held(lock)


def test_no_lock_file_is_made(tmp_path):
    assert not rundir.is_held(tmp_path / ".lock")
    assert not (tmp_path / ".lock").exists()


def test_without_flock_filelock_is_asked(tmp_path, hold, monkeypatch):
    lock = tmp_path / ".lock"
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert not rundir.is_held(lock)
    assert not lock.exists()
    lock.touch()
    assert not rundir.is_held(lock)
    hold(lock)
    assert rundir.is_held(lock)


def test_stale_are_also_runs_in_the_wrong_directory(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0], arms=[True])
    run = write_run(study, 10, True)
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(content | {"hash": "0" * 10}))
    assert counts(study)["stale"] == "1"
    assert "1 whose directory and files name different configurations" in status.report(collect([study]))


def test_corrupt_results_have_a_column_only_when_there_are_some(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    assert "corrupt" not in counts(study)
    shutil.copy(__file__, next(study.glob("*/seed=0")) / "result.json")
    assert counts(study)["corrupt"] == "1"


def test_what_finished_runs_have_lost_is_told_once_for_all_of_which_the_same_is_true(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0, 1, 2], sealed=True)
    plain = sorted(study.glob("*plain*/seed=*"))
    shutil.rmtree(plain[0] / "checkpoints")
    shutil.rmtree(plain[2] / "checkpoints")
    (plain[1] / "layers.jsonl").unlink()
    (plain[1] / "checkpoints" / "best.pt").unlink()
    frames = collect([study], with_layers=False)
    lines = [
        f"{plain[0].relative_to(study)} and 1 more: checkpoints/ is gone, so the weights cannot be tested again",
        f"{plain[1].relative_to(study)}: layers.jsonl is gone, so no curve is drawn from it; "
        "checkpoints/best.pt is gone, so the weights cannot be tested again",
    ]
    assert status.remarks(frames.runs) == lines
    assert "\n".join(lines) in status.report(frames)
    assert analysis.notices(frames)[:2] == lines
    rows = tables.exclusions(frames.runs).rows
    assert [row[0].text for row in rows] == [str(plain[1].relative_to(study))]  # an archive need not list all its runs
