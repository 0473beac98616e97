"""When the checkpoints of a run are written. Their fields are in `labs/training/checkpoint.py`.

last.pt         all that training needs to resume after an epoch; in a finished run it has no optimizer
previous.pt     the same for an earlier epoch; it is removed when the run is tested
best.pt         the weights that are tested: of the best epoch, or of the last one with trainer.test_weights=last
epoch_<n>.pt    the weights of every `trainer.save_every`-th epoch; training never resumes from them
"""

import time

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from labs.replicas.replicas import Replicas
from labs.training import checkpoint
from labs.training.results import best_of
from labs.training.state import Run

SHARE_OF_TIME = 0.1  # at most this much of the time goes into writing last.pt
LONGEST_WAIT = 10.0  # seconds between two of them, unless an epoch takes longer


class Saver:
    """Writes the checkpoints of all replicas of a process at the same epochs, so that all can resume after one of these.

    Where epochs are so short that saving each would take more than a tenth of the time, last.pt and best.pt wait for a later
    epoch, for ten seconds at most; a replica's last epoch is always saved.

    Args:
        epoch: the newest epoch on disk; 0 if there is none.
    """

    def __init__(self, trainer: DictConfig, epoch: int) -> None:
        in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        self.save_every = epochs_between(trainer.save_every, in_sweep=in_sweep)
        self.epoch = epoch
        self._next = 0.0  # on the clock of time.perf_counter

    def save(self, replicas: Replicas, runs: list[Run], epoch: int, *, now: bool) -> None:
        """Write what is due after this epoch, for all replicas or for those that have finished.

        Args:
            now: do not wait.
        """
        started = time.perf_counter()
        due = now or started > self._next or all(run.finished for run in runs)
        wanted = self.save_every is not None and epoch % self.save_every == 0
        for i, run in enumerate(runs):
            if not (due or wanted or run.finished):
                continue
            folder = run.directory / "checkpoints"
            if wanted and not run.diverged:
                checkpoint.save(folder / f"epoch_{epoch}.pt", checkpoint.weights_of(run, epoch, replicas.state_of(i)))
            if due or run.finished:
                state = checkpoint.state_of(run, replicas, i)
                run.log.sync()  # the state is worth nothing without the lines it was saved with
                save_best(run)  # before last.pt, which may say that this run has finished
                if (folder / "last.pt").exists():
                    (folder / "last.pt").replace(folder / "previous.pt")
                checkpoint.save(folder / "last.pt", state)
        if due:
            self.epoch = epoch
            took = time.perf_counter() - started
            self._next = time.perf_counter() + min(took * (1 / SHARE_OF_TIME - 1), LONGEST_WAIT)


def epochs_between(save_every: int | str | None, *, in_sweep: bool) -> int | None:
    """What `trainer.save_every` means: epochs from one epoch_<n>.pt to the next, or None for no such files."""
    if save_every == "auto":
        return None if in_sweep else 5
    return None if save_every is None else int(save_every)


def save_best(run: Run) -> None:
    """Write best.pt: the weights that are tested."""
    if run.best is not None:
        checkpoint.save(best_of(run.directory), checkpoint.weights_of(run, run.best["epoch"], run.weights))
