"""The JSON lines, and what happens if a logger fails."""

import math
from pathlib import Path
from typing import Any

import pytest
from logged import ON, RESULT, ROW, events, info, rows

from labs.errors import UserError
from labs.loggers.run_log import RunLog
from labs.loggers.tensorboard import TensorBoardLogger

# ── the lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_are_on_disk_before_the_run_ends_and_a_new_attempt_starts_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLog(tmp_path, ON, info()) as log:
            log.epoch(ROW)
            log.layers({"epoch": 0, "grad_norm": [math.nan]})
            assert rows(tmp_path / "metrics.jsonl") == [ROW]
            assert rows(tmp_path / "layers.jsonl") == [{"epoch": 0, "grad_norm": [None]}]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_a_run_that_goes_on_keeps_the_lines_it_had_and_its_logger_shows_them(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        log.layers({"epoch": 0, "grad_norm": [1.0]})
        for epoch in (1, 2, 3):
            log.epoch(ROW | {"epoch": epoch, "val_acc": 10.0 * epoch})
            log.layers({"epoch": epoch, "grad_norm": [1.0]})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "tra')  # killed here
    with RunLog(tmp_path, ON, info(), after=2) as log:
        log.epoch(ROW | {"epoch": 3, "val_acc": 35.0})
        log.layers({"epoch": 3, "grad_norm": [2.0]})
    expected = [(1, 10.0), (2, 20.0), (3, 35.0)]
    assert [(row["epoch"], row["val_acc"]) for row in rows(tmp_path / "metrics.jsonl")] == expected
    assert [row["epoch"] for row in rows(tmp_path / "layers.jsonl")] == [0, 1, 2, 3]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("val/acc")] == expected


def test_signals_have_a_file_if_there_are_any_and_it_goes_on_like_the_others(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        log.epoch(ROW)
        empty = log.digests()[2]
    assert not (tmp_path / "signals.jsonl").exists()
    for after in (0, 2, 0):
        with RunLog(tmp_path, ON, info(), after=after) as log:
            kept = log.digests()[2]
            for epoch in range(after + 1 if after else 0, 5):
                log.signals({"epoch": epoch, "effective_rank": [1.0, math.nan]})
            log.sync()
        assert (kept == empty) == (after == 0)
        assert rows(tmp_path / "signals.jsonl") == [{"epoch": epoch, "effective_rank": [1.0, None]} for epoch in range(5)]
    with RunLog(tmp_path, ON, info()) as log:
        log.sync()
    assert not (tmp_path / "signals.jsonl").exists()  # of the attempt before


# ── loggers that fail ────────────────────────────────────────────────────────────────────────────────────────────────────


def disk_gone(*_: Any) -> None:
    raise OSError("disk gone")


def test_a_logger_that_fails_later_warns_once_and_the_lines_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TensorBoardLogger, "epoch", disk_gone)
    with RunLog(tmp_path, ON, info()) as log:
        for epoch in (1, 2, 3):
            log.epoch(ROW | {"epoch": epoch})
        log.end(RESULT)
    assert [record.message for record in caplog.records] == [
        "TensorBoard failed (disk gone) and is off for the rest of this run"
    ]
    assert len(rows(tmp_path / "metrics.jsonl")) == 3


def test_a_logger_that_fails_at_the_end_leaves_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TensorBoardLogger, "_hparams", lambda *_: None)
    with RunLog(tmp_path, ON, info()):
        monkeypatch.setattr(TensorBoardLogger, "_hparams", disk_gone)
    assert [record.message for record in caplog.records] == ["TensorBoard failed (disk gone) at the end of this run"]


def test_a_logger_that_cannot_start_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardLogger, "__init__", lambda *_: (_ for _ in ()).throw(ValueError("no\nsuch tag")))
    with pytest.raises(UserError, match=r"^TensorBoard did not start \(no such tag\); logger=none trains without it$"):
        RunLog(tmp_path, ON, info()).__enter__()
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "tensorboard").write_text("a file where the folder should be")
    monkeypatch.undo()
    with pytest.raises(FileExistsError):
        RunLog(tmp_path / "file", ON, info()).__enter__()
