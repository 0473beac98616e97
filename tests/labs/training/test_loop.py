"""The training loop, against plain PyTorch and against its promises."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from trained import Make, Trained, cnn, mlp, plain_cnn, plain_mlp, plateau

from labs.files import read_json
from labs.replicas.replicas import Replicas
from labs.training.loop import evaluate, out_of_patience

# ── the arithmetic of training ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_epoch_equals_a_plain_pytorch_loop(tmp_path: Path) -> None:
    # In double precision: Adam makes whole steps of the rounding noise that is the gradient of a bias before BatchNorm.
    trained = Trained(tmp_path, epochs=1, diagnostics="off", dtype=torch.float64)
    model = mlp(0).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss_sum = hits = 0.0
    for x, y in trained.training.epoch([0], 1, 16):
        logits = model(x[0])
        loss = F.cross_entropy(logits, y[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(y[0])
        hits += (logits.argmax(1) == y[0]).sum().item()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained.last()[name], tensor, rtol=0, atol=1e-9)
    row = trained.rows()[0]
    assert row["train_loss"] == pytest.approx(loss_sum / 90, rel=1e-9)
    assert row["train_acc"] == pytest.approx(100 * hits / 90)


def test_evaluation_is_the_mean_over_samples_whatever_the_batches(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=1)
    replicas = Replicas([mlp(0)], [0])
    replicas.load_state_of(0, trained.last())
    loss, accuracy = evaluate(replicas, trained.validation)
    images = trained.validation.normalize(trained.validation_images.images)
    model = mlp(0).eval()
    model.load_state_dict(trained.last())
    with torch.no_grad():
        logits = model(images)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, trained.validation_images.labels).item(), rel=1e-6)
    assert accuracy.item() == pytest.approx(100 * (logits.argmax(1) == trained.validation_images.labels).float().mean().item())


def test_the_plateau_schedule_reads_the_validation_loss(tmp_path: Path) -> None:
    schedule = lambda opt: torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=1, min_lr=1e-6)  # noqa: E731
    rows = Trained(tmp_path, epochs=12, scheduler=schedule, lr=0.3).rows()
    twin = schedule(torch.optim.SGD([torch.zeros(1)], lr=0.3))
    expected = []
    for row in rows:
        expected.append(twin.optimizer.param_groups[0]["lr"])
        twin.step(row["val_loss"])
    assert [row["lr"] for row in rows] == expected
    assert expected[-1] < 0.3


def test_the_cosine_schedule_steps_once_an_epoch(tmp_path: Path) -> None:
    rows = Trained(tmp_path, epochs=4, scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=4)).rows()
    assert [row["lr"] for row in rows] == pytest.approx([0.01 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)])


# ── the best weights ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=12, lr=0.05)
    run, rows = trained.runs[0], trained.rows()
    accuracies = [row["val_acc"] for row in rows]
    assert run.best is not None
    assert run.best["epoch"] == 1 + accuracies.index(max(accuracies)) < 12  # the first of equals; the last epoch is worse
    replicas = Replicas([mlp(0)], [0])
    replicas.load_state_of(0, run.weights)
    loss, accuracy = evaluate(replicas, trained.validation)
    assert accuracy.item() == pytest.approx(max(accuracies))
    assert loss.item() == pytest.approx(run.best["val_loss"], rel=1e-6)
    assert any(not torch.equal(tensor, trained.last()[name]) for name, tensor in run.weights.items())


def test_the_last_weights_are_kept_where_they_are_to_be_tested(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=12, lr=0.05, test_weights="last")
    run, rows = trained.runs[0], trained.rows()
    assert run.best is not None
    assert (run.best["epoch"], run.best["val_acc"]) == (12, rows[-1]["val_acc"])
    assert rows[-1]["val_acc"] < max(row["val_acc"] for row in rows)
    assert all(torch.equal(tensor, trained.last()[name]) for name, tensor in run.weights.items())


def test_early_stopping_waits_for_its_patience(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=60, lr=0.05, patience=3)
    run = trained.runs[0]
    assert run.best is not None
    assert run.epochs_run == run.best["epoch"] + 3 < 60
    assert out_of_patience(run, 3)
    assert not out_of_patience(run, 4)
    assert not out_of_patience(run, None)


def test_of_equal_epochs_the_first_is_the_best(tmp_path: Path) -> None:
    linear = lambda _: nn.Sequential(nn.Flatten(), nn.Linear(36, 4))  # noqa: E731
    run = Trained(tmp_path, linear, optimizer=torch.optim.SGD, lr=1e-30, epochs=9, patience=2).runs[0]  # nothing moves
    assert run.best is not None
    assert (run.best["epoch"], run.epochs_run) == (1, 3)


# ── fewer steps, or none ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_epoch_of_fewer_steps_counts_only_what_it_saw(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=2, steps_per_epoch=1)
    images, labels = next(trained.training.epoch([0], 1, 16))
    logits = mlp(0).train()(images[0])
    row = trained.rows()[0]
    assert row["train_loss"] == pytest.approx(F.cross_entropy(logits, labels[0]).item(), rel=1e-5)
    assert row["train_acc"] == pytest.approx(100 * (logits.argmax(1) == labels[0]).double().mean().item())


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (6, 1), (8, 2), (13, 3)])
def test_a_run_of_so_many_steps_updates_so_often(tmp_path: Path, steps: int, epochs: int) -> None:
    growing = lambda o: LambdaLR(o, lambda step: float(step))  # noqa: E731
    trained = Trained(tmp_path, epochs=None, steps=steps, scheduler=growing, each_step=True)
    run = trained.runs[0]
    assert [float(state["step"]) for state in run.optimizer.state.values()] == [steps]
    assert run.scheduler.last_epoch == steps
    assert (run.epochs_run, run.finished, len(trained.rows())) == (epochs, True, epochs)
    last = [min(6 * epoch, steps) for epoch in range(1, epochs + 1)]  # steps until the end of each
    assert [row["lr"] for row in trained.rows()] == pytest.approx([0.01 * (step - 1) for step in last])


def test_a_shorter_last_epoch_counts_only_what_it_saw(tmp_path: Path) -> None:
    whole, short = Trained(tmp_path / "whole", epochs=2), Trained(tmp_path / "short", epochs=None, steps=7)
    assert short.rows()[0] == whole.rows()[0]
    images, labels = next(short.training.epoch([0], 2, 16))
    model = mlp(0)
    model.load_state_dict(Trained(tmp_path / "one", epochs=1).last())
    logits = model.train()(images[0])
    assert short.rows()[1]["train_loss"] == pytest.approx(F.cross_entropy(logits, labels[0]).item(), rel=1e-5)
    records = (short.runs[0].directory / "layers.jsonl").read_text().splitlines()
    assert [OmegaConf.create(record).epoch for record in records] == [0, 1, 2]


def test_a_schedule_by_steps_moves_between_them(tmp_path: Path) -> None:
    """In double precision, against a plain loop."""
    halve = lambda o: LambdaLR(o, lambda step: 0.5**step)  # noqa: E731
    trained = Trained(tmp_path, epochs=2, scheduler=halve, each_step=True, lr=0.1, diagnostics="off", dtype=torch.float64)
    model = mlp(0).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = halve(optimizer)
    for epoch in (1, 2):
        for x, y in trained.training.epoch([0], epoch, 16):
            optimizer.zero_grad()
            F.cross_entropy(model(x[0]), y[0]).backward()
            optimizer.step()
            scheduler.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained.last()[name], tensor, rtol=0, atol=1e-9)


def test_no_epochs_measure_the_initial_weights_and_leave_them(tmp_path: Path) -> None:
    trained = Trained(tmp_path, seeds=(0, 1), epochs=0)
    for i, run in enumerate(trained.runs):
        initial = mlp(i).state_dict()
        assert all(torch.equal(run.weights[name], tensor) for name, tensor in initial.items())
        assert run.best is not None
        assert (run.best["epoch"], run.best["train_loss"], run.epochs_run) == (0, None, 0)
        assert trained.rows(i) == []
    images, labels = next(trained.training.epoch([0, 1], 1, 16))
    twin = mlp(1).train()
    F.cross_entropy(twin(images[1]), labels[1]).backward()
    records = (trained.runs[1].directory / "layers.jsonl").read_text().splitlines()
    assert len(records) == 1
    assert OmegaConf.create(records[0]).grad_norm[-1] == pytest.approx(twin.head.weight.grad.norm().item(), rel=1e-5)


def test_evaluation_tells_the_predicted_classes(tmp_path: Path) -> None:
    trained = Trained(tmp_path, mlp, (0, 1), epochs=2)
    replicas = Replicas(trained.models, [0, 1])
    predicted: list[Tensor] = []
    _, accuracy = evaluate(replicas, trained.validation, predicted)
    told = torch.cat(predicted, dim=1)
    assert (told.shape, told.dtype) == ((2, 40), torch.int64)
    right = told == trained.validation.labels
    torch.testing.assert_close(right.double().mean(1) * 100, accuracy)


# ── replicas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cosine(optimizer: Optimizer) -> LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("make", "schedule"), [(mlp, plateau), (plain_mlp, cosine), (cnn, plateau), (plain_cnn, cosine)])
@pytest.mark.parametrize(("optimizer", "lr"), [(torch.optim.SGD, 0.2), (torch.optim.Adam, 0.01), (torch.optim.AdamW, 0.01)])
def test_a_replica_equals_its_solo_run(tmp_path: Path, make: Make, schedule: Any, optimizer: Any, lr: float) -> None:
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "lr": lr,
        "scheduler": schedule,
        "dtype": torch.float64,
        "epochs": 9,
        "patience": 2,
    }
    together = Trained(tmp_path / "together", make, (0, 1, 2), **options)
    assert len({run.epochs_run for run in together.runs}) > 1  # they stop at different epochs
    for i, seed in enumerate((0, 1, 2)):
        alone = Trained(tmp_path / "alone", make, (seed,), **options)
        for mine, theirs in zip(alone.rows(), together.rows(i), strict=True):
            assert theirs == pytest.approx(mine, rel=1e-9)
        for name, tensor in alone.runs[0].weights.items():
            torch.testing.assert_close(together.runs[i].weights[name], tensor, rtol=0, atol=1e-9)


# ── diagnostics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [mlp, cnn])
def test_diagnostics_leave_the_weights_bitwise_as_they_are(tmp_path: Path, make: Make) -> None:
    def weights(mode: str) -> dict[str, Tensor]:
        return Trained(tmp_path / mode, make, diagnostics=mode).last()

    off = weights("off")
    for mode in ("epoch", "every_n"):
        assert all(torch.equal(tensor, off[name]) for name, tensor in weights(mode).items())


def test_result_files_are_whole_json(tmp_path: Path) -> None:
    trained = Trained(tmp_path)
    assert [row["epoch"] for row in trained.rows()] == [1, 2, 3]
    assert read_json(trained.runs[0].directory / "result.json") is None  # only a tested run has one
