"""When a run's checkpoints are written, and what is in them.

last.pt previous.pt    all that training needs to go on after an epoch, and the same of an earlier one
epoch_<n>.pt           the same, every `trainer.save_every` epochs
best.pt                the weights that are tested
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from labs import checkpoint
from labs.replicas import Replicas

if TYPE_CHECKING:
    from labs.loop import Run

SHARE_OF_TIME = 0.1  # at most this much of the time goes into writing last.pt
LONGEST_WAIT = 10.0  # seconds between two of them, unless an epoch takes longer


class Saver:
    """Writes the checkpoints of all replicas of a process at the same epochs, so that all can go on after one of these.

    Where epochs are so short that saving each would take more than a tenth of the time, last.pt and best.pt wait for a later
    epoch, for ten seconds at most; a replica's last epoch is always saved.

    Args:
        epoch: the epoch that is on disk already; 0 if none is.
    """

    def __init__(self, trainer: DictConfig, epoch: int) -> None:
        self.save_every = trainer.save_every
        self.epoch = epoch
        self._next = 0.0  # on the clock of time.perf_counter

    def save(self, replicas: Replicas, runs: list[Run], epoch: int, *, now: bool) -> None:
        """Write what is due after this epoch, for all replicas or for those that are over.

        Args:
            now: do not wait.
        """
        started = time.perf_counter()
        due = now or started > self._next or all(run.over for run in runs)
        wanted = self.save_every is not None and epoch % self.save_every == 0
        for i, run in enumerate(runs):
            if not (due or wanted or run.over):
                continue
            folder, state = run.directory / "checkpoints", state_of(run, replicas, i)
            if wanted and not run.diverged:
                checkpoint.save(folder / f"epoch_{epoch}.pt", state)
            if due or run.over:
                run.log.sync()  # the state is worth nothing without the lines it was saved with
                save_best(run)  # before last.pt, which may say that this run is over
                if (folder / "last.pt").exists():
                    (folder / "last.pt").replace(folder / "previous.pt")
                checkpoint.save(folder / "last.pt", state)
        if due:
            self.epoch = epoch
            took = time.perf_counter() - started
            self._next = time.perf_counter() + min(took * (1 / SHARE_OF_TIME - 1), LONGEST_WAIT)


def state_of(run: Run, replicas: Replicas, i: int) -> dict[str, Any]:
    """All that replica i needs to go on after the epoch it has just ended, as tensors and plain Python.

    Everything random is drawn anew from (seed, purpose, epoch), and so no random state is part of it.
    """
    return {
        "hash": run.hash,
        "seed": run.seed,
        "data": run.data,
        "epoch": run.epochs_run,
        "over": run.over,
        "diverged": run.diverged,
        "seconds": run.seconds,
        "model": replicas.state_of(i),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "best": run.best,
        "best_model": run.weights,
        "records": run.log.digests(),
    }


def save_best(run: Run) -> None:
    """Write best.pt: the weights of the best epoch, which are the ones that are tested."""
    if run.best is not None:
        state = {"hash": run.hash, "seed": run.seed, "epoch": run.best["epoch"], "model": run.weights}
        checkpoint.save(run.directory / "checkpoints" / "best.pt", state)
