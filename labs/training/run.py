"""From a checked configuration to finished runs: what is instantiated here, `labs/jobs/preflight.py` has tried.

`train` assembles data, networks, optimizers and schedulers, fits them, tests the best weights once, and writes `result.json`.
"""

import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from labs import optimizers, schedules, signals
from labs.cells import Cell
from labs.data import datasets
from labs.data.batches import EvaluationBatches, TrainingBatches
from labs.data.images import Images
from labs.errors import OUT_OF_MEMORY, UserError, one_line
from labs.loggers.console import EpochProgress
from labs.loggers.mirror import RunInfo
from labs.loggers.run_log import RECORDS, RunLog
from labs.models.build import build_model, depth_of, without_skips
from labs.models.summary import Summary, summarize
from labs.replicas.batches import gather_for
from labs.replicas.replicas import Replicas, not_here
from labs.replicas.updates import update_of
from labs.training import correct, results, resume
from labs.training.loop import evaluate, fit, measure, steps_per_epoch
from labs.training.machine import DEFAULT_THREADS, choose_device, keep_freed_memory, set_threads
from labs.training.recalibrate import recalibrated
from labs.training.state import Run

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
    """`train` for those of the seeds that go on together, and without a word for running out of memory."""
    # ── data ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    cfg = cell.cfg
    device = choose_device(cfg.device)
    datasets.prepare(cfg.dataset)
    files = datasets.files_of(cfg.dataset)
    split = datasets.split(cfg.dataset, device)
    shape = datasets.image_shape(cfg.dataset)
    training = TrainingBatches(
        split.training, split.normalize, shape[1:], augment=cfg.dataset.augment == "standard",
        crop_padding=cfg.dataset.crop_padding, flip=cfg.dataset.horizontal_flip, gather=gather_for(device),
    )  # fmt: skip
    evaluation = {"size": shape[1:], "batch_size": cfg.trainer.eval_batch_size, "gather": gather_for(device)}
    validation = EvaluationBatches(split.validation, split.normalize, **evaluation)

    # ── networks, and what trains them ─────────────────────────────────────────────────────────────────────────────────
    states = resume.find({seed: cell.run(seed) for seed in seeds}, cell.hash, split.fingerprint, cfg.resume)
    engine = resume.engine_of(next(iter(states.values())), cfg.trainer.engine)
    states = {seed: state for seed, state in states.items() if resume.engine_of(state, cfg.trainer.engine) == engine}
    if waiting := [seed for seed in seeds if seed not in states]:
        log.info("trained afterwards, not being as far: %s", ", ".join(f"seed {seed}" for seed in waiting))
    seeds = [seed for seed in seeds if seed in states]
    models = [build_model(cfg, seed) for seed in seeds]
    summary = summarize(models[0], shape, cfg.trainer.batch_size)
    (cell.directory / "summary.txt").write_text(summary.text, encoding="utf-8")
    bf16 = cfg.trainer.precision == "bf16"
    threads = set_threads(cfg.trainer.num_threads, models[0])
    keep_freed_memory()
    at_once = DEFAULT_THREADS if cfg.trainer.num_threads == "auto" else threads
    replicas = Replicas(models, seeds, device=device, bf16=bf16, engine=engine, threads=at_once)
    looped_before = engine == "stacked" and replicas.engine == "looped" and cfg.trainer.engine == "auto"  # and noted neither
    if engine not in ("auto", replicas.engine) and not looped_before:
        raise UserError(other_engine(cfg.trainer.engine, engine, cell.directory, replicas))
    depth = depth_of(models[0], replicas.layers)
    if cfg.model.get("residual") and without_skips(models[0]):
        log.warning("model.residual=true: depth %d has no place for a skip: this is the plain network", depth)
    runs = []
    for i, seed in enumerate(seeds):
        optimizer = optimizers.build(cfg.optimizer, replicas.parameters_of(i, flat=optimizers.elementwise(cfg.optimizer)))
        directory = cell.run(seed)
        results.note_engine(directory, replicas.engine)
        scheduler = schedules.build(cfg, optimizer)
        update = update_of(optimizer) if replicas.engine == "fused" else optimizer.step  # which the schedule has wrapped
        state = states[seed]
        run_log = RunLog(directory, cfg.logger, describe(cell, seed, depth, summary), after=state["epoch"] if state else 0)
        runs.append(Run(
            seed, directory, run_log, optimizer, update, scheduler, schedules.monitored(cfg),
            hash=cell.hash, data=split.fingerprint, engine=replicas.engine,
        ))  # fmt: skip
    busy = min(at_once, len(seeds)) if replicas.engine == "fused" else threads  # of which each computes replicas of its own
    log.info(describe_run(cfg, models[0], summary, split, replicas, busy))
    resume.restore(replicas, runs, states, cfg.trainer.epochs)

    # ── train ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    steps = steps_per_epoch(len(training), cfg.trainer)
    with ExitStack() as logs:
        for run in runs:
            logs.enter_context(run.log)
        with EpochProgress(cfg.trainer.epochs, steps, cfg.trainer.log_every, visible=show_progress) as progress:
            if cfg.trainer.epochs == 0:
                measure(replicas, runs, training, validation, cfg.trainer)
            else:
                with signals.deferred():
                    fit(replicas, runs, training, validation, cfg.trainer, progress)

        # ── test the best weights, once ────────────────────────────────────────────────────────────────────────────────
        images = load_test(cfg.dataset, files)
        shared = {
            "hash": cell.hash, "depth": depth, "residual": cfg.model.get("residual"),
            "params": summary.params, "mult_adds": summary.mult_adds, "layers": replicas.layers,
            "num_classes": len(images.classes), "data": f"{split.fingerprint:08x}", "test_data": f"{images.fingerprint():08x}",
            "num_threads": threads, "engine": replicas.engine,
        }  # fmt: skip
        test = EvaluationBatches(images.to(device), split.normalize, **evaluation)
        tested = Replicas(models[:1], seeds[:1], device=device, bf16=bf16, engine=replicas.engine)
        outcomes = []
        for run in runs:
            loss, accuracy, right = test_best(run, tested, test)
            again = None
            if run.best is not None and right is not None:
                correct.write(run.directory, right, images, shared["test_data"])
                if run.best["epoch"] > 0:  # an untrained network has measured no running statistics yet
                    state = recalibrated(
                        build_model(cfg, run.seed).to(device), run.weights, training, seed=run.seed,
                        epoch=run.best["epoch"], batch_size=cfg.trainer.batch_size, bf16=bf16,
                    )  # fmt: skip
                    again = accuracy if state is None else test_weights(state, tested, test)[1]
            outcomes.append(results.put_together(
                seed=run.seed, diverged=run.diverged, best=run.best, epochs_run=run.epochs_run, test_loss=loss,
                test_acc=accuracy, test_acc_recalibrated=again, seconds=run.seconds,
                records=dict(zip(RECORDS, run.log.digests(), strict=True)), **shared,
            ))  # fmt: skip
        for run, outcome in zip(runs, outcomes, strict=True):
            run.log.end(outcome)
            run.log.sync()  # the digests are worth nothing without the lines
            (run.directory / "checkpoints" / "previous.pt").unlink(missing_ok=True)  # the run is finished: last.pt is enough
            results.write(run.directory, outcome)
            log.info(epilogue(run, outcome))
    return outcomes


def load_test(dataset: DictConfig, files: int) -> Images:
    """The test images, if the data set still has the files it had before training.

    Raises:
        UserError: if it has others, since the share held out for the test may then hold images that were trained on.
    """
    images = datasets.load(dataset, train=False)
    if datasets.files_of(dataset) != files:
        raise UserError(
            f"dataset.folder={dataset.folder}: images were added, removed or moved while this run trained; it is not tested; "
            "put them back and start again, which tests it, or start again with resume=never"
        )
    return images


def describe(cell: Cell, seed: int, depth: int, summary: Summary) -> RunInfo:
    """What the mirrors are told of a run before its first step."""
    return RunInfo(
        cell=cell.name, hash=cell.hash, seed=seed, study=cell.cfg.study,
        place=cell.cfg.study or "/".join(cell.directory.absolute().parts[-2:]),
        config=cell.values | {"seed": seed, "replicas": 1},
        depth=depth, residual=cell.cfg.model.get("residual"),
        params=summary.params, mult_adds=summary.mult_adds, summary=summary.text,
    )  # fmt: skip


def test_best(run: Run, replica: Replicas, test: EvaluationBatches) -> tuple[float | None, float | None, Tensor | None]:
    """`test_weights` of the run's best weights; None for a run without any."""
    return (None, None, None) if run.best is None else test_weights(run.weights, replica, test)


def test_weights(weights: dict[str, Tensor], replica: Replicas, test: EvaluationBatches) -> tuple[float, float, Tensor]:
    """Loss (nats) and accuracy (percent) on the test images, and which of them are classified correctly, bool, shape (N,)."""
    replica.load_state_of(0, weights)
    right: list[Tensor] = []
    loss, accuracy = evaluate(replica, test, right)
    return loss.item(), accuracy.item(), torch.cat(right, dim=1)[0]


def other_engine(asked: str, needed: str, cell: Path, replicas: Replicas) -> str:
    """What to say where the engine that is asked for, or that the runs were begun with, cannot compute these replicas."""
    reason = replicas.unsuitable[needed]
    if asked == needed:
        return not_here(asked, reason)
    return (
        f"{cell}: was begun with engine {needed}, which cannot be had here ({reason}), and another would round differently; "
        "mend that, or start again with resume=never"
    )


def describe_run(
    cfg: DictConfig, model: nn.Module, summary: Summary, split: datasets.Split, replicas: Replicas, threads: int
) -> str:
    """One line on what is trained, on what, and where."""
    kind = {True: "residual ", False: "plain ", None: ""}[cfg.model.get("residual")]
    training, validation = split.training, split.validation
    parts = [
        f"{kind}{cfg.model.get('name', type(model).__name__)}, {summary.params:,} parameters",
        f"{cfg.dataset.name}: {len(training)} training, {len(validation)} validation images, {len(training.classes)} classes",
        f"{replicas.device}" + (f", {threads} thread{'s' * (threads > 1)}" if replicas.device.type == "cpu" else ""),
        f"engine {replicas.engine}",
        f"seed{'s' * (len(replicas) > 1)} {', '.join(map(str, replicas.seeds))}",
    ]
    return one_line("  |  ".join(parts))


def epilogue(run: Run, outcome: dict[str, Any]) -> str:
    """The lines that end a run."""
    lines = []
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
