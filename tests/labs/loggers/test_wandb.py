"""The W&B logger by itself, with the real client, offline: read back, and watched for what it must not do."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from logged import events
from omegaconf import DictConfig, OmegaConf
from wandb_reader import METRICS, history, inspect, records, rows

from labs import config_checks
from labs.cells import Cell
from labs.errors import UserError
from labs.files import read_json
from labs.loggers import wandb as wandb_logger
from labs.loggers.logger import RunInfo
from labs.loggers.run_log import RunLog
from labs.training import run

ROOT = Path(__file__).parents[3]
Compose = Callable[..., DictConfig]
LOGGER = OmegaConf.create({
    "tensorboard": False, "wandb": True, "project": "depth-labs", "entity": None, "tags": [], "notes": None,
    "job_type": "train", "system_metrics": False, "artifact": False,
})  # fmt: skip
ROW = dict.fromkeys(METRICS, 0.5)


def info(seed: int = 0, place: str = "s") -> RunInfo:
    return RunInfo(
        cell="mlp-digits-depth=2-plain-0123456789", label="mlp-digits-depth=2-plain lr=0.01", hash="0123456789",
        seed=seed, study="s", place=place,
        config={"model": {"name": "mlp"}, "dataset": {"name": "digits"}}, depth=2, residual=False,
        params=7, mult_adds=8, summary="Layer a\nLayer b",
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_same_run_with_all_its_epochs(tmp_path: Path) -> None:
    log = RunLog(tmp_path, LOGGER, info()).__enter__()
    for epoch in (1, 2, 3):
        log.epoch(ROW | {"epoch": epoch})
    log.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    before = inspect(tmp_path)
    assert before["state"] == "failed"
    with RunLog(tmp_path, LOGGER, info(), after=2) as log:
        log.epoch(ROW | {"epoch": 3, "val_acc": 7.0})
    after = inspect(tmp_path)
    assert after["run_id"] == before["run_id"]
    assert after["name"] == "mlp-digits-depth=2-plain lr=0.01 seed=0"
    assert records(tmp_path, "run")[0]["resume"] is True
    assert [(row["epoch"], row["val_acc"]) for row in history(tmp_path)] == [(1, 0.5), (2, 0.5), (3, 7.0)]


def test_identities_differ_by_seed_and_place_and_by_nothing_else() -> None:
    same = {wandb_logger.run_id(info()), wandb_logger.run_id(replace(info(), label="called otherwise in another launch"))}
    assert len(same | {wandb_logger.run_id(info(seed=1)), wandb_logger.run_id(info(place="2026-01-01/12-00"))}) == 3


def test_whose_a_run_is_and_what_is_said_of_it_are_settings(tmp_path: Path) -> None:
    told = {"entity": "my-team", "tags": ["paper", "mlp"], "notes": "for the appendix", "job_type": "ablation"}
    with RunLog(tmp_path, OmegaConf.merge(LOGGER, told), info()) as log:
        log.epoch(ROW | {"epoch": 1})
    (run,) = records(tmp_path, "run")
    assert (run["entity"], run["notes"], run["job_type"]) == ("my-team", "for the appendix", "ablation")
    assert run["tags"] == ["mlp", "digits", "plain", "depth=2", "paper"]
    assert records(tmp_path, "stats") == []


def test_signals_are_logged_with_their_epoch(tmp_path: Path) -> None:
    with RunLog(tmp_path, LOGGER, info()) as log:
        log.signals({"epoch": 0, "effective_rank": [9.0, 5.0, 4.0]})
        log.epoch(ROW | {"epoch": 1})
        log.signals({"epoch": 1, "effective_rank": [9.0, 3.0, 2.0]})
    items = [record["item"] for record in records(tmp_path, "history")]
    assert [item["signals/effective_rank/head"] for item in items] == [4.0, 2.0]
    assert [item.get("val_acc") for item in items] == [None, 0.5]


def test_no_number_is_logged_where_there_is_none(tmp_path: Path) -> None:
    with RunLog(tmp_path, LOGGER, info()) as log:
        log.layers({"epoch": 0, "grad_norm": [float("nan"), 1.0], "weight_norm": [1.0, 1.0], "update_ratio": None})
        log.epoch(ROW | {"epoch": 1, "train_loss": float("nan"), "val_loss": float("inf"), "grad_norm": None})
    (row,) = history(tmp_path)
    assert set(METRICS) - set(row) == {"train_loss", "val_loss", "grad_norm"}
    assert "first_to_last_grad_norm_at_init" not in inspect(tmp_path)["summary"]


def test_panels_have_sections_and_the_names_of_the_lines_are_there_without_panels(tmp_path: Path) -> None:
    result = {"status": "done", "val_loss": 1.0, "val_acc": 90.0, "test_loss": 1.5, "test_acc": 80.0, "best_epoch": 1,
              "epochs_run": 1, "seconds": 1.0, "metrics": {"val_f1": 0.5, "test_f1": 0.25}}  # fmt: skip
    row = {"epoch": 1, "train_loss": 1.0, "train_acc": 70.0, "val_loss": 2.0, "val_acc": 60.0, "val_f1": 0.5, "lr": 0.1,
           "grad_norm": 3.0, "seconds": 4.0}  # fmt: skip
    with RunLog(tmp_path, OmegaConf.merge(LOGGER, {"tensorboard": True}), info()) as log:
        log.epoch(row)
        log.epoch(row | {"epoch": 2})
        log.end(result)
    sections = {"train/loss": 1.0, "train/acc": 70.0, "val/loss": 2.0, "val/acc": 60.0, "val/f1": 0.5}
    for epoch, record in enumerate(records(tmp_path, "history"), 1):
        logged = {name: value for name, value in record["item"].items() if not name.startswith("_")}
        assert logged == row | sections | {"epoch": epoch}
    hidden = records(tmp_path, "metric")
    assert all(metric["options"]["hidden"] for metric in hidden)
    assert sorted(metric["name"] for metric in hidden) == ["train_acc", "train_loss", "val_acc", "val_f1", "val_loss"]
    summary = inspect(tmp_path)["summary"]
    tested = {"test/loss": 1.5, "test/acc": 80.0, "test/f1": 0.25}
    plain = {"test_loss": 1.5, "test_acc": 80.0, "test_f1": 0.25, "best_val_acc": 90.0, "best_val_f1": 0.5}
    assert summary.items() >= (row | {"epoch": 2} | sections | tested | plain).items()
    assert set(events(tmp_path).Tags()["scalars"]) == {*sections, *tested, "lr", "grad_norm"}  # the same in TensorBoard


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("override", "status"), [("optimizer.lr=1e30", "diverged"), ("trainer.epochs=0", "done")])
def test_runs_with_few_numbers_are_runs_too(compose_config: Compose, tmp_path: Path, override: str, status: str) -> None:
    cfg = compose_config("logger=all", "optimizer=sgd", override)
    run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    told = inspect(tmp_path / "seed=0")
    assert (told["state"], told["summary"]["status"]) == ("finished", status)
    assert told["summary"]["first_to_last_grad_norm_at_init"] > 0
    assert "layers/grad_norm_table" in told["summary"]
    assert {record["type"] for record in records(tmp_path / "seed=0", "artifact")} == {"run_table"}  # no checkpoint unasked
    logged = [
        {name: value for name, value in row.items() if value is not None} for row in rows(tmp_path / "seed=0" / "metrics.jsonl")
    ]
    assert [row for row in history(tmp_path / "seed=0") if row] == logged


def test_what_was_confused_is_a_chart_and_the_most_wrong_images_are_pictures(compose_config: Compose, tmp_path: Path) -> None:
    run.train(Cell.of(compose_config("logger=wandb", "model=mlp", "model.depth=2"), tmp_path), [0], show_progress=False)
    directory = tmp_path / "seed=0"
    summary, result = inspect(directory)["summary"], read_json(directory / "result.json")
    (table,) = (directory / "wandb").rglob("test/confusion_matrix_table*.json")
    rows = json.loads(table.read_text())["data"]
    tested = sum(count for *_, count in rows)
    assert tested == sum(read_json(directory / "test_correct.json")["images"])
    right = sum(count for actual, predicted, count in rows if actual == predicted)
    assert 100 * right / tested == pytest.approx(result["test_acc"])
    kept = read_json(directory / "mistakes.json")["mistakes"]
    assert summary["test/most_wrong"]["count"] == len(kept) > 0
    first = kept[0]
    assert summary["test/most_wrong"]["captions"][0] == (
        f"{first['label']} → {first['predicted']}, {100 * first['probability']:.1f} %"
    )
    assert len(list((directory / "wandb").rglob("most_wrong*.png"))) == len(kept)


def test_a_thousand_layers_are_thinned_for_the_panel() -> None:
    record = {"epoch": 0, "grad_norm": [10.0] * 1000}
    table = wandb_logger.chart(record, record).table
    assert len(table.data) == wandb_logger.SHOWN_LAYERS
    assert (table.data[0], table.data[-1]) == ([0, "at initialisation", 1.0], [999, "at initialisation", 1.0])


def test_disabled_leaves_nothing(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run.train(Cell.of(compose_config("logger=wandb", "logger.artifact=true"), tmp_path), [0], show_progress=False)
    assert not (tmp_path / "seed=0" / "wandb").exists()


def test_neither_random_state_nor_environment_nor_threads_of_torch_move(tmp_path: Path) -> None:
    def state() -> list[Any]:
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # W&B's own
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        numpy = np.random.get_state()[1].tolist()  # type: ignore[index, call-overload]  # noqa: NPY002
        return [
            random.getstate(),
            numpy,
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            environment,
            handlers,
            wandb.run,
        ]

    before = state()
    with RunLog(tmp_path, LOGGER, info()) as log:
        log.layers({"epoch": 0, "grad_norm": [1.0, 2.0], "weight_norm": [1.0, 1.0], "update_ratio": None})
        log.epoch(ROW | {"epoch": 1})
    assert state() == before


def test_wandb_and_tensorboard_are_imported_by_those_who_use_them_alone() -> None:
    program = (
        "import sys, labs.training.run, labs.jobs.preflight; print([m for m in ('wandb', 'tensorboard') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ended.stdout == "[]\n"


def test_an_artifact_without_wandb_is_refused(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"^logger.artifact=true: needs logger.wandb=true$"):
        config_checks.check(compose_config("logger=wandb", "logger.wandb=false", "logger.artifact=true"))
