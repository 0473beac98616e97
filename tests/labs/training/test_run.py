"""Whole runs on the bundled digits, and on real data where it is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import lines, train
from omegaconf import DictConfig
from ordinary import last_weights
from torch import Tensor

from labs.data import datasets
from labs.data.images import Images
from labs.errors import UserError
from labs.files import read_json
from labs.models.build import build_model
from labs.training import assemble, checkpoint, results, run, testing

Compose = Callable[..., DictConfig]


def test_a_run_directory_keeps_the_run_contract(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("model.residual=true", "trainer.epochs=3", "trainer.save_every=2", "logger=tensorboard")
    [result] = train(cfg, tmp_path)
    folder = tmp_path / "seed=0"
    assert {path.name for path in folder.iterdir()} == {
        "metrics.jsonl", "layers.jsonl", "result.json", "test_correct.json", "mistakes.json", "checkpoints", "tensorboard"
    }  # fmt: skip
    assert "21,674" in (tmp_path / "summary.txt").read_text()
    rows, layers = lines(folder / "metrics.jsonl"), lines(folder / "layers.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    names = {"epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds"}
    assert all(row.keys() == names for row in rows)
    assert [record["epoch"] for record in layers] == [0, 1, 2, 3]
    assert layers[0]["update_ratio"] is None
    assert all(len(record["grad_norm"]) == len(result["layers"]) == 6 for record in layers)
    best = max(rows, key=lambda row: row["val_acc"])
    assert results.sealed(result) == read_json(folder / "result.json")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.pt", "best.pt", "epoch_2.pt"}
    assert result | {name: best[name] for name in ("train_loss", "train_acc", "val_loss", "val_acc")} == result
    assert (result["status"], result["seed"], result["depth"], result["residual"]) == ("done", 0, 5, True)
    assert (result["params"], result["epochs_run"], result["best_epoch"]) == (21_674, 3, best["epoch"])
    assert 0 <= result["test_acc"] <= 100
    assert result["versions"].keys() >= {"python", "torch", "hydra-core"}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("model=cnn", "model.filters=[4,8]")
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(cfg, tmp_path / name, (seed,))
        torch.randn(7)  # what happens between runs does not matter
        states.append(last_weights(tmp_path / name, seed))
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert any(not torch.equal(tensor, states[2][name]) for name, tensor in states[0].items())


def test_a_diverged_run_is_a_result_with_nulls(compose_config: Compose, tmp_path: Path) -> None:
    [result] = train(compose_config("optimizer=sgd", "optimizer.lr=1e30"), tmp_path)
    assert result["status"] == "diverged"
    assert (result["epochs_run"], result["best_epoch"]) == (1, None)
    assert [result[name] for name in ("train_loss", "val_loss", "val_acc", "test_loss", "test_acc")] == [None] * 5
    text = (tmp_path / "seed=0" / "metrics.jsonl").read_text()
    assert '"train_loss": null' in text
    assert "NaN" not in text + (tmp_path / "seed=0" / "result.json").read_text()


def test_batch_statistics_stand_beside_those_that_training_left(compose_config: Compose, tmp_path: Path) -> None:
    """After three steps the running statistics are still near where they began, and not those of the weights."""
    cfg = compose_config("dataset.augment=none", "optimizer.lr=0.01", "trainer.epochs=1", "trainer.steps_per_epoch=3")
    [result] = train(cfg, tmp_path)
    split = datasets.split(cfg.dataset, torch.device("cpu"))
    test = datasets.load(cfg.dataset, train=False)
    network = build_model(cfg, 0)
    network.load_state_dict(checkpoint.load(tmp_path / "seed=0" / "checkpoints" / "best.pt")["model"])
    accuracies = []
    with torch.no_grad():
        for _ in range(2):
            network.eval()
            logits = network(split.normalize(test.images))
            accuracies.append(100 * (logits.argmax(1) == test.labels).double().mean().item())
            network.train()
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.momentum = None
                    module.reset_running_stats()
            for start in range(0, 50 * 64, 64):  # other batches than those of the run
                network(split.normalize(split.training.images[start : start + 64]))
                if start + 128 > len(split.training):
                    break
    assert result["test_acc"] == pytest.approx(accuracies[0])
    assert result["test_acc_recalibrated"] == pytest.approx(accuracies[1], abs=1.5)
    assert abs(result["test_acc_recalibrated"] - result["test_acc"]) > 3


@pytest.mark.parametrize("own", [[], ["model=any/target", "model._target_=networks.Own", "+model.kind='nan'"]])
def test_a_run_of_no_epochs_is_done_whatever_its_loss_and_tested_once(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: list[str]
) -> None:
    """Nothing was trained that could have diverged, and no running statistics have been measured that could be wrong."""
    tested: list[None] = []
    original = testing.test_weights

    def counted(*args: Any) -> Any:
        tested.append(None)
        return original(*args)

    monkeypatch.setattr(testing, "test_weights", counted)
    [result] = train(compose_config(*own, "trainer.epochs=0"), tmp_path, (0,))
    assert (result["status"], result["epochs_run"], result["best_epoch"]) == ("done", 0, 0)
    assert (result["train_loss"], result["train_acc"], result["test_acc_recalibrated"]) == (None, None, None)
    assert (read_json(tmp_path / "seed=0" / "result.json")["val_loss"] is None) == bool(own)
    assert len(tested) == 1


def test_gpu_out_of_memory_says_what_to_lower(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "fit", fit)
    with pytest.raises(UserError, match=r"the GPU is out of memory: lower trainer.batch_size \(64\)"):
        train(compose_config(), tmp_path)


def test_an_epoch_of_mnist_learns(compose_config: Compose, tmp_path: Path, real_data: str) -> None:
    cfg = compose_config("experiment=mnist_mlp", "model.residual=true", "trainer.epochs=1", f"dataset.data_dir={real_data}")
    [result] = train(cfg, tmp_path)
    assert result["params"] == 113_834
    assert result["test_acc"] > 93


@pytest.mark.slow
def test_depth_100_on_mnist_fails_plain_and_trains_residual(compose_config: Compose, tmp_path: Path, real_data: str) -> None:
    accuracies = {}
    for residual in (False, True):
        cfg = compose_config(
            "experiment=mnist_mlp", "model.depth=100", f"model.residual={residual}", "trainer.epochs=20",
            "dataset.augment=none", f"dataset.data_dir={real_data}",
        )  # fmt: skip
        accuracies[residual] = train(cfg, tmp_path / str(residual))[0]["test_acc"]
    assert accuracies[False] < 20
    assert accuracies[True] > 96


def test_running_out_of_memory_anywhere_is_one_line(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {
        "the GPU": torch.cuda.OutOfMemoryError("CUDA out of memory"),
        "this machine": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 TB"),
    }
    for name, error in errors.items():

        def moving(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Images, "to", moving)
        with pytest.raises(UserError, match=rf"^{name} is out of memory: lower trainer\.batch_size \(64\), "):
            train(compose_config(), tmp_path)
    monkeypatch.setattr(run, "fit_and_test", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train(compose_config(), tmp_path)


def test_a_network_without_linear_or_convolution_trains_with_diagnostics(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Templates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.templates = torch.nn.Parameter(torch.randn(10, 64))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.templates.T

    for module in (assemble, testing):
        monkeypatch.setattr(module, "build_model", lambda cfg, seed: Templates())
    [result] = train(compose_config(), tmp_path)
    assert (result["status"], result["layers"], result["depth"]) == ("done", [], 0)
    assert lines(tmp_path / "seed=0" / "metrics.jsonl")[0]["grad_norm"] > 0
