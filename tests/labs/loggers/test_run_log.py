"""The JSON lines and the TensorBoard logger, read back as TensorBoard reads it. W&B has a file of its own."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from labs.errors import UserError
from labs.loggers.logger import RunInfo
from labs.loggers.run_log import RunLog
from labs.loggers.tensorboard import TensorBoardLogger

ROW = {"epoch": 1, "train_loss": 0.5, "train_acc": 80.0, "val_loss": 0.4, "val_acc": 82.0, "lr": 0.001, "grad_norm": 0.1,
       "seconds": 1.5}  # fmt: skip
RESULT = {"status": "done", "best_epoch": 2, "test_loss": 0.25, "test_acc": 90.0, "val_loss": 0.4, "val_acc": 82.0}
ON, OFF = OmegaConf.create({"tensorboard": True}), OmegaConf.create({"tensorboard": False})


def info(seed: int = 0, depth: int = 5, epochs: int = 100) -> RunInfo:
    return RunInfo(
        cell=f"mlp-depth={depth}", hash="0123456789", seed=seed, study="s", place="s",
        config={"model": {"depth": depth, "width": None}, "trainer": {"epochs": epochs, "log_every": 1},
                "logger": {"tensorboard": True}, "seed": seed, "device": "cpu"},
        depth=depth, residual=True, params=7, mult_adds=8, summary="Layer a\nLayer b",
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0}).Reload()


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
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("accuracy/val")] == expected


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


# ── TensorBoard ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tensorboard_shows_the_metrics(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        log.epoch(ROW)
        log.epoch(ROW | {"epoch": 2, "train_loss": math.nan, "val_acc": 90.0})
        log.end(RESULT | {"test_loss": None})
    read = events(tmp_path)
    assert set(read.Tags()["scalars"]) == {
        "loss/train", "loss/val", "accuracy/train", "accuracy/val", "accuracy/test", "lr", "grad_norm",
    }  # fmt: skip
    assert [(e.step, e.value) for e in read.Scalars("accuracy/val")] == [(1, 82.0), (2, 90.0)]
    assert [e.step for e in read.Scalars("loss/train")] == [1]  # no number where there is none
    assert [(e.step, e.value) for e in read.Scalars("accuracy/test")] == [(2, 90.0)]
    assert b"Layer a\n    Layer b" in read.Tensors("summary/text_summary")[0].tensor_proto.string_val[0]


def test_layer_norms_are_histograms_of_powers_of_ten_now_and_then(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info(epochs=100)) as log:
        for epoch in range(101):
            log.layers({"epoch": epoch, "grad_norm": [1e-8, 0.0, math.nan, 1e2], "update_ratio": None})
    histograms = events(tmp_path).Histograms("layers/log10_grad_norm")
    assert [h.step for h in histograms] == [0, 1, *range(5, 101, 5)]
    value = histograms[0].histogram_value
    assert (value.min, value.max, value.num) == (-8.0, 2.0, 2)


def test_the_hparams_tab_compares_cells(tmp_path: Path) -> None:
    for depth in (5, 50):
        for seed in (0, 1):
            with RunLog(tmp_path / f"{depth}" / f"seed={seed}", ON, info(seed, depth)) as log:
                log.epoch(ROW)
                log.end(RESULT | {"test_acc": float(depth + seed)})
    with pytest.raises(KeyError), RunLog(tmp_path / "failed" / "seed=0", ON, info(depth=7)):
        raise KeyError

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    context = backend_context.Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=10, aggregation_type=api_pb2.AGGREGATION_AVG, include_metrics=True,
        col_params=[api_pb2.ColParams(hparam="depth", order=api_pb2.ORDER_ASC)],
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
    )  # fmt: skip
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    assert [group.name for group in groups] == ["s/mlp-depth=5", "s/mlp-depth=7", "s/mlp-depth=50"]
    assert [[session.status for session in group.sessions] for group in groups] == [
        [api_pb2.STATUS_SUCCESS] * 2, [api_pb2.STATUS_FAILURE], [api_pb2.STATUS_SUCCESS] * 2,
    ]  # fmt: skip
    assert groups[0].hparams["residual"].bool_value is True
    assert groups[0].hparams["model.width"].string_value == "null"
    assert set(groups[0].hparams) == {"depth", "residual", "model.width", "trainer.epochs"}  # what decides a cell's numbers
    means = [{v.name.tag: v.value for v in group.metric_values}.get("accuracy/test") for group in groups]
    assert means == [5.5, None, 50.5]  # over the two seeds


def test_a_full_disk_under_tensorboard_is_one_warning_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorBoard writes in a thread of its own, whose exceptions Python prints."""

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with RunLog(tmp_path, ON, info()) as log:
        logger = log._loggers["TensorBoard"]
        assert isinstance(logger, TensorBoardLogger)
        worker = logger._writer._get_file_writer().event_writer._async_writer._worker
        monkeypatch.setattr(worker._record_writer, "write", full)
        log.epoch(ROW)
        worker.join(10)
        log.epoch(ROW | {"epoch": 2})
        monkeypatch.undo()
    assert [record.getMessage() for record in caplog.records] == [
        "TensorBoard failed ([Errno 28] No space left on device) and is off for the rest of this run"
    ]
    assert "Traceback" not in capsys.readouterr().err
    assert len(rows(tmp_path / "metrics.jsonl")) == 2
