"""What a configuration is trained with: its data, its networks as replicas, and what updates and records each of them.

`labs/jobs/preflight.py` has tried all that is built here.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from labs import losses, optimizers, schedules
from labs.cells import Cell
from labs.data import datasets
from labs.data.batches import EvaluationBatches, TrainingBatches
from labs.data.images import Images
from labs.diagnostics import measurements
from labs.diagnostics.measurements import Measurements
from labs.errors import UserError, one_line
from labs.loggers.logger import RunInfo
from labs.loggers.run_log import RunLog
from labs.models.build import build_model, depth_of, without_skips
from labs.models.summary import Summary, summarize
from labs.replicas.batches import gather_for
from labs.replicas.replicas import Replicas, not_here
from labs.replicas.updates import update_of
from labs.training import results
from labs.training.length import Length, length_of
from labs.training.machine import DEFAULT_THREADS, exact_float32, keep_freed_memory, set_threads
from labs.training.state import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The images that a run trains and validates on, in batches.

    `files` is the fingerprint of an image folder's list of files, which must not change before the test. `length` is how long
    it trains on them.
    """

    split: datasets.Split
    training: TrainingBatches
    validation: EvaluationBatches
    files: int
    length: Length


@dataclass(frozen=True)
class Networks:
    """The networks of some seeds, and what all of them have in common."""

    models: list[nn.Module]
    replicas: Replicas
    summary: Summary
    depth: int
    threads: int  # of torch
    busy: int  # threads that compute at the same time: with engine fused each has replicas of its own


def load_data(cfg: DictConfig, device: torch.device) -> Data:
    """Load the training images, split them, and prepare their batches; the test images stay on disk."""
    datasets.prepare(cfg.dataset)
    files = datasets.files_of(cfg.dataset)
    split = datasets.split(cfg.dataset, device)
    training = TrainingBatches(
        split.training, split.normalize, datasets.image_shape(cfg.dataset)[1:], augment=cfg.dataset.augment == "standard",
        crop_padding=cfg.dataset.crop_padding, flip=cfg.dataset.horizontal_flip, gather=gather_for(device),
    )  # fmt: skip
    validation = evaluation_batches(cfg, split.validation, split, device)
    return Data(split, training, validation, files, length_of(len(training), cfg.trainer))


def evaluation_batches(
    cfg: DictConfig, images: Images, split: datasets.Split, device: torch.device, batch_size: int | None = None
) -> EvaluationBatches:
    """Batches of images, not augmented and normalised like the training images; of `trainer.eval_batch_size` by default."""
    size = datasets.image_shape(cfg.dataset)[1:]
    batch_size = batch_size or cfg.trainer.eval_batch_size
    return EvaluationBatches(images.to(device), split.normalize, size, batch_size, gather_for(device))


def build_networks(cell: Cell, seeds: list[int], device: torch.device, engine: str) -> Networks:
    """Build the networks of these seeds, and write their summary.

    Args:
        cell: the configuration.
        seeds: one network for each.
        device: where they train.
        engine: what computes their steps, or "auto".

    Raises:
        UserError: if the engine does not support them.
    """
    cfg = cell.cfg
    models = [build_model(cfg, seed) for seed in seeds]
    summary = summarize(models[0], datasets.image_shape(cfg.dataset), cfg.trainer.batch_size)
    (cell.directory / "summary.txt").write_text(summary.text, encoding="utf-8")
    threads = set_threads(cfg.trainer.num_threads, models[0])
    keep_freed_memory()
    exact_float32()
    # Two threads with five replicas each were 1.2 to 1.8 times as fast as one with ten (benchmarks/results.md).
    at_once = DEFAULT_THREADS if cfg.trainer.num_threads == "auto" else threads
    bf16 = cfg.trainer.precision == "bf16"
    last = [] if cfg.trainer.decay_norm_and_bias else optimizers.without_decay(models[0])
    loss = losses.build(cfg.loss)
    replicas = Replicas(models, seeds, device=device, bf16=bf16, engine=engine, threads=at_once, loss=loss, last=last)
    looped_before = engine == "stacked" and replicas.engine == "looped" and cfg.trainer.engine == "auto"  # and noted neither
    if engine not in ("auto", replicas.engine) and not looped_before:
        raise UserError(other_engine(cfg.trainer.engine, engine, cell.directory, replicas))
    depth = depth_of(models[0], replicas.layers)
    if cfg.model.get("residual") and without_skips(models[0]):
        log.warning("model.residual=true: depth %d has no place for a skip: this is the plain network", depth)
    busy = min(at_once, len(seeds)) if replicas.engine == "fused" else threads
    return Networks(models, replicas, summary, depth, threads, busy)


def other_engine(asked: str, needed: str, cell: Path, replicas: Replicas) -> str:
    """The message if the requested engine, or the one the runs were started with, cannot compute these replicas."""
    reason = replicas.unsuitable[needed]
    if asked == needed:
        return not_here(asked, reason)
    return (
        f"{cell}: was started with engine {needed}, which is not available here ({reason}), and another would round "
        "differently; mend that, or start again with resume=never"
    )


def build_measurements(cell: Cell, networks: Networks, data: Data) -> Measurements | None:
    """What is measured between two epochs, with its images; None if nothing is."""
    cfg, device = cell.cfg, networks.replicas.device
    if not (cfg.diagnostics.signals or cfg.diagnostics.probes):
        return None
    with torch.random.fork_rng(devices=[]):
        model = build_model(cfg, networks.replicas.seeds[0]).to(device)
    split, size = data.split, datasets.image_shape(cfg.dataset)[1:]
    training, validation, normalize = split.training, split.validation, split.normalize
    return Measurements(
        cfg.diagnostics, model, networks.replicas.layers,
        batch=measurements.sample(training, cfg.trainer.batch_size, normalize, size),
        training=measurements.sample(training, cfg.diagnostics.probe_images, normalize, size),
        held_out=measurements.sample(validation, cfg.diagnostics.probe_images, normalize, size),
        classes=len(training.classes), batch_size=cfg.trainer.batch_size, loss=losses.build(cfg.loss).to(device),
    )  # fmt: skip


def start_run(cell: Cell, networks: Networks, i: int, state: dict[str, Any] | None, data: Data) -> Run:
    """Replica i's run: its optimizer, schedule and log, at the beginning or ready to be restored.

    Args:
        cell: the configuration and its directory.
        networks: the replicas.
        i: which of them.
        state: the checkpoint that the run resumes from.
        data: what it trains on.
    """
    cfg, replicas = cell.cfg, networks.replicas
    seed = replicas.seeds[i]
    directory = cell.run_directory(seed)
    flat = optimizers.elementwise(cfg.optimizer)
    parameters = replicas.parameters_of(i, flat=flat)
    optimizer = optimizers.build(cfg.optimizer, parameters, replicas.count_of_last(flat=flat))
    results.note_engine(directory, replicas.engine)
    interval = schedules.interval(cfg)
    scheduler = schedules.build(cfg, optimizer, data.length.moves(interval))
    update = update_of(optimizer) if replicas.engine == "fused" else optimizer.step  # which the schedule has wrapped
    if cfg.trainer.clip_grad_norm is not None:
        update = optimizers.clipped(update, parameters, cfg.trainer.clip_grad_norm)
    info = run_info(cell, seed, networks, data.length.epochs)
    run_log = RunLog(directory, cfg.logger, info, after=state["epoch"] if state else 0)
    return Run(
        seed, directory, run_log, optimizer, update, scheduler, schedules.monitored(cfg), interval == "step",
        hash=cell.hash, data=data.split.fingerprint, engine=replicas.engine,
    )  # fmt: skip


def run_info(cell: Cell, seed: int, networks: Networks, epochs: int) -> RunInfo:
    """What the loggers are told of a run before its first step."""
    summary = networks.summary
    return RunInfo(
        cell=cell.name, label=cell.label or cell.name, hash=cell.hash, seed=seed, study=cell.cfg.study,
        place=cell.cfg.study or "/".join(cell.directory.absolute().parts[-2:]),
        config=cell.values | {"seed": seed, "replicas": 1},
        depth=networks.depth, residual=cell.cfg.model.get("residual"),
        params=summary.params, mult_adds=summary.mult_adds, summary=summary.text, epochs=epochs,
        settings=cell.settings,
    )  # fmt: skip


def describe_run(cfg: DictConfig, networks: Networks, split: datasets.Split) -> str:
    """One line on what is trained, on what, and where."""
    replicas, threads = networks.replicas, networks.busy
    kind = {True: "residual ", False: "plain ", None: ""}[cfg.model.get("residual")]
    training, validation = split.training, split.validation
    parts = [
        f"{kind}{cfg.model.get('name', type(networks.models[0]).__name__)}, {networks.summary.params:,} parameters",
        f"{cfg.dataset.name}: {len(training)} training, {len(validation)} validation images, {len(training.classes)} classes",
        f"{replicas.device}" + (f", {threads} thread{'s' * (threads > 1)}" if replicas.device.type == "cpu" else ""),
        f"engine {replicas.engine}",
        f"seed{'s' * (len(replicas) > 1)} {', '.join(map(str, replicas.seeds))}",
    ]
    return one_line("  |  ".join(parts))
