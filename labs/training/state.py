"""The state of a run, and what its checkpoints hold of it: a new field of a checkpoint is added here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from labs.errors import UserError
from labs.loggers.run_log import RunLog
from labs.replicas.replicas import Replicas


@dataclass
class Run:
    """One replica's run: where it writes, what updates it, and how far it is.

    `best` is the epoch with the highest validation accuracy so far (the first of equals), `weights` a copy of its weights.
    """

    seed: int
    directory: Path
    log: RunLog
    optimizer: Optimizer
    update: Callable[[], object]  # a step of the optimizer
    scheduler: LRScheduler
    monitor: str = "val_loss"  # what a plateau schedule is told
    best: dict[str, Any] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    epochs_run: int = 0
    seconds: float = 0.0
    diverged: bool = False
    finished: bool = False  # not to be trained any further
    hash: str = ""  # of the configuration
    data: int = 0  # the fingerprint of the images
    engine: str = ""  # that computes its steps


def state_of(run: Run, replicas: Replicas, i: int) -> dict[str, Any]:
    """All that replica i needs to resume after the epoch just finished, as tensors and plain Python.

    Random numbers are drawn anew from (seed, purpose, epoch), so no random state is saved. A finished replica needs no
    optimizer and no scheduler.
    """
    return {
        "hash": run.hash,
        "seed": run.seed,
        "data": run.data,
        "engine": run.engine,
        "epoch": run.epochs_run,
        "finished": run.finished,
        "diverged": run.diverged,
        "seconds": run.seconds,
        "model": replicas.state_of(i),
        "optimizer": None if run.finished else run.optimizer.state_dict(),
        "scheduler": None if run.finished else run.scheduler.state_dict(),
        "best": run.best,
        "best_model": run.weights,
        "records": run.log.digests(),
    }


def weights_of(run: Run, epoch: int, weights: dict[str, Tensor]) -> dict[str, Any]:
    """What best.pt and epoch_<n>.pt hold: weights, and which they are."""
    return {"hash": run.hash, "seed": run.seed, "engine": run.engine, "epoch": epoch, "model": weights}


def restore(run: Run, replicas: Replicas, i: int, state: dict[str, Any]) -> None:
    """Restore replica i and its run to what `state_of` saved.

    Raises:
        UserError: if the state does not fit the network or what trains it.
    """
    try:
        replicas.load_state_of(i, state["model"])
        if not state["finished"]:
            run.optimizer.load_state_dict(state["optimizer"])
            run.scheduler.load_state_dict(state["scheduler"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{run.directory}: the checkpoint of epoch {state['epoch']} does not fit the network or its optimizer "
            f"({str(error).splitlines()[0]}); resume=never starts this run again"
        ) from error
    run.best, run.weights = state["best"], state["best_model"]
    run.epochs_run, run.seconds = state["epoch"], state["seconds"]
    run.finished, run.diverged = state["finished"], state["diverged"]
