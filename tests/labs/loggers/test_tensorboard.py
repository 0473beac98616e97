"""The TensorBoard logger, read back as TensorBoard reads it."""

import math
from pathlib import Path

import pytest
from logged import ON, RESULT, ROW, events, info, rows
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from labs.loggers.run_log import RunLog
from labs.loggers.tensorboard import TensorBoardLogger


def test_tensorboard_shows_the_metrics(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        log.epoch(ROW)
        log.epoch(ROW | {"epoch": 2, "train_loss": math.nan, "val_acc": 90.0})
        log.end(RESULT | {"test_loss": None})
    read = events(tmp_path)
    assert set(read.Tags()["scalars"]) == {
        "train/loss", "val/loss", "train/acc", "val/acc", "test/acc", "lr", "grad_norm",
    }  # fmt: skip
    assert [(e.step, e.value) for e in read.Scalars("val/acc")] == [(1, 82.0), (2, 90.0)]
    assert [e.step for e in read.Scalars("train/loss")] == [1]  # no number where there is none
    assert [(e.step, e.value) for e in read.Scalars("test/acc")] == [(2, 90.0)]
    text = b"    mlp-depth=5 lr=0.1 seed=0\n    \n    Layer a\n    Layer b"
    assert text in read.Tensors("summary/text_summary")[0].tensor_proto.string_val[0]


def test_metrics_of_the_users_own_are_in_these_sections_too(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        log.epoch(ROW | {"val_f1": 0.5, "val_top_2": math.nan})
        log.end(RESULT | {"metrics": {"val_f1": 0.5, "test_f1": 0.25, "test_top_2": 0.75}})
    read = events(tmp_path)
    found = {tag: [e.value for e in read.Scalars(tag)] for tag in ("val/f1", "test/f1", "test/top_2")}
    assert found == {"val/f1": [0.5], "test/f1": [0.25], "test/top_2": [0.75]}


def test_layer_norms_are_histograms_of_powers_of_ten_now_and_then(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info(epochs=100)) as log:
        for epoch in range(101):
            log.layers({"epoch": epoch, "grad_norm": [1e-8, 0.0, math.nan, 1e2], "update_ratio": None})
    histograms = events(tmp_path).Histograms("layers/log10_grad_norm")
    assert [h.step for h in histograms] == [0, 1, *range(5, 101, 5)]
    value = histograms[0].histogram_value
    assert (value.min, value.max, value.num) == (-8.0, 2.0, 2)


def test_signals_are_shown_of_the_middle_layer_and_the_head(tmp_path: Path) -> None:
    with RunLog(tmp_path, ON, info()) as log:
        for epoch in (0, 1):
            log.signals({"epoch": epoch, "effective_rank": [9.0, 5.0 + epoch, math.nan], "probe_accuracy": [90.0, 80.0, 70.0]})
    read = events(tmp_path)
    found = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    assert found == {
        "signals/effective_rank/middle": [(0, 5.0), (1, 6.0)],  # the head's are no numbers
        "signals/probe_accuracy/middle": [(0, 80.0), (1, 80.0)], "signals/probe_accuracy/head": [(0, 70.0), (1, 70.0)],
    }  # fmt: skip
    with RunLog(tmp_path, ON, info(), after=1) as log:  # told again, as after an interruption
        log.signals({"epoch": 2, "effective_rank": [1.0, 1.0, 1.0]})
    assert [e.step for e in events(tmp_path).Scalars("signals/effective_rank/middle")] == [0, 1, 2]


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
    assert groups[0].hparams["depth"].number_value == 5
    assert groups[0].hparams["optimizer.lr"].number_value == 0.1
    assert groups[0].hparams["model.width"].string_value == "null"
    assert set(groups[0].hparams) == {
        "depth",
        "residual",
        "optimizer.lr",
        "model.width",
    }  # no constant ones of the configuration
    means = [{v.name.tag: v.value for v in group.metric_values}.get("test/acc") for group in groups]
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
