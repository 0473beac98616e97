"""What the tests of loggers write and read back: lines, a result, a run, and TensorBoard's events."""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from labs.loggers.logger import RunInfo

ROW = {"epoch": 1, "train_loss": 0.5, "train_acc": 80.0, "val_loss": 0.4, "val_acc": 82.0, "lr": 0.001, "grad_norm": 0.1,
       "seconds": 1.5}  # fmt: skip
RESULT = {"status": "done", "best_epoch": 2, "test_loss": 0.25, "test_acc": 90.0, "val_loss": 0.4, "val_acc": 82.0}
ON = OmegaConf.create({"tensorboard": True})


def info(seed: int = 0, depth: int = 5, epochs: int = 100) -> RunInfo:
    return RunInfo(
        cell=f"mlp-depth={depth}", label=f"mlp-depth={depth} lr=0.1", hash="0123456789", seed=seed, study="s", place="s",
        config={"model": {"depth": depth, "width": None}, "trainer": {"epochs": epochs, "log_every": 1},
                "logger": {"tensorboard": True}, "seed": seed, "device": "cpu"},
        depth=depth, residual=True, params=7, mult_adds=8, summary="Layer a\nLayer b", epochs=epochs,
        settings={"model.depth": depth, "optimizer.lr": 0.1, "model.width": None},
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0}).Reload()
