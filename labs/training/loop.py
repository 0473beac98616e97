"""Training, top to bottom: one loop for one seed or many.

Shapes: S replicas still training, B images per batch, K classes.
"""

import math
import time

import torch
from omegaconf import DictConfig
from torch import Tensor

from labs import schedules, signals
from labs.data.batches import EvaluationBatches, TrainingBatches
from labs.diagnostics.measurements import Measurements
from labs.diagnostics.metrics import Metrics
from labs.diagnostics.norms import LayerNorms, sampled_steps
from labs.loggers.console import EpochProgress
from labs.replicas.replicas import Replicas
from labs.training.length import length_of
from labs.training.saving import Saver
from labs.training.state import Run
from labs.training.steps import EagerSteps, GraphSteps


def fit(
    replicas: Replicas,
    runs: list[Run],
    training: TrainingBatches,
    validation: EvaluationBatches,
    trainer: DictConfig,
    progress: EpochProgress,
    measurements: Measurements | None = None,
    extra: Metrics | None = None,
) -> None:
    """Train every replica until the last epoch, or until its validation accuracy stops rising or it diverges.

    Args:
        replicas: the networks, in the order of `runs`; those that stop are dropped from it.
        runs: updated in place; afterwards `best` and `weights` hold the epoch of each that is tested. Resumed runs start after
            their `epochs_run`, which is the same for all that have not finished.
        trainer: the `trainer` node of the configuration.
        measurements: what is measured between two epochs, if anything.
        extra: further quantities of the validation images, if any.
    """
    runs = drop_finished(replicas, runs)
    length = length_of(len(training), trainer)
    done = runs[0].epochs_run if runs else length.epochs
    saver = Saver(trainer, done)
    if done == 0 and measurements:
        record_measurements(runs, measurements, replicas, 0)

    stepping = steps_on(replicas, training, trainer)
    for epoch in range(done + 1, length.epochs + 1):
        started = time.perf_counter()
        steps = length.steps_of(epoch)
        sampled = sampled_steps(trainer.diagnostics, trainer.diagnostics_every, steps)

        # ── train ──────────────────────────────────────────────────────────────────────────────────────────────────────
        replicas.train()
        replicas.begin_epoch(epoch)
        stepping.begin_epoch(runs, epoch)
        norms = LayerNorms(replicas)
        for step in range(steps):
            stepping.backward()
            if step in sampled:
                norms.before_step()
            stepping.update()
            if step in sampled:
                norms.after_step()
            if step + 1 < steps:  # at the end of the epoch all schedules move, below
                for run in runs:
                    if run.moves_each_step:
                        run.scheduler.step()
            progress.step(epoch, step)
            if signals.pending() and saver.epoch == epoch - 1:
                return  # the epoch before is on disk; otherwise this one, which is short, is finished first
        metrics = stepping.metrics()

        # ── validate ───────────────────────────────────────────────────────────────────────────────────────────────────
        metrics["val_loss"], metrics["val_acc"] = evaluate(replicas, validation)

        further = extra.of("val", replicas, validation) if extra else [{} for _ in runs]

        # ── the epoch's one synchronisation ────────────────────────────────────────────────────────────────────────────
        table = torch.stack(list(metrics.values())).T.tolist()  # (S, metrics)
        grad_norms = norms.mean_grad_norm() if sampled else [math.nan] * len(runs)
        layers = norms.epoch() if sampled else []
        seconds = (time.perf_counter() - started) / len(runs)  # per replica

        # ── record ─────────────────────────────────────────────────────────────────────────────────────────────────────
        if epoch == 1 and sampled:
            record_initialisation(runs, norms)
        rows = []
        for i, run in enumerate(runs):
            row = {"epoch": epoch, **dict(zip(metrics, table[i], strict=True))}
            row |= further[i]
            row |= {"lr": run.optimizer.param_groups[0]["lr"], "grad_norm": grad_norms[i], "seconds": seconds}
            run.epochs_run, run.seconds = epoch, run.seconds + seconds
            run.diverged = has_diverged(row, replicas.weights[i])
            run.log.epoch(row)
            if sampled:
                run.log.layers({"epoch": epoch, **layers[i]})
            rows.append(row)
        progress.epoch(rows)

        # ── keep what may be tested, schedule ──────────────────────────────────────────────────────────────────────────
        for i, (run, row) in enumerate(zip(runs, rows, strict=True)):
            if run.diverged:
                continue
            if trainer.test_weights == "last" or run.best is None or row["val_acc"] > run.best["val_acc"]:
                run.best, run.weights = row, replicas.state_of(i)
            schedules.step(run.scheduler, row, run.monitor)

        # ── measure, save, and stop those that have finished ────────────────────────────────────────────────────────────────
        for run in runs:
            run.finished = run.diverged or out_of_patience(run, trainer.patience) or epoch == length.epochs
        if measurements:
            record_measurements(runs, measurements, replicas, epoch)
        saver.save(replicas, runs, epoch, now=signals.pending())
        runs = drop_finished(replicas, runs)
        if not runs or signals.pending():
            break


def steps_on(replicas: Replicas, training: TrainingBatches, trainer: DictConfig) -> EagerSteps | GraphSteps:
    """The steps for the device of these replicas."""
    if replicas.device.type == "cuda":
        return GraphSteps(replicas, training, trainer.batch_size, record=trainer.cuda_graphs)
    return EagerSteps(replicas, training, trainer.batch_size)


def drop_finished(replicas: Replicas, runs: list[Run]) -> list[Run]:
    """The runs that are still active, and only their networks left in `replicas`."""
    active = [i for i, run in enumerate(runs) if not run.finished]
    if len(active) < len(runs):
        replicas.keep(active)
    return [runs[i] for i in active]


def measure(
    replicas: Replicas,
    runs: list[Run],
    training: TrainingBatches,
    validation: EvaluationBatches,
    trainer: DictConfig,
    measurements: Measurements | None = None,
    extra: Metrics | None = None,
) -> None:
    """Evaluate the initial weights, and record the gradients of one batch, as `trainer.epochs=0` asks for.

    Such a run is done whatever its loss: nothing was trained that could have diverged.
    """
    losses, accuracies = (values.tolist() for values in evaluate(replicas, validation))
    further = extra.of("val", replicas, validation) if extra else [{} for _ in runs]
    for i, run in enumerate(runs):
        run.best = {"epoch": 0, "train_loss": None, "train_acc": None, "val_loss": losses[i], "val_acc": accuracies[i]}
        run.best |= further[i]
        run.weights = replicas.state_of(i)
    if trainer.diagnostics != "off":
        replicas.train()
        replicas.begin_epoch(1)
        images, labels = next(training.epoch([run.seed for run in runs], 1, trainer.batch_size))
        replicas.step(images, labels)
        norms = LayerNorms(replicas)
        norms.before_step()
        record_initialisation(runs, norms)
    if measurements:
        record_measurements(runs, measurements, replicas, 0)


def record_initialisation(runs: list[Run], norms: LayerNorms) -> None:
    """Write the layers' record of epoch 0: the first sampled step's gradients belong to the initial weights."""
    for run, row in zip(runs, norms.first(), strict=True):
        run.log.layers({"epoch": 0, **row})


def record_measurements(runs: list[Run], measurements: Measurements, replicas: Replicas, epoch: int) -> None:
    """Write the record of what is due after an epoch, or at initialisation; it takes no part in the seconds of the epoch."""
    for run, row in zip(runs, measurements.after(epoch, replicas, [run.finished for run in runs]), strict=True):
        if row:
            run.log.signals({"epoch": epoch, **row})


def has_diverged(row: dict[str, float], weights: Tensor) -> bool:
    """Whether an epoch ended with a training loss or with weights that are not finite.

    A validation loss that is not finite does not suffice: running statistics may fail where batch statistics do not.
    """
    if not math.isfinite(row["train_loss"]):
        return True
    return not math.isfinite(row["val_loss"]) and not bool(weights.isfinite().all())


@torch.inference_mode()
def evaluate(replicas: Replicas, batches: EvaluationBatches, predicted: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Per-sample mean loss and accuracy (percent) of each replica on the same images, float64, shape (S,) each.

    Args:
        replicas: the networks.
        batches: the images.
        predicted: a list to append to, one tensor per batch: the class that each replica predicts, int64, shape (S, B).
    """
    replicas.eval()
    losses, counts = [], []
    for images, labels in batches:
        loss, classes = replicas.evaluate(images, labels)
        losses.append(loss)
        counts.append((classes == labels).sum(1))
        if predicted is not None:
            predicted.append(classes)
    return torch.stack(losses).sum(0) / len(batches), torch.stack(counts).sum(0).double() * (100 / len(batches))


def out_of_patience(run: Run, patience: int | None) -> bool:
    """Whether `patience` epochs have passed without a better validation accuracy."""
    return patience is not None and run.best is not None and run.epochs_run - run.best["epoch"] >= patience
