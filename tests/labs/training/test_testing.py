"""Promise 2: the test images are read once, after training, and tested with the best weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import train
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from labs import cells
from labs.data import datasets
from labs.data.images import Images
from labs.training import checkpoint, run, testing

Compose = Callable[..., DictConfig]


def test_test_images_are_read_once_after_training_with_the_best_weights(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    load, fit, evaluate = datasets.load, run.fit, testing.evaluate
    test_images = load(compose_config().dataset, train=False)
    weights: list[dict[str, Tensor]] = []

    def spy_load(cfg: DictConfig, *, train: bool) -> Images:
        events.append("read training" if train else "read test")
        return load(cfg, train=train)

    def spy_fit(*args: Any) -> None:
        fit(*args)
        events.append("trained")

    def spy_evaluate(replicas: Any, batches: Any, predicted: Any) -> Any:
        events.append(f"tested on {len(batches)}")
        weights.append(replicas.state_of(0))
        return evaluate(replicas, batches, predicted)

    monkeypatch.setattr(run.datasets, "load", spy_load)
    monkeypatch.setattr(run, "fit", spy_fit)
    monkeypatch.setattr(testing, "evaluate", spy_evaluate)
    cfg = compose_config("trainer.epochs=8", "optimizer.lr=0.1", "trainer.batch_size=32")
    [result] = train(cfg, tmp_path)
    assert events == ["read training", "trained", "read test", *[f"tested on {len(test_images)}"] * 2]
    assert result["best_epoch"] < 8  # so that the last weights are not the best
    best = checkpoint.load(tmp_path / "seed=0" / "checkpoints" / "best.pt")["model"]
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights[0].items())
    kept = [name for name in best if "running" not in name and "tracked" not in name]  # the second has BatchNorm recalibrated
    assert all(torch.equal(weights[1][name], best[name]) for name in kept)


def test_the_last_weights_are_tested_where_the_configuration_says_so(compose_config: Compose, tmp_path: Path) -> None:
    overrides = ("trainer.epochs=8", "optimizer.lr=0.1", "trainer.batch_size=32", "trainer.patience=null")
    [best] = train(compose_config(*overrides), tmp_path / "best")
    [last] = train(compose_config(*overrides, "trainer.test_weights=last"), tmp_path / "last")
    assert (best["test_weights"], last["test_weights"]) == ("best", "last")
    assert best["best_epoch"] < last["best_epoch"] == 8
    assert (best["hash"], best["test_acc"]) != (last["hash"], last["test_acc"])
    folder = tmp_path / "last" / "seed=0" / "checkpoints"
    kept, state = checkpoint.load(folder / "best.pt"), checkpoint.load(folder / "last.pt")["model"]
    assert kept["epoch"] == 8
    assert all(torch.equal(tensor, state[name]) for name, tensor in kept["model"].items())


def test_the_hash_is_that_of_before_there_was_a_choice(compose_config: Compose) -> None:
    cfg = compose_config()
    without = OmegaConf.create(cells.resolved(cfg))
    del without.trainer["test_weights"], without.trainer["steps"]
    assert cells.config_hash(cfg) == cells.config_hash(without)


def test_what_is_in_the_test_images_changes_nothing_but_the_test_numbers(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, load = compose_config(), datasets.load
    [honest] = train(cfg, tmp_path / "honest")

    def other_test_images(cfg: DictConfig, *, train: bool) -> Images:
        images = load(cfg, train=train)
        return images if train else Images(255 - images.images, images.labels.flip(0), images.classes)

    monkeypatch.setattr(run.datasets, "load", other_test_images)
    [other] = train(cfg, tmp_path / "other")
    different = {name for name in honest if honest[name] != other[name]}
    assert different - {"seconds", "records"} == {"test_loss", "test_acc", "test_acc_recalibrated", "test_data"}
