"""A run while it trains. What is saved of it is in `labs/training/checkpoint.py`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from labs.loggers.run_log import RunLog


@dataclass
class Run:
    """One replica's run: where it writes, what updates it, and how far it is.

    `best` is the epoch that would be tested, of those so far: the one with the highest validation accuracy (the first of
    equals), or the last one (`trainer.test_weights`). `weights` is a copy of its weights.
    """

    seed: int
    directory: Path
    log: RunLog
    optimizer: Optimizer
    update: Callable[[], object]  # takes an optimizer step
    scheduler: LRScheduler
    monitor: str = "val_loss"  # the metric that a plateau schedule watches
    moves_each_step: bool = False  # the schedule: after every optimizer step, not after every epoch
    best: dict[str, Any] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    epochs_run: int = 0
    seconds: float = 0.0
    diverged: bool = False
    finished: bool = False  # needs no further training
    hash: str = ""  # of the configuration
    data: int = 0  # the fingerprint of the images
    engine: str = ""  # what computes its steps
