"""An estimate of the disk space that a job's checkpoints and JSON lines take, from the size of checkpoints written to memory.

The files of TensorBoard and W&B are not counted, since their size is not known beforehand.
"""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from labs import optimizers
from labs.diagnostics.measurements import most_numbers
from labs.diagnostics.norms import QUANTITIES
from labs.jobs.plan import Job
from labs.models.build import build_model
from labs.replicas.replicas import Replicas
from labs.training import checkpoint
from labs.training.length import planned
from labs.training.saving import epochs_between

LINE, NUMBER = 250, 22  # bytes per line of metrics.jsonl and per number in layers.jsonl
REST = 2000  # bytes of everything else in last.pt


@dataclass(frozen=True)
class Disk:
    """Bytes that a run takes: `kept` once it has finished, `most` at its peak while it trains."""

    kept: int
    most: int


class _Counter(io.BytesIO):
    """A file that stores only its length."""

    length = 0

    def write(self, content: Any) -> int:
        self.length += len(content)
        return len(content)


def of_jobs(jobs: list[Job], *, in_sweep: bool) -> list[Disk]:
    """Upper bounds for the runs of each job, without early stopping; measured once per configuration."""
    known: dict[str, Disk] = {}
    for job in jobs:
        if job.cell.hash not in known:
            known[job.cell.hash] = of_run(job.cell.cfg, in_sweep=in_sweep)
    return [Disk(known[job.cell.hash].kept * len(job.seeds), known[job.cell.hash].most * len(job.seeds)) for job in jobs]


def told(needs: list[Disk], workers: int, directory: Path) -> str:
    """One line on the space that the jobs need here with this many workers, and a warning if it is not free."""
    kept = sum(need.kept for need in needs)
    most = kept + sum(sorted((need.most - need.kept for need in needs), reverse=True)[:workers])
    line = f"disk: at most {shown(kept)}, and {shown(most)} while they run, without files of TensorBoard and W&B"
    if most <= (room := free(directory)):
        return f"{line}; {shown(room)} are free"
    return (
        f"{line}\nwarning: only {shown(room)} are free in {directory}: make room, write elsewhere (hydra.sweep.dir=), "
        "or run a part of the jobs"
    )


def of_run(cfg: DictConfig, *, in_sweep: bool) -> Disk:
    """The needs of one seed, from checkpoints of its network and optimizer after one step."""
    replica = Replicas([build_model(cfg, cfg.seed)], [cfg.seed])
    weights = replica.state_of(0)
    best = written({"model": weights})
    finished = written({"model": weights, "best_model": replica.state_of(0)}) + REST
    epochs = planned(cfg).epochs if cfg.trainer.epochs is None else cfg.trainer.epochs
    lines = lines_of(cfg, replica, epochs)
    if epochs == 0:  # saves no weights
        return Disk(lines, lines)
    every = epochs_between(cfg.trainer.save_every, in_sweep=in_sweep)
    kept = best + finished + lines + (best * (epochs // every) if every else 0)
    training = written({"model": weights, "best_model": replica.state_of(0), "optimizer": optimizer_state(cfg, replica)})
    training += REST
    return Disk(kept, kept - finished + 3 * training)  # last.pt, previous.pt, and the next one half written


def lines_of(cfg: DictConfig, replica: Replicas, epochs: int) -> int:
    """Bytes of metrics.jsonl, layers.jsonl and signals.jsonl, including the records of the initial weights."""
    numbers = (cfg.trainer.diagnostics != "off") * len(QUANTITIES) * len(replica.layers)
    numbers = numbers * (epochs + 1) + most_numbers(cfg.diagnostics, epochs, len(replica.layers))
    return epochs * (LINE + len(cfg.metrics) * NUMBER) + numbers * NUMBER


def optimizer_state(cfg: DictConfig, replica: Replicas) -> object:
    """The optimizer's state after one step, or something of the size of Adam's if it cannot take a step on this machine."""
    try:
        optimizer = optimizers.build(cfg.optimizer, replica.parameters_of(0, flat=optimizers.elementwise(cfg.optimizer)))
        optimizer.step()
        return optimizer.state_dict()
    except Exception:  # such as an optimizer for GPUs
        return [torch.zeros_like(replica.weights), torch.zeros_like(replica.weights)]


def written(state: dict[str, object]) -> int:
    """Size in bytes of a checkpoint with this state."""
    counter = _Counter()
    torch.save({"format": checkpoint.FORMAT, **state}, counter)
    return counter.length


def free(directory: Path) -> int:
    """Free bytes where the directory is or will be."""
    existing = next(place for place in (directory.absolute(), *directory.absolute().parents) if place.is_dir())
    return shutil.disk_usage(existing).free


def shown(size: float) -> str:
    """Human-readable bytes, in decimal units as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
