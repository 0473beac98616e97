"""Metrics of the user's own: by epoch and of the test images, in every record, and refused in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from breaking_off import break_off, equal, left_behind, lines, refusal, train
from omegaconf import DictConfig

from labs import cells, config, config_checks
from labs.diagnostics import metrics
from labs.errors import UserError
from labs.files import read_json, write_json
from labs.jobs import preflight
from labs.load import load_model
from run_contract import is_further

Compose = Callable[..., DictConfig]
RECALL = "metrics=[{_target_: own_parts.Recall, classes: 10}]"
SHORT = ["trainer.epochs=3", "trainer.steps_per_epoch=4", "model.widths=[16,8,8,8]", "device=cpu", "trainer.num_threads=1"]


def test_a_metric_is_measured_by_epoch_and_on_the_test_images(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config(*SHORT, RECALL)
    preflight.check_networks([cfg])
    [result] = train(cfg, tmp_path)
    rows = lines(tmp_path / "seed=0" / "metrics.jsonl")
    assert all(0 <= row["val_recall"] <= 100 for row in rows)
    assert result["metrics"].keys() == {"val_recall", "test_recall"}
    assert result["metrics"]["val_recall"] == rows[result["best_epoch"] - 1]["val_recall"]
    assert read_json(tmp_path / "seed=0" / "result.json")["metrics"] == result["metrics"]
    write_json(tmp_path / "seed=0" / "config.json", {"hash": cells.config_hash(cfg), "seed": 0, "config": cells.resolved(cfg)})
    model, data = load_model(tmp_path / "seed=0")
    found, count = torch.zeros(10), torch.zeros(10)
    with torch.no_grad():
        for images, labels in data.test:
            right = model(images).argmax(1) == labels
            found += torch.bincount(labels[right], minlength=10)
            count += torch.bincount(labels, minlength=10)
    assert result["metrics"]["test_recall"] == pytest.approx(float(100 * (found / count).mean()))


@pytest.mark.parametrize("engine", ["auto", "looped"])
def test_it_changes_no_bit_of_training_nor_the_hash_and_each_replica_has_its_own(
    compose_config: Compose, tmp_path: Path, engine: str
) -> None:
    engined = [*SHORT, f"trainer.engine={engine}"]
    with_it, without = compose_config(*engined, RECALL), compose_config(*engined)
    assert cells.config_hash(with_it) == cells.config_hash(without)
    train(with_it, tmp_path / "with", (0, 1))
    train(without, tmp_path / "without", (1,))
    mine, others = left_behind(tmp_path / "with", 1), left_behind(tmp_path / "without", 1)
    assert mine["layers"] == others["layers"]
    for name in ("best.pt", "last.pt"):
        assert equal(mine["states"][name]["model"], others["states"][name]["model"])
    assert [{key: value for key, value in row.items() if key != "val_recall"} for row in mine["metrics"]] == others["metrics"]
    train(with_it, tmp_path / "alone", (1,))
    assert left_behind(tmp_path / "alone", 1)["result"]["metrics"] == mine["result"]["metrics"]


def test_a_killed_run_goes_on_to_the_same_numbers(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config(*SHORT, RECALL)
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (3, 1))
    train(cfg, tmp_path / "killed")
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def test_one_that_fails_is_null_and_ends_nothing(
    compose_config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config(*SHORT, "metrics=[{_target_: own_parts.Broken}, {_target_: own_parts.Recall}]")
    preflight.check_networks([cfg])
    [result] = train(cfg, tmp_path)
    rows = lines(tmp_path / "seed=0" / "metrics.jsonl")
    assert [row["val_broken"] for row in rows] == [None] * 3
    assert rows[-1]["val_recall"] is not None
    assert result["status"] == "done"
    assert [m for m in caplog.messages if "broken" in m] == [
        "metric broken: null where it fails (too many)"
    ] * 2  # and at the test


def test_of_an_untrained_network(compose_config: Compose, tmp_path: Path) -> None:
    [result] = train(compose_config("trainer.epochs=0", RECALL), tmp_path)
    assert result["metrics"].keys() == {"val_recall", "test_recall"}


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_those_of_the_class_or_given() -> None:
    paths = {"torchmetrics.classification.MulticlassF1Score": "multiclass_f1_score", "a.AUROC": "auroc", "a.b.Recall": "recall"}
    assert {path: config.metric_name({"_target_": path}) for path in paths} == paths
    assert config.metric_columns([{"_target_": "a.B", "name": "f1"}]) == ["val_f1", "test_f1"]
    assert [name for name in ("val_f1", "test_f1", "val_loss", "test_acc_recalibrated", "test_data", "lr", "val_F", "val_a b")
            if is_further(name)] == ["val_f1", "test_f1"]  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ([{"_target_": "a.B", "name": "acc"}], "metrics[0].name=acc: is ours; give it another name, {…, name: my_acc}"),
        ([{"_target_": "a.Loss"}], "metrics[0].name=loss: is ours; give it another name, {…, name: my_loss}"),
        (
            [{"_target_": "a.Recall"}, {"_target_": "b.Recall"}],
            "metrics[1].name=recall: is that of metrics[0]; give it another name, {…, name: my_recall}",
        ),
        (
            [{"_target_": "a.B", "name": "a b"}],
            "metrics[0].name=a b: must be at most 50 small letters, digits and '_', and start with a letter",
        ),
    ],
)  # fmt: skip
def test_names_that_are_taken_or_none_are_refused(compose_config: Compose, listed: list[dict[str, str]], told: str) -> None:
    cfg = compose_config()
    cfg.metrics = listed
    with pytest.raises(UserError) as caught:
        config_checks.check(cfg)
    assert str(caught.value) == told


def test_the_analysis_may_be_asked_for_one(compose_config: Compose) -> None:
    config_checks.check(compose_config(RECALL, "analysis.metric=test_recall"))
    with pytest.raises(UserError, match=r"^analysis.metric=test_f1: must be test_acc, .*, val_recall or test_recall$"):
        config_checks.check(compose_config(RECALL, "analysis.metric=test_f1"))


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    "own_parts.ByClass": "computes a tensor of shape (10,); it must be one number, such as the mean over the classes",
    "own_parts.Halfway": "has no reset; a metric has update, compute and reset",
    "own_parts.Recal": "cannot be imported (module 'own_parts' has no attribute 'Recal'), did you mean own_parts.Recall?",
    "own_parts.focal": "needs logits, labels; add +metrics[0].logits=… +metrics[0].labels=…",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_no_metric_is_refused_before_the_first_job(compose_config: Compose, path: str) -> None:
    assert refusal(compose_config(f"metrics=[{{_target_: {path}}}]")) == f"metrics[0]._target_={path}: {REFUSED[path]}"


def test_a_metric_for_other_classes_is_refused(compose_config: Compose) -> None:
    told = refusal(compose_config("metrics=[{_target_: own_parts.Recall, classes: 3}]"))
    assert told.startswith("metrics[0]._target_=own_parts.Recall: fails for predictions (20, 10) and labels (20,) (")
    told = refusal(compose_config("metrics=[{_target_: own_parts.Recall, number: 3}]"))
    assert told == "metrics[0].number: own_parts.Recall takes no number; it takes classes"


def test_a_package_that_is_missing_is_named(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics", None)
    told = refusal(compose_config("metrics=[{_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}]"))
    assert told.startswith("metrics[0]._target_=torchmetrics.classification.MulticlassF1Score: cannot be imported (")
    assert told.endswith("; pip install torchmetrics")


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5]), np.array(0.5)])
def test_numbers_of_any_kind_are_numbers(value: object) -> None:
    assert metrics.number("x", value) == float(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0.5", None, {}, torch.zeros(2), np.zeros(2), True, [1.0], torch.tensor(1j)])
def test_all_else_is_none(value: object) -> None:
    with pytest.raises(UserError, match=r"^x: computes a"):
        metrics.number("x", value)
