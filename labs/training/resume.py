"""Resume from the newest epoch that all replicas of a process have on disk; if there is none, some of them resume first.

A checkpoint must be whole, of this configuration and seed, and agree with the JSON lines (`RECORDS`) up to its epoch.
Otherwise an older one is used; without one the run starts again, which gives the same numbers.
"""

import hashlib
import logging
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from labs.errors import UserError
from labs.loggers.run_log import RECORDS, lines_up_to
from labs.replicas.replicas import Replicas
from labs.training import checkpoint
from labs.training.results import best_of
from labs.training.saving import save_best
from labs.training.state import Run

log = logging.getLogger(__name__)
State = dict[str, Any]
BEFORE_ENGINES = ("stacked", "looped")  # a checkpoint that names no engine used the first of these that supports its network


def find(directories: dict[int, Path], config_hash: str, data: int, mode: str) -> dict[int, State | None]:
    """Which seeds to train next, side by side, and the state from which each resumes; None if it starts anew.

    All seeds are trained together, unless some are further than others. Checkpoints of later epochs are removed, and unusable
    ones are set aside as `….unusable`.

    Args:
        directories: the run directory of each seed.
        data: the fingerprint of the current images.
        mode: `resume=`.

    Raises:
        UserError: with `must`, if there is nothing to resume; if a checkpoint cannot be read, or saw other images.
    """
    options: dict[int, list[State]] = {seed: [] for seed in directories}
    for name in () if mode == "never" else ("last.pt", "previous.pt"):
        for seed, directory in directories.items():
            if found := usable(directory / "checkpoints" / name, directory, seed, config_hash, data):
                options[seed].append(found)
        if at_newest_common_epoch(options):
            break
    if mode == "must" and (without := [str(directories[seed]) for seed, states in options.items() if not states]):
        raise UserError(
            f"resume=must: no checkpoint to resume from in {', '.join(without)}; set resume=auto to start from the beginning"
        )
    chosen = next_together(options)
    for seed, state in chosen.items():
        settle(directories[seed] / "checkpoints", state)
    return chosen


def next_together(options: dict[int, list[State]]) -> dict[int, State | None]:
    """The states from which the next seeds resume: first those that have started, if need be the furthest alone, then the rest.

    The seeds of one process are at the same epoch. Seeds that were started by different jobs may have no epoch in common, as
    when an interrupted job is restarted with more replicas. They are trained one group after another, so that none goes back.
    """
    started = {seed: states for seed, states in options.items() if states}
    if not started:
        return dict.fromkeys(options)
    if common := at_newest_common_epoch(started):
        return dict(common)
    newest = {seed: max(states, key=epoch_of) for seed, states in started.items()}
    furthest = max(map(epoch_of, newest.values()))
    return {seed: state for seed, state in newest.items() if state["epoch"] == furthest}


def engine_of(state: State | None, default: str) -> str:
    """The engine that a run was started with, and so must resume with, since others round differently."""
    return default if state is None else str(state.get("engine", BEFORE_ENGINES[0]))


def epoch_of(state: State) -> int:
    """The epoch after which it was saved."""
    return int(state["epoch"])


def at_newest_common_epoch(options: dict[int, list[State]]) -> dict[int, State]:
    """One state per seed, all of the newest common epoch; for a replica that finished earlier, its last state."""
    for epoch in sorted({state["epoch"] for states in options.values() for state in states}, reverse=True):
        found = {
            seed: state
            for seed, states in options.items()
            for state in states[::-1]
            if state["epoch"] == epoch or (state["finished"] and state["epoch"] < epoch)
        }
        if len(found) == len(options):
            return found
    return {}


def usable(path: Path, directory: Path, seed: int, config_hash: str, data: int) -> State | None:
    """The state in a checkpoint from which this run can resume; None if there is none.

    An unusable one is set aside with a warning, and with it a copy of the records, which may hold the epochs up to it.
    """
    if not path.exists():
        return None
    try:
        return read(path, directory, seed, config_hash, data) | {"path": path}
    except checkpoint.UnusableError as error:
        log.warning("%s; it is set aside, and the run resumes from an older checkpoint or starts over", error)
        path.replace(path.with_suffix(".unusable"))
        for name in RECORDS:
            with suppress(FileNotFoundError):
                shutil.copyfile(directory / name, directory / f"{name}.unusable")
        return None


def read(path: Path, directory: Path, seed: int, config_hash: str, data: int) -> State:
    """Read a checkpoint, and check that this run can resume from it.

    Raises:
        UnusableError: if it is damaged, of another run, or does not agree with the records beside it.
        UserError: if it cannot be read, or the data has changed since.
    """
    state = checkpoint.load(path)
    if (state.get("hash"), state.get("seed")) != (config_hash, seed) or "records" not in state:
        raise checkpoint.UnusableError(
            f"{path}: a checkpoint of another run (configuration {state.get('hash')}, seed {state.get('seed')})"
        )
    for name, digest in zip(RECORDS, state["records"], strict=False):  # earlier checkpoints have fewer
        if hashlib.sha256(lines_up_to(directory / name, state["epoch"])).hexdigest() != digest:
            raise checkpoint.UnusableError(f"{path}: {name} beside it is damaged before the end of epoch {state['epoch']}")
    if state["data"] != data:
        raise UserError(
            f"{directory}: was trained on other images than the dataset holds now; put them back, or start again with "
            "resume=never"
        )
    return state


def settle(folder: Path, chosen: State | None) -> None:
    """Remove the checkpoints of epochs after the chosen state's, so that only those of this attempt remain.

    If previous.pt is chosen, it becomes last.pt.
    """
    reached, path = (chosen["epoch"], chosen["path"]) if chosen else (0, None)
    stays = {path, folder / "previous.pt"} if path == folder / "last.pt" else {path}
    for other in folder.glob("*.pt"):
        numbered = re.fullmatch(r"epoch_(\d+)", other.stem)
        stale = int(numbered[1]) > reached if numbered else other.stem in ("last", "previous", *([] if chosen else ["best"]))
        if stale and other not in stays:
            other.unlink()
    if path == folder / "previous.pt":
        path.replace(folder / "last.pt")


def restore(replicas: Replicas, runs: list[Run], states: dict[int, State | None], epochs: int) -> None:
    """Restore each run that has a state.

    Args:
        epochs: the number to train.

    Raises:
        UserError: if a state does not fit the network or what trains it.
    """
    for i, run in enumerate(runs):
        if (saved := states[run.seed]) is not None:
            checkpoint.restore(run, replicas, i, saved)
            log.info("seed %d: resuming after epoch %d of %d", run.seed, run.epochs_run, epochs)
            mend_best(run)


def mend_best(run: Run) -> None:
    """Rewrite best.pt, and say so, if it is missing or unusable: last.pt has the same weights."""
    if run.best is None:
        return
    path = best_of(run.directory)
    try:
        state = checkpoint.load(path)
        if (state.get("hash"), state.get("seed")) == (run.hash, run.seed):
            return
        reason = f"{path}: of another run"
    except UserError as error:
        reason = str(error) if path.exists() else f"{path}: is gone"
    log.warning("%s; written again from last.pt, with the weights of epoch %d", reason, run.best["epoch"])
    save_best(run)
