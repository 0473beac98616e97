"""What a job refuses, each in one line before anything is trained, and leaves as it is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import DictConfig
from one_job import refused, result

from labs import cells
from labs.files import read_json, write_json
from labs.jobs import job, rundir

Start = Callable[..., DictConfig]


# ── what lies where something belongs ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", rundir.FILES)
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_where_one_belongs_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, name: str, kind: str
) -> None:
    path = cell / "seed=0" / name
    path.parent.mkdir(parents=True)
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    what = "a folder" if kind == "folder" else "a pipe or a device"
    assert refused(start(), caplog) == f"failed: {path}: {what} is where a file belongs; move it away"
    assert training == []


@pytest.mark.parametrize("place", ["", "..", "../..", *rundir.FOLDERS])
def test_a_file_where_a_folder_belongs_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, place: str
) -> None:
    path = (cell / "seed=0" / place).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.write_text("mine")
    assert refused(start("replicas=2"), caplog) == f"failed: {path}: a file is where a folder belongs; move it away"
    assert path.read_text() == "mine"
    assert training == []


def test_a_link_that_leads_nowhere_is_no_folder(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cell.mkdir(parents=True)
    (cell / "seed=0").symlink_to(cell / "away")
    assert refused(start(), caplog) == (
        f"failed: {cell}/seed=0: a link that leads nowhere is where a folder belongs; move it away"
    )
    (cell / "away").mkdir()
    assert job.run(start()) == 90.0


@pytest.mark.parametrize("place", ["seed=1", "seed=1/checkpoints", "."])
def test_a_directory_that_cannot_be_written_in_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:  # fmt: skip
    cfg = start("replicas=2")
    (cell / place).mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != cell / place)
    assert refused(cfg, caplog) == (
        f"failed: {cell / place}: cannot be written in, being read-only or not yours; mend that, or choose another directory"
    )
    assert training == []
    assert not (cell / "seed=0").exists()
    for seed in (0, 1):
        result(cell, cfg, seed, val_acc=77.0)
    assert job.run(cfg) == 77.0  # what is finished is only read


def test_a_lock_that_is_not_ours_is_named(start: Start, cell: Path, caplog: pytest.LogCaptureFixture) -> None:
    (cell / "seed=0").mkdir(parents=True)
    (cell / "seed=0" / ".lock").symlink_to(cell / "elsewhere" / "lock")
    message = refused(start(), caplog)
    assert message.startswith(f"failed: {cell}/seed=0/.lock: cannot be written (")
    assert message.endswith("); mend that, or choose another directory")


# ── refusals: the directory is left as it is ─────────────────────────────────────────────────────────────────────────────


def test_another_configuration_is_never_overwritten(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start("replicas=2")
    write_json(cell / "seed=1" / "config.json", {"hash": "0123456789"})
    assert refused(cfg, caplog) == (
        f"failed: {cell}/seed=1: holds a run of another configuration (hash 0123456789, not {cells.config_hash(cfg)}) "
        "and is left as it is; choose another directory, or delete it"
    )
    assert training == []
    assert [path.name for path in (cell / "seed=1").iterdir()] == ["config.json"]
    assert read_json(cell / "seed=1" / "config.json") == {"hash": "0123456789"}
    assert not (cell / "seed=0" / "config.json").exists()


@pytest.mark.parametrize("damaged", ["", "{", "[]", None])
def test_a_result_of_another_configuration_does_not_pass_as_ours_where_config_json_is_damaged(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, damaged: str | None
) -> None:
    cfg = start()
    note = result(cell, cfg, hash="0123456789").with_name("config.json")
    note.unlink() if damaged is None else note.write_text(damaged)
    assert "seed=0: holds a run of another configuration (hash 0123456789, not " in refused(cfg, caplog)
    assert training == []
    path = result(cell, cfg, val_acc=77.0)
    note.unlink() if damaged is None else note.write_text(damaged)
    assert job.run(cfg) == 90.0  # without its config.json ours is measured again
    assert read_json(path.with_name("result.json.unusable"))["val_acc"] == 77.0


def test_a_run_in_other_hands_is_refused_and_free_again_afterwards(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start()
    (cell / "seed=0").mkdir(parents=True)
    with FileLock(cell / "seed=0" / ".lock"):
        assert refused(cfg, caplog) == f"failed: {cell}/seed=0: another process is training this run; wait for it, or stop it"
    assert training == []
    assert job.run(cfg) == 90.0
    with FileLock(cell / "seed=0" / ".lock").acquire(timeout=0):
        pass


def test_a_place_that_cannot_be_written_is_refused(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start()
    cell.mkdir(parents=True)
    (cell / "seed=0").write_text("a file")
    assert refused(cfg, caplog) == f"failed: {cell}/seed=0: a file is where a folder belongs; move it away"
    assert (cell / "seed=0").read_text() == "a file"
    assert training == []


def test_alone_a_refusal_ends_the_program_with_one_line(start: Start, cell: Path, training: list[list[int]]) -> None:
    cfg = start(sweep=False)
    (cell / "seed=0").mkdir(parents=True)
    with FileLock(cell / "seed=0" / ".lock"), pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code == f"error: {cell}/seed=0: another process is training this run; wait for it, or stop it"
    write_json(cell / "seed=0" / "config.json", {"hash": "0123456789"})
    with pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code.startswith(f"error: {cell}/seed=0: holds a run of another configuration")
    assert training == []


def test_a_run_that_another_process_finished_meanwhile_is_left_as_it_is(
    start: Start, cell: Path, training: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start()

    def holding(directory: Path) -> FileLock:
        result(cell, cfg, val_acc=77.0)
        return FileLock(directory / ".lock").acquire()

    monkeypatch.setattr(rundir, "lock", holding)
    assert job.run(cfg) == 77.0
    assert training == []


def test_parts_of_files_that_a_killed_process_left_are_removed(start: Start, cell: Path, training: list[list[int]]) -> None:
    parts = [cell / "seed=0" / ".result.json.123.part", cell / "seed=0" / "checkpoints" / ".last.pt.123.part"]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("half")
    job.run(start())
    assert training
    assert not any(part.exists() for part in parts)
