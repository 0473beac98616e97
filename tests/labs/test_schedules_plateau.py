"""A plateau schedule reads the value that it monitors, and no other schedule reads one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import SHORT, refusal, train
from omegaconf import OmegaConf
from schedulers import Compose
from torch.optim import lr_scheduler

from labs import cells, schedules
from labs.loggers.console import EpochProgress

ROWS = [{"val_loss": loss, "val_acc": accuracy} for loss, accuracy in ((1.0, 50.0), (2.0, 40.0), (1.0, 60.0))]


@pytest.mark.parametrize(("make", "monitor", "rates"), [
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "min", 0.5, patience=0), "val_loss", [1, 0.5, 0.25]),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", 0.5, patience=0), "val_acc", [1, 0.5, 0.5]),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.1), "val_loss", [0.1, 0.01, 0.001]),
])  # fmt: skip
def test_only_a_plateau_schedule_is_given_the_monitored_value(
    make: Callable[..., Any], monitor: str, rates: list[float]
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for row in ROWS:
        optimizer.step()
        schedules.step(scheduler, row, monitor)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(rates)


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_acc", "max")])
def test_a_plateau_schedule_is_told_what_it_monitors(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitor: str, mode: str
) -> None:
    told: list[float] = []
    rows: list[dict[str, float]] = []
    step = lr_scheduler.ReduceLROnPlateau.step

    def telling(self: Any, metrics: Any) -> None:
        assert self.mode == mode
        told.append(metrics)
        step(self, metrics)

    monkeypatch.setattr(lr_scheduler.ReduceLROnPlateau, "step", telling)
    monkeypatch.setattr(EpochProgress, "epoch", lambda self, epochs: rows.extend(epochs))
    train(compose_config(f"scheduler.monitor={monitor}", *SHORT), tmp_path)
    assert told == [row[monitor] for row in rows]
    assert len(told) == 3


def test_the_hash_is_that_of_before_there_was_a_monitor(compose_config: Compose) -> None:
    cfg = compose_config()
    without = OmegaConf.create(cells.resolved(cfg))
    del without.scheduler["monitor"]
    assert cells.config_hash(cfg) == cells.config_hash(without)
    assert cells.config_hash(cfg) != cells.config_hash(compose_config("scheduler.monitor=val_acc"))


@pytest.mark.parametrize(("monitor", "mode", "other"), [("val_loss", "max", "val_acc"), ("val_acc", "min", "val_loss")])
def test_a_mode_that_contradicts_it_is_refused(compose_config: Compose, monitor: str, mode: str, other: str) -> None:
    assert refusal(compose_config(f"scheduler.monitor={monitor}", f"+scheduler.mode={mode}")) == (
        f"scheduler.mode={mode}: contradicts scheduler.monitor={monitor}, which is better the other way; "
        f"leave scheduler.mode out, or set scheduler.monitor={other}"
    )


def plateau(optimizer: Any, mode: str = "max") -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode)


def test_a_mode_that_a_function_sets_is_seen_too(compose_config: Compose) -> None:
    refused = refusal(compose_config("scheduler=any/target", f"scheduler._target_={__name__}.plateau"))
    assert refused is not None
    assert refused.startswith("scheduler.mode=max: contradicts scheduler.monitor=val_loss")
