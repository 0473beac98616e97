"""One job: skip the seeds that are finished, hold the others' directories, train them, and keep what failed on disk.

Imports torch only if there is something to train, so that a sweep passes over finished jobs at once.
"""

import logging
import math
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import terminal
from labs import cells, memory, rerun, results, signals
from labs.errors import Interrupted, UserError, contained, culprit, disk_refuses, refusal
from labs.files import read_json, write_json

log = logging.getLogger(__name__)
OF_A_RUN = ("config.json", "result.json", "metrics.jsonl", "layers.jsonl", "checkpoints/last.pt", "checkpoints/previous.pt",
            "checkpoints/best.pt")  # fmt: skip


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
    seeds, hashed = cells.seeds(cfg), cells.config_hash(cfg)
    training = False
    try:
        with signals.taken_over(), ExitStack() as locks:
            if signals.pending():  # a worker of a sweep that is being stopped
                raise Interrupted(signal.SIGTERM)
            todo = []
            for seed in seeds:
                directory = cells.run_directory(cell, seed)
                refuse_other_configuration(directory, cfg)
                if not results.finished(directory, seed, hashed):
                    refuse_folders(directory, OF_A_RUN)
                    locks.enter_context(hold(directory))
                if results.finished(directory, seed, hashed):  # or has been while this process waited for the lock
                    log.info("seed %d is finished already, nothing to do: %s", seed, directory)
                    tell_if_best_is_gone(directory, seed, hashed)
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
        command = rerun.command(hydra, rerun.typed(hydra.overrides.task), cfg, cell)
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
    return objective(cell, seeds, hashed)


def train(cfg: DictConfig, cell: Path, seeds: list[int], in_sweep: bool) -> None:
    """Train these seeds; what goes wrong is written to their result.json and raised."""
    try:
        memory.refuse_low_limit()
        from labs import run  # torch and all

        with contained(KeyboardInterrupt):
            run.train(cfg, cell, seeds, show_progress=not in_sweep)
    except KeyboardInterrupt as interrupted:
        for seed in unfinished(cell, seeds, cells.config_hash(cfg)):
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
        for seed in unfinished(cell, seeds, cells.config_hash(cfg)):
            with suppress(OSError):  # on a full disk the failure itself may not fit
                record(cells.run_directory(cell, seed), cfg, seed, "failed", entry)
        raise


def unwritable(cell: Path, error: Exception) -> UserError | None:
    """What to say where the disk refuses; None for any other error."""
    if (refused := disk_refuses(error)) is None:
        return None
    return UserError(f"{culprit(refused) or cell}: {refusal(refused)}; the epochs so far are kept, mend that and start again")


def unfinished(cell: Path, seeds: list[int], config_hash: str) -> list[int]:
    """The seeds that have no result yet."""
    return [seed for seed in seeds if not results.finished(cells.run_directory(cell, seed), seed, config_hash)]


def tell_if_best_is_gone(directory: Path, seed: int, config_hash: str) -> None:
    """Say in one line what is left of a finished run without its best weights."""
    result, _ = results.read(directory, seed, config_hash)
    if result is not None and results.without_best(directory, result):
        path = results.best_of(directory)
        log.warning("%s is gone; the numbers stand, and to have it back delete result.json and start this run again", path)


def epochs_run(directory: Path) -> int:
    """How many epochs `metrics.jsonl` holds."""
    try:
        return (directory / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def refuse_other_configuration(directory: Path, cfg: DictConfig) -> None:
    """Raise UserError if the directory holds the run of another configuration, as config.json says, or else result.json.

    A run that failed before its first epoch holds nothing, and does not count. Nor does another's result.json beside a
    config.json of ours, which is set aside.
    """
    before, result, metrics = (
        read_json(directory / "config.json"),
        read_json(directory / "result.json"),
        directory / "metrics.jsonl",
    )
    empty = isinstance(result, dict) and result.get("status") == "failed" and not (metrics.exists() and metrics.stat().st_size)
    ours = cells.config_hash(cfg)
    named = [note["hash"] for note in (before, result) if isinstance(note, dict) and isinstance(note.get("hash"), str)]
    if named and named[0] != ours and not empty:
        raise UserError(
            f"{directory}: holds a run of another configuration (hash {named[0]}, not {ours}) "
            "and is left as it is; choose another directory, or delete it"
        )


def refuse_folders(directory: Path, names: Sequence[str]) -> None:
    """Raise UserError where a folder is in the place of a file that is about to be written."""
    for name in names:
        if (directory / name).is_dir():
            raise UserError(f"{directory / name}: a folder is where a file belongs; move it away")


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
    except OSError:  # a folder, or not ours
        return False


def start(directory: Path, cfg: DictConfig, seed: int) -> None:
    """Note what is about to run, and clear the outcome of an earlier attempt; one that is not believed is set aside."""
    path = directory / "result.json"
    if flaw := results.read(directory, seed, cells.config_hash(cfg))[1]:
        log.warning("%s: %s; it is set aside as result.json.unusable, and the run goes on without it", path, flaw)
        path.replace(directory / "result.json.unusable")
    path.unlink(missing_ok=True)
    for part in directory.rglob(".*.part"):  # of a process that was killed while it wrote
        part.unlink(missing_ok=True)
    hydra = HydraConfig.get()
    overrides = [*rerun.without_seed(rerun.typed(hydra.overrides.task)), f"seed={seed}"]
    if cfg.replicas != 1:  # which a file in conf/experiment/ may say, and would again
        overrides.append("replicas=1")
    write_json(
        directory / "config.json",
        results.sealed({
            "format": results.FORMAT,
            "hash": cells.config_hash(cfg),
            "study": cfg.study,
            "seed": seed,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": rerun.command(hydra, overrides, cfg, directory.parent),
            "config": cells.resolved(cfg) | {"seed": seed, "replicas": 1},
        }),
    )  # fmt: skip


def record(directory: Path, cfg: DictConfig, seed: int, status: str, error: dict[str, str]) -> None:
    """Write result.json for a run that has no result: `failed` or `interrupted`, with type, message and traceback."""
    entry = {"status": status, "seed": seed, "hash": cells.config_hash(cfg), "error": error}
    results.write(directory, entry)


def objective(cell: Path, seeds: list[int], config_hash: str) -> float:
    """Mean of the runs' best validation accuracies, percent; NaN where one has none or diverged in the end."""
    found = [results.read(cells.run_directory(cell, seed), seed, config_hash)[0] for seed in seeds]
    accuracies = [float(result["val_acc"]) if result and result["status"] == "done" else math.nan for result in found]
    return sum(accuracies) / len(accuracies)
