"""Runs that break off and go on, and what they leave behind; networks that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from labs.cells import Cell
from labs.errors import UserError
from labs.files import read_json
from labs.jobs import preflight
from labs.loggers.console import EpochProgress
from labs.training import checkpoint, run

SHORT = ("trainer.epochs=3", "trainer.steps_per_epoch=2", "trainer.diagnostics=off", "model.width=8", "device=cpu")


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


def train(cfg: DictConfig, cell: Path, seeds: tuple[int, ...] = (0,), show_progress: bool = False) -> list[dict[str, Any]]:
    cell.mkdir(parents=True, exist_ok=True)
    return run.train(Cell.of(cfg, cell), list(seeds), show_progress=show_progress)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    def killing(self: EpochProgress, at_epoch: int, at_step: int) -> None:
        if (at_epoch, at_step) == (epoch, step):
            raise Killed

    monkeypatch.setattr(EpochProgress, "step", killing)


def break_off(monkeypatch: pytest.MonkeyPatch, cfg: DictConfig, cell: Path, at: tuple[int, int], *seeds: int) -> None:
    """Train until a step of an epoch, and no further."""
    with monkeypatch.context() as patch:
        kill_at(patch, *at)
        with pytest.raises(Killed):
            train(cfg, cell, seeds or (0,))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b or (a != a and b != b))  # NaN is what a quantity is that was not measured


def without_time(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in ("seconds", "records", "checksum")}


def left_behind(cell: Path, seed: int = 0) -> dict[str, Any]:
    """All that a run leaves behind but times."""
    folder = cell / f"seed={seed}"
    states = {path.name: without_time(checkpoint.load(path)) for path in (folder / "checkpoints").glob("*.pt")}
    for state in states.values():
        state["best"] = without_time(state.get("best") or {})
    return {
        "metrics": [without_time(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "layers": (folder / "layers.jsonl").read_text(),
        "signals": (folder / "signals.jsonl").read_text() if (folder / "signals.jsonl").exists() else None,
        "result": without_time(read_json(folder / "result.json")),
        "states": states,
    }


def resumes(monkeypatch: pytest.MonkeyPatch, cfg: DictConfig, folder: Path) -> None:
    """Train, and train again with an interruption: the same bits."""
    preflight.check_networks([cfg])
    train(cfg, folder / "undisturbed")
    break_off(monkeypatch, cfg, folder / "killed", (3, 1))
    train(cfg, folder / "killed")
    assert equal(left_behind(folder / "killed"), left_behind(folder / "undisturbed"))


def refusal(cfg: DictConfig) -> str:
    with pytest.raises(UserError) as caught:
        preflight.check_networks([cfg])
    return str(caught.value)
