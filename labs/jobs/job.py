"""One job: skip finished seeds, lock the directories of the others, train them, and record failures on disk.

Imports torch only if there is something to train, so that a sweep skips finished jobs at once.
"""

import logging
import math
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import terminal
from labs import cells, memory, provenance, signals
from labs.cells import Cell
from labs.errors import Interrupted, UserError, contained, culprit, disk_refuses, refusal
from labs.files import write_json
from labs.jobs import names, rerun, rundir
from labs.training import results

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Run the job that Hydra composed.

    In a sweep an error is recorded and the sweep continues; in a single run it is raised.

    Returns:
        The objective for a Hydra sweeper: best validation accuracy in percent, averaged over the job's seeds; NaN if it failed.

    Raises:
        Interrupted: on a signal, once all that is needed to resume is written.
    """
    logging.raiseExceptions = False  # no traceback for a log line that a full disk does not take
    terminal.keep()  # a worker has its own streams
    hydra = HydraConfig.get()
    cell = cells.Cell.of(cfg, Path(hydra.runtime.output_dir))
    choices = {group: str(choice) for group, choice in hydra.runtime.choices.items() if choice is not None}
    label, settings = names.in_study(cell, rerun.typed(hydra.overrides.task), choices)
    cell = replace(cell, label=label, settings=settings)
    in_sweep = hydra.mode == RunMode.MULTIRUN
    if not in_sweep:
        terminal.output_is_optional()  # all that is shown is also in the run's directory
    seeds = cells.seeds(cfg)
    training = False
    try:
        with signals.taken_over(), ExitStack() as locks:
            if signals.pending():  # a worker of a sweep that is being stopped
                raise Interrupted(signal.SIGTERM)
            found_there = [rundir.look(cell.run_directory(seed), seed, cell.hash) for seed in seeds]
            if refusals := [found.refusal for found in found_there if found.refusal]:
                raise UserError(refusals[0])
            todo = []
            for seed, found in zip(seeds, found_there, strict=True):
                directory = cell.run_directory(seed)
                if not found.finished:
                    locks.enter_context(rundir.lock(directory))
                    found = rundir.look(directory, seed, cell.hash)  # perhaps finished while this process waited for the lock
                    if found.refusal:
                        raise UserError(found.refusal)
                if found.finished:
                    tell_finished(directory, seed, found)
                else:
                    todo.append(seed)
            if todo:
                for seed in todo:
                    prepare(cell, seed)
                training = True
                with failures_recorded(cell, todo):
                    memory.refuse_low_limit()
                    from labs.training import run as training_run  # imports torch

                    with contained(KeyboardInterrupt):
                        training_run.train(cell, todo, show_progress=not in_sweep)
    except Interrupted as interrupted:
        if in_sweep:
            raise
        command = rerun.command(hydra, rerun.typed(hydra.overrides.task), cell)
        raise Interrupted(interrupted.number, f"interrupted; resume with: {command}") from None
    except Exception as raised:
        error = unwritable(cell.directory, raised) or raised
        if not in_sweep:
            if isinstance(error, UserError):
                sys.exit(f"error: {error}")  # Hydra adds a line of its own to an exception
            raise
        level = logging.INFO if training else logging.WARNING  # the terminal shows what no result.json does
        log.log(level, "failed: %s", error, exc_info=not isinstance(error, UserError))
        return math.nan
    return objective(cell, seeds)


@contextmanager
def failures_recorded(cell: Cell, seeds: list[int]) -> Iterator[None]:
    """Record an exception that ends training in the result.json of each seed without a result, and raise it again."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        for seed in unfinished(cell, seeds):
            of = "" if cell.cfg.trainer.epochs is None else f" of {cell.cfg.trainer.epochs}"
            message = f"{interrupted} after epoch {epochs_run(cell.run_directory(seed))}{of}".strip()
            log.info("seed %d: interrupted %s", seed, message)
            with suppress(OSError):
                write_failure(cell, seed, "interrupted", {"type": "Interrupted", "message": message, "traceback": ""})
        raise
    except Exception as error:
        shown = unwritable(cell.directory, error) or error
        lines = [] if isinstance(shown, UserError) else traceback.format_exception(shown)
        entry = {"type": type(shown).__name__, "message": str(shown), "traceback": "".join(lines)}
        for seed in unfinished(cell, seeds):
            with suppress(OSError):  # on a full disk the failure itself may not fit
                write_failure(cell, seed, "failed", entry)
        raise


def unwritable(cell: Path, error: Exception) -> UserError | None:
    """The UserError to raise if the disk refuses a write; None for any other error."""
    if (refused := disk_refuses(error)) is None:
        return None
    return UserError(f"{culprit(refused) or cell}: {refusal(refused)}; the epochs so far are kept, mend that and start again")


def unfinished(cell: Cell, seeds: list[int]) -> list[int]:
    """The seeds that have no result yet."""
    return [seed for seed in seeds if not results.finished(cell.run_directory(seed), seed, cell.hash)]


def tell_finished(directory: Path, seed: int, found: rundir.Found) -> None:
    """Say that a finished run is left as it is, and what it has lost."""
    lost = results.lost(directory, found.result) if found.result else {}
    if not lost:
        log.info("seed %d is finished already, nothing to do: %s", seed, directory)
        return
    advice = "the result stands; to have it back, delete result.json and start this run again"
    log.warning("seed %d is finished already, but %s; %s: %s", seed, "; ".join(lost.values()), advice, directory)


def epochs_run(directory: Path) -> int:
    """Number of epochs in `metrics.jsonl`."""
    try:
        return (directory / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def prepare(cell: Cell, seed: int) -> None:
    """Note what is about to run, and clear the result of an earlier attempt; an invalid one is set aside."""
    directory = cell.run_directory(seed)
    path = directory / "result.json"
    if flaw := results.read(directory, seed, cell.hash)[1]:
        log.warning("%s: %s; it is set aside as result.json.unusable, and the run continues without it", path, flaw)
        path.replace(directory / "result.json.unusable")
    path.unlink(missing_ok=True)
    for part in directory.rglob(".*.part"):  # of a process killed while it wrote
        part.unlink(missing_ok=True)
    if 0 < len(changes := provenance.changes()) <= provenance.LARGEST_DIFF:
        (directory / "uncommitted.diff").write_text(changes, encoding="utf-8")
    hydra = HydraConfig.get()
    overrides = [*rerun.without_seed(rerun.typed(hydra.overrides.task)), f"seed={seed}"]
    if cell.cfg.replicas != 1:  # a file in conf/experiment/ may set it, and would again
        overrides.append("replicas=1")
    write_json(
        directory / "config.json",
        results.sealed({
            "format": results.FORMAT,
            "hash": cell.hash,
            "study": cell.cfg.study,
            "seed": seed,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": rerun.command(hydra, overrides, cell),
            "made_by": provenance.made_by(),
            "config": cell.values | {"seed": seed, "replicas": 1},
        }),
    )  # fmt: skip


def write_failure(cell: Cell, seed: int, status: str, error: dict[str, str]) -> None:
    """Write result.json for a run that has no result: `failed` or `interrupted`, with type, message and traceback."""
    results.write(cell.run_directory(seed), {"status": status, "seed": seed, "hash": cell.hash, "error": error})


def objective(cell: Cell, seeds: list[int]) -> float:
    """Mean of the runs' best validation accuracies, percent; NaN if one has none or diverged."""
    found = [results.read(cell.run_directory(seed), seed, cell.hash)[0] for seed in seeds]
    accuracies = [float(result["val_acc"]) if result and result["status"] == "done" else math.nan for result in found]
    return sum(accuracies) / len(accuracies)
