"""One job: skip the seeds that are finished, hold the others' directories, train them, and keep what failed on disk.

Imports torch only if there is something to train, so that a sweep passes over finished jobs at once.
"""

import logging
import math
import signal
import sys
import traceback
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import terminal
from labs import cells, plan, signals
from labs.errors import Interrupted, UserError, disk_refuses, refusal
from labs.files import read_json, write_json

log = logging.getLogger(__name__)
FINISHED = ("done", "diverged")


def run(cfg: DictConfig) -> float:
    """Run the job that Hydra composed.

    In a sweep an error is recorded and the sweep goes on; in a single run it is raised.

    Returns:
        The objective for a Hydra sweeper: best validation accuracy in percent, the mean over the job's seeds; NaN if it failed.

    Raises:
        Interrupted: if a signal asked for it, with all that is needed to go on written.
    """
    logging.raiseExceptions = False  # a line of the log that finds the disk full is not worth a traceback
    terminal.keep()  # in a worker, which has streams of its own
    hydra = HydraConfig.get()
    cell = Path(hydra.runtime.output_dir)
    in_sweep = hydra.mode == RunMode.MULTIRUN
    if not in_sweep:
        terminal.output_is_optional()  # what counts is that the run was trained: its directory has all that is shown
    seeds = cells.seeds(cfg)
    training = False
    try:
        with signals.taken_over(), ExitStack() as locks:
            if signals.pending():  # a worker of a sweep that is being stopped
                raise Interrupted(signal.SIGTERM)
            todo = []
            for seed in seeds:
                directory = cells.run_directory(cell, seed)
                refuse_other_configuration(directory, cfg)
                if not finished(directory):
                    locks.enter_context(hold(directory))
                if finished(directory):  # or has been while this process waited for the lock
                    log.info("seed %d is finished already, nothing to do: %s", seed, directory)
                else:
                    todo.append(seed)
            if todo:
                for seed in todo:
                    start(cells.run_directory(cell, seed), cfg, seed)
                training = True
                train(cfg, cell, todo, in_sweep)
    except Interrupted as interrupted:
        if in_sweep:
            raise
        command = plan.rerun_command(list(hydra.overrides.task), cfg, cell)
        raise Interrupted(interrupted.number, f"interrupted; go on with: {command}") from None
    except Exception as raised:
        error = unwritable(cell, raised) or raised
        if not in_sweep:
            if isinstance(error, UserError):
                sys.exit(f"error: {error}")  # Hydra adds a line of its own to an exception
            raise
        level = logging.INFO if training else logging.WARNING  # what no result.json tells, the terminal does
        log.log(level, "failed: %s", error, exc_info=not isinstance(error, UserError))
        return math.nan
    return objective(cell, seeds)


def train(cfg: DictConfig, cell: Path, seeds: list[int], in_sweep: bool) -> None:
    """Train these seeds; what goes wrong is written to their result.json and raised."""
    try:
        from labs import run  # torch and all

        run.train(cfg, cell, seeds, show_progress=not in_sweep)
    except KeyboardInterrupt as interrupted:
        for seed in unfinished(cell, seeds):
            directory = cells.run_directory(cell, seed)
            message = f"{interrupted} after epoch {epochs_run(directory)} of {cfg.trainer.epochs}".strip()
            log.info("seed %d: interrupted %s", seed, message)
            with suppress(OSError):
                record(directory, cfg, seed, "interrupted", {"type": "Interrupted", "message": message, "traceback": ""})
        raise
    except Exception as error:
        shown = unwritable(cell, error) or error
        lines = [] if isinstance(shown, UserError) else traceback.format_exception(shown)
        entry = {"type": type(shown).__name__, "message": str(shown), "traceback": "".join(lines)}
        for seed in unfinished(cell, seeds):
            with suppress(OSError):  # on a full disk the failure itself may not fit
                record(cells.run_directory(cell, seed), cfg, seed, "failed", entry)
        raise


def unwritable(cell: Path, error: Exception) -> UserError | None:
    """What to say where the disk refuses; None for any other error."""
    if (refused := disk_refuses(error)) is None:
        return None
    return UserError(f"{cell}: {refusal(refused)}; the epochs so far are kept, mend that and start again")


def finished(directory: Path) -> bool:
    """Whether the run in this directory needs no further training: it is done, or diverged, which is a result too."""
    result = read_json(directory / "result.json")
    return isinstance(result, dict) and result.get("status") in FINISHED


def unfinished(cell: Path, seeds: list[int]) -> list[int]:
    """The seeds that have no result yet."""
    return [seed for seed in seeds if not finished(cells.run_directory(cell, seed))]


def epochs_run(directory: Path) -> int:
    """How many epochs `metrics.jsonl` holds."""
    try:
        return (directory / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def refuse_other_configuration(directory: Path, cfg: DictConfig) -> None:
    """Raise UserError if the directory holds the run of another configuration, as config.json or result.json says.

    A run that failed before its first epoch holds nothing, and does not count.
    """
    before, result, metrics = (
        read_json(directory / "config.json"),
        read_json(directory / "result.json"),
        directory / "metrics.jsonl",
    )
    empty = isinstance(result, dict) and result.get("status") == "failed" and not (metrics.exists() and metrics.stat().st_size)
    ours = cells.config_hash(cfg)
    others = [note.get("hash") for note in (before, result) if isinstance(note, dict) and note.get("hash") != ours]
    if others and not empty:
        raise UserError(
            f"{directory}: holds a run of another configuration (hash {others[0]}, not {ours}) "
            "and is left as it is; choose another directory, or delete it"
        )


def hold(directory: Path) -> Any:
    """A lock on the run's directory that the operating system releases when the process ends, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return FileLock(directory / ".lock").acquire(timeout=1)
    except Timeout:
        raise UserError(f"{directory}: another process is training this run; wait for it, or stop it") from None
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from error


def held(directory: Path) -> bool:
    """Whether a process is training this run."""
    if not (directory / ".lock").exists():
        return False
    try:
        with FileLock(directory / ".lock").acquire(timeout=0):
            return False
    except Timeout:
        return True


def start(directory: Path, cfg: DictConfig, seed: int) -> None:
    """Note what is about to run, and clear the outcome of an earlier attempt."""
    (directory / "result.json").unlink(missing_ok=True)
    for part in directory.rglob(".*.part"):  # of a process that was killed while it wrote
        part.unlink(missing_ok=True)
    overrides = [*plan.without_seed(list(HydraConfig.get().overrides.task)), f"seed={seed}"]
    if cfg.replicas != 1:  # which a file in conf/experiment/ may say, and would again
        overrides.append("replicas=1")
    write_json(
        directory / "config.json",
        {
            "hash": cells.config_hash(cfg),
            "study": cfg.study,
            "seed": seed,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": plan.rerun_command(overrides, cfg, directory.parent),
            "config": cells.resolved(cfg) | {"seed": seed, "replicas": 1},
        },
    )


def record(directory: Path, cfg: DictConfig, seed: int, status: str, error: dict[str, str]) -> None:
    """Write result.json for a run that has no result: `failed` or `interrupted`, with type, message and traceback."""
    entry = {"status": status, "seed": seed, "hash": cells.config_hash(cfg), "error": error}
    write_json(directory / "result.json", entry)


def objective(cell: Path, seeds: list[int]) -> float:
    """Mean of the runs' best validation accuracies, percent; NaN where one has none or diverged in the end."""
    results = [read_json(cells.run_directory(cell, seed) / "result.json") or {} for seed in seeds]
    accuracies = [float(result["val_acc"]) if result.get("status") == "done" else math.nan for result in results]
    return sum(accuracies) / len(accuracies)
