"""From a checked configuration to finished runs: assemble, train, test once, and write `result.json`."""

import logging
import re
from contextlib import ExitStack
from typing import Any

import torch

from labs import signals
from labs.cells import Cell
from labs.data import datasets
from labs.diagnostics.metrics import Metrics
from labs.errors import OUT_OF_MEMORY, UserError
from labs.loggers.console import EpochProgress
from labs.training import results, resume
from labs.training.assemble import Data, Networks, build_measurements, build_networks, describe_run, load_data, start_run
from labs.training.loop import fit, measure
from labs.training.machine import choose_device
from labs.training.state import Run
from labs.training.testing import test_runs

log = logging.getLogger(__name__)


def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> list[dict[str, Any]]:
    """Train, test and record these seeds of one configuration.

    Args:
        cell: the checked configuration, and where each seed writes.
        seeds: which seeds; all in one process, and side by side unless some have got further than others.
        show_progress: draw a progress bar, or lines where there is no terminal.

    Returns:
        What was written to each seed's result.json, without its checksum.

    Raises:
        UserError: for anything the user can mend, from a missing file to a GPU without memory.
    """
    cfg = cell.cfg
    outcomes: dict[int, dict[str, Any]] = {}
    lines, warnings = datasets.account(cfg.dataset)
    for level, said in ((logging.INFO, lines), (logging.WARNING if show_progress else logging.INFO, warnings)):
        for line in said:  # a sweep has said all of it on the terminal before its first job
            log.log(level, line)
    try:
        while waiting := [seed for seed in seeds if seed not in outcomes]:
            trained = fit_and_test(cell, waiting, show_progress=show_progress)
            outcomes |= {outcome["seed"]: outcome for outcome in trained}
        return [outcomes[seed] for seed in seeds]
    except Exception as error:
        root = error if error.__cause__ is None else error.__cause__  # Hydra wraps what building a network raises
        gpu = isinstance(root, torch.cuda.OutOfMemoryError)
        if not (gpu or isinstance(root, MemoryError) or re.search(OUT_OF_MEMORY, str(root))):
            raise
        raise UserError(
            f"{'the GPU' if gpu else 'this machine'} is out of memory: lower trainer.batch_size ({cfg.trainer.batch_size}), "
            f"trainer.eval_batch_size ({cfg.trainer.eval_batch_size}) or replicas ({cfg.replicas}), or take a smaller model"
        ) from error


def fit_and_test(cell: Cell, seeds: list[int], *, show_progress: bool) -> list[dict[str, Any]]:
    """`train` for those of the seeds that resume together; running out of memory is left to it."""
    cfg = cell.cfg
    device = choose_device(cfg.device)
    data = load_data(cfg, device)
    states, engine = next_to_train(cell, seeds, data.split.fingerprint)

    networks = build_networks(cell, list(states), device, engine)
    runs = [start_run(cell, networks, i, state, data) for i, state in enumerate(states.values())]
    log.info(describe_run(cfg, networks, data.split))
    resume.restore(networks.replicas, runs, states, data.length.epochs)

    with ExitStack() as logs:
        for run in runs:
            logs.enter_context(run.log)
        fit_or_measure(cell, runs, networks, data, show_progress=show_progress)
        outcomes = test_runs(cell, runs, networks, data)
        for run, outcome in zip(runs, outcomes, strict=True):
            finish(run, outcome, data.length.epochs)
    return outcomes


def next_to_train(cell: Cell, seeds: list[int], fingerprint: int) -> tuple[dict[int, resume.State | None], str]:
    """The seeds that are trained next, each with the state from which it resumes, and their engine."""
    directories = {seed: cell.run_directory(seed) for seed in seeds}
    asked = cell.cfg.trainer.engine
    states = resume.find(directories, cell.hash, fingerprint, cell.cfg.resume)
    engine = resume.engine_of(next(iter(states.values())), asked)
    states = {seed: states[seed] for seed in seeds if seed in states and resume.engine_of(states[seed], asked) == engine}
    if waiting := [seed for seed in seeds if seed not in states]:
        log.info("trained afterwards, since they are not as far: %s", ", ".join(f"seed {seed}" for seed in waiting))
    return states, engine


def fit_or_measure(cell: Cell, runs: list[Run], networks: Networks, data: Data, *, show_progress: bool) -> None:
    """Train the runs, or with `trainer.epochs=0` only measure their initial weights."""
    trainer, length = cell.cfg.trainer, data.length
    measurements, extra = build_measurements(cell, networks, data), Metrics(cell.cfg.metrics, len(runs))
    with EpochProgress(length.epochs, length.steps_per_epoch, trainer.log_every, visible=show_progress) as progress:
        if trainer.epochs == 0:
            measure(networks.replicas, runs, data.training, data.validation, trainer, measurements, extra)
        else:
            with signals.deferred():
                fit(networks.replicas, runs, data.training, data.validation, trainer, progress, measurements, extra)


def finish(run: Run, outcome: dict[str, Any], epochs: int) -> None:
    """Write a tested run's result.json, once all that it refers to is on disk."""
    run.log.end(outcome)
    run.log.sync()  # the digests are worth nothing without the lines
    (run.directory / "checkpoints" / "previous.pt").unlink(missing_ok=True)  # the run is finished: last.pt is enough
    results.write(run.directory, outcome)
    log.info(epilogue(run, outcome, epochs))


def epilogue(run: Run, outcome: dict[str, Any], epochs: int) -> str:
    """The lines that end a run of at most so many epochs."""
    lines = []
    if outcome["status"] == "done" and run.epochs_run < epochs:
        waited = run.epochs_run - outcome["best_epoch"]
        last = f"{waited} epochs" if waited > 1 else "epoch"
        lines.append(f"stopped early: no better validation accuracy in the last {last} (trainer.patience)")
    if outcome["status"] == "diverged":
        lines.append(
            f"diverged: the training loss or the weights of epoch {run.epochs_run} are not finite; "
            "a lower optimizer.lr may help"
        )
    if outcome["test_acc"] is not None:
        lines.append(
            f"test loss {outcome['test_loss']:.4f}  accuracy {outcome['test_acc']:.2f} %  "
            f"(weights of epoch {outcome['best_epoch']} of {run.epochs_run}, validation accuracy {outcome['val_acc']:.2f} %)"
        )
    return "\n".join([*lines, f"files in {run.directory}"])
