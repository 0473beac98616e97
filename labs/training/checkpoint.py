"""What a run's checkpoints hold, their format, and how they are written and read: tensors and plain Python only.

A new field goes into `state_of`, and `restore` reads it back. When checkpoints are written is in `labs/training/saving.py`,
which of them training resumes from in `labs/training/resume.py`.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labs.errors import UserError
from labs.files import write_atomically
from labs.replicas.replicas import Replicas
from labs.training.state import Run

FORMAT = 5
# What earlier formats differ in. Checkpoints from before the fused engine have no `engine`: `engine_of` in resume.py.
#     3: the optimizer's state also in finished runs and in epoch_<n>.pt
#     4: `over` in place of `finished`
READABLE = (3, 4, 5)
RENAMED = {"over": "finished"}


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def state_of(run: Run, replicas: Replicas, i: int) -> dict[str, Any]:
    """The fields of last.pt: all that replica i needs to resume after the epoch just finished.

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
    """The fields of best.pt and epoch_<n>.pt: weights, and which they are."""
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


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class UnusableError(UserError):
    """A file that is not, or no longer, a checkpoint of this program."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` atomically: a crash at any moment leaves the previous file or the new one."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a state that `save` wrote. No code in the file is ever run (`weights_only=True`).

    Raises:
        UnusableError: if the file is damaged or of another format.
        UserError: if it cannot be read, whatever is in it.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with zipfile.ZipFile(content) as archive:
            if damaged := archive.testzip():  # torch silently reads tensors with flipped bits
                raise ValueError(f"damaged in {damaged}")
        content.seek(0)
        state = torch.load(content, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader, with almost any exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnusableError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(state, dict) or state.get("format") not in READABLE:
        raise UnusableError(f"{path}: a checkpoint of another program or version; format {FORMAT} is needed")
    return {RENAMED.get(str(name), str(name)): value for name, value in state.items()}
