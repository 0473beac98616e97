"""A run that diverges ends in order, and leaves the others beside it alone."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from trained import Make, Trained, cnn, mlp, plateau

from labs.training import checkpoint
from labs.training.loop import has_diverged


def test_a_loss_that_is_not_finite_ends_the_run_in_order(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=5, lr=1e20, optimizer=torch.optim.SGD)
    run = trained.runs[0]
    assert run.diverged
    assert run.epochs_run == 1
    assert run.best is None
    assert trained.rows()[0]["train_loss"] is None  # null in the file, no number invented
    assert [path.name for path in (run.directory / "checkpoints").iterdir()] == ["last.pt"]  # over; nothing is best
    last = checkpoint.load(run.directory / "checkpoints" / "last.pt")
    assert (last["epoch"], last["finished"], last["diverged"], last["best"]) == (1, True, True, None)


def test_statistics_that_fail_alone_are_no_divergence(tmp_path: Path) -> None:
    """Running statistics that overflow spoil every validation, while batch statistics train on."""

    def overflowing(seed: int) -> nn.Module:
        model = mlp(seed)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 1e38
        return model

    trained = Trained(tmp_path, overflowing, epochs=3, scheduler=plateau)
    run = trained.runs[0]
    assert [row["val_loss"] for row in trained.rows()] == [None] * 3
    assert all(math.isfinite(row["train_loss"]) for row in trained.rows())
    assert (run.diverged, run.epochs_run) == (False, 3)
    assert run.best is not None


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "weights", "diverged"),
    [
        (0.5, 0.5, [1.0, 2.0], False), (0.5, math.nan, [1.0, 2.0], False), (0.5, math.inf, [1.0, 2.0], False),
        (0.5, math.nan, [1.0, math.nan], True), (math.nan, 0.5, [1.0, 2.0], True), (math.inf, math.nan, [1.0, 2.0], True),
    ],
)  # fmt: skip
def test_training_loss_and_weights_decide_what_has_diverged(
    train_loss: float, val_loss: float, weights: list[float], diverged: bool
) -> None:
    assert has_diverged({"train_loss": train_loss, "val_loss": val_loss}, torch.tensor(weights)) is diverged


def test_a_run_that_diverges_late_keeps_the_weights_that_are_tested(tmp_path: Path) -> None:
    growing = lambda opt: torch.optim.lr_scheduler.ExponentialLR(opt, gamma=1e9)  # noqa: E731
    run = Trained(tmp_path, epochs=40, lr=0.01, optimizer=torch.optim.SGD, scheduler=growing).runs[0]
    assert run.diverged
    assert run.best is not None
    saved = checkpoint.load(run.directory / "checkpoints" / "best.pt")
    assert saved["epoch"] == run.best["epoch"]
    assert all(torch.equal(saved["model"][name], tensor) for name, tensor in run.weights.items())


@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_nan_in_one_replica_leaves_the_others_bitwise_as_they_were(tmp_path: Path, make: Make) -> None:
    healthy = Trained(tmp_path / "healthy", make, (0, 1, 2))
    poisoned = Trained(tmp_path / "poisoned", make, (0, 1, 2), poison=1)
    assert [run.diverged for run in poisoned.runs] == [False, True, False]
    for i in (0, 2):
        assert poisoned.rows(i) == healthy.rows(i)
        assert all(torch.equal(a, poisoned.runs[i].weights[name]) for name, a in healthy.runs[i].weights.items())
