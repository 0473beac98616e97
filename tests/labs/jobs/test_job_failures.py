"""A job that fails: what it records, and what the user reads."""

import errno
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from one_job import result

from labs import cells
from labs.cells import Cell
from labs.errors import UserError
from labs.files import read_json
from labs.jobs import job
from labs.training import results

Start = Callable[..., DictConfig]


def break_training(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("labs.training.run.train", train)


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_sweep_a_crash_is_recorded_with_its_traceback_and_passed_over(
    start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start("replicas=2")
    break_training(monkeypatch, ValueError("layer 3 is\nmissing"))
    assert math.isnan(job.run(cfg))
    for seed in (0, 1):
        found = json.loads((cells.run_directory(cell, seed) / "result.json").read_text())
        assert found.pop("checksum") == results.checksum(found)
        traceback = found["error"].pop("traceback")
        assert found == {
            "status": "failed", "seed": seed, "hash": cells.config_hash(cfg),
            "error": {"type": "ValueError", "message": "layer 3 is\nmissing"},
        }  # fmt: skip
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert re.search(r"in train\n\s+raise error\n", traceback)
        assert traceback.endswith("ValueError: layer 3 is\nmissing\n")


def test_a_network_that_ends_the_program_ends_its_job_alone(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start()
    break_training(monkeypatch, SystemExit("bye"))
    assert math.isnan(job.run(cfg))
    error = read_json(cell / "seed=0" / "result.json")["error"]
    assert (error["type"], error["message"]) == ("RuntimeError", "ends the program, by SystemExit: bye")


def test_what_the_user_can_mend_is_recorded_without_a_traceback(
    start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start()
    break_training(monkeypatch, UserError("no such image"))
    assert math.isnan(job.run(cfg))
    found = read_json(cell / "seed=0" / "result.json")
    assert found["error"] == {"type": "UserError", "message": "no such image", "traceback": ""}


def test_alone_a_crash_is_recorded_and_raised(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start(sweep=False)
    break_training(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        job.run(cfg)
    assert read_json(cell / "seed=0" / "result.json")["status"] == "failed"


def test_alone_what_the_user_can_mend_ends_the_program_with_one_line(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start(sweep=False)
    break_training(monkeypatch, UserError("no such image"))
    with pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code == "error: no such image"


def test_a_failure_never_overwrites_a_seed_that_is_done(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start("replicas=2")

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        result(cell.directory, cell.cfg, 0, val_acc=80.0)
        raise OSError("disk full")

    monkeypatch.setattr("labs.training.run.train", train)
    job.run(cfg)
    assert read_json(cell / "seed=0" / "result.json")["status"] == "done"
    assert read_json(cell / "seed=1" / "result.json")["status"] == "failed"


# ── files that cannot be written ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO])
def test_a_folder_that_is_not_ours_is_one_line_and_no_traceback(tmp_path: Path, number: int) -> None:
    error = job.unwritable(tmp_path, OSError(number, "No"))
    assert str(error) == f"{tmp_path}: cannot be used (No); the epochs so far are kept, mend that and start again"


def test_a_full_disk_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    error = job.unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert str(error) == (
        f"{tmp_path}: cannot be written (No space left on device); the epochs so far are kept, mend that and start again"
    )
    assert job.unwritable(tmp_path, OSError(errno.ENOENT, "No such file")) is None
    assert job.unwritable(tmp_path, ValueError("x")) is None
