"""When checkpoints are written: at which epochs, how often, and what for."""

from pathlib import Path

import pytest
import torch
from trained import NO_LOGGERS, NOBODY, Trained, mlp, settings

from labs.loggers.run_log import RunLog
from labs.replicas.replicas import Replicas
from labs.training import checkpoint, saving
from labs.training.state import Run


def test_checkpoints_hold_the_last_the_best_and_every_nth_epoch(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=7, lr=0.05, save_every=3)
    folder, run = trained.runs[0].directory / "checkpoints", trained.runs[0]
    assert {path.name for path in folder.iterdir()} - {"previous.pt"} == {"best.pt", "epoch_3.pt", "epoch_6.pt", "last.pt"}
    last, best = checkpoint.load(folder / "last.pt"), checkpoint.load(folder / "best.pt")
    assert run.best is not None
    assert (last["epoch"], best["epoch"]) == (7, run.best["epoch"])
    assert last["model"].keys() == mlp(0).state_dict().keys()
    for name, tensor in run.weights.items():
        assert torch.equal(best["model"][name], tensor)
    assert (last["finished"], last["optimizer"], last["scheduler"]) == (True, None, None)
    for epoch in (3, 6):
        kept = checkpoint.load(folder / f"epoch_{epoch}.pt")
        assert kept.keys() == best.keys() == {"format", "hash", "seed", "engine", "epoch", "model"}
        assert kept["epoch"] == epoch
    previous = checkpoint.load(folder / "previous.pt")
    optimizer = torch.optim.Adam(Replicas([mlp(0)], [0]).parameters_of(0, flat=True), lr=0.01)
    optimizer.load_state_dict(previous["optimizer"])
    assert optimizer.state_dict()["state"][0]["step"].item() == previous["epoch"] * 6


def test_short_epochs_wait_until_saving_takes_a_tenth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock of our own: an epoch takes 1 s, and saving the two files 3 s, so that 27 s go by before the next time."""
    now, saved = [100.0], []
    replicas = Replicas([mlp(0)], [0])
    optimizer = torch.optim.SGD(replicas.parameters_of(0, flat=True), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    run = Run(0, tmp_path, RunLog(tmp_path, NO_LOGGERS, NOBODY), optimizer, optimizer.step, schedule)
    run.best, run.weights = {"epoch": 1}, replicas.state_of(0)

    def write(path: Path, state: dict[str, object]) -> None:
        saved.append((path.name, state["epoch"]))
        now[0] += 1.5

    monkeypatch.setattr(saving, "LONGEST_WAIT", 1000.0)
    monkeypatch.setattr(saving.checkpoint, "save", write)
    monkeypatch.setattr(saving.time, "perf_counter", lambda: now[0])
    saver = saving.Saver(settings(), 0)
    with run.log:
        for epoch in range(1, 60):
            now[0] += 1.0
            run.epochs_run = epoch
            saver.save(replicas, [run], epoch, now=epoch == 5)
    assert [epoch for name, epoch in saved if name == "last.pt"] == [1, 5, 33]
    assert saver.epoch == 33
    assert {epoch for name, epoch in saved if name == "best.pt"} == {1}  # the best weights are those of epoch 1


@pytest.mark.parametrize(("setting", "alone", "in_sweep"), [("auto", 5, None), (3, 3, 3), (None, None, None)])
def test_epochs_are_kept_in_single_runs_and_not_in_sweeps(setting: object, alone: int | None, in_sweep: int | None) -> None:
    assert saving.epochs_between(setting, in_sweep=False) == alone  # type: ignore[arg-type]
    assert saving.epochs_between(setting, in_sweep=True) == in_sweep  # type: ignore[arg-type]
