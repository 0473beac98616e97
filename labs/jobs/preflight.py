"""Try networks, data and optimizers before the first job, and time the jobs. What is refused unseen is in `checks.py`."""

import logging
import re
import time
from contextlib import suppress
from dataclasses import replace

import torch
from omegaconf import DictConfig
from torch import nn

from labs import losses, optimizers, schedules
from labs.data import datasets
from labs.data.batches import batch_bounds
from labs.diagnostics import metrics
from labs.errors import UserError, one_line
from labs.jobs.plan import Job
from labs.models import custom
from labs.models.build import build_model
from labs.replicas import compile as compiled_code
from labs.replicas.replicas import Replicas, not_here, reason_against
from labs.replicas.updates import update_of
from labs.training.length import length_of, planned, training_images
from labs.training.machine import DEFAULT_THREADS, choose_device, keep_freed_memory, set_threads
from labs.training.steps import EAGER_FIRST, recorded

log = logging.getLogger(__name__)
PROBE_SECONDS = 0.3


def check_data(configs: list[DictConfig]) -> None:
    """Download and verify each dataset once, and split it.

    Raises:
        UserError: the first problem found.
    """
    for dataset in {str(cfg.dataset): cfg.dataset for cfg in configs}.values():
        datasets.prepare(dataset)
        lines, warnings = datasets.account(dataset)
        for line in lines + warnings:
            print(one_line(line), flush=True)
        datasets.split(dataset, torch.device("cpu"))


def check_networks(configs: list[DictConfig], *, here: bool = True) -> None:
    """Find each device, build each network, and try its optimizer and schedule, once for all jobs that share them.

    Args:
        configs: of the jobs.
        here: whether they run on this machine; another's devices are unknown.

    Raises:
        UserError: the first problem found.
    """
    sharing: dict[str, list[DictConfig]] = {}
    for cfg in configs:
        sharing.setdefault(str((cfg.device, cfg.model, cfg.dataset)), []).append(cfg)
    notes: dict[str, str | None] = {}
    for same_network in sharing.values():
        device = choose_device(same_network[0].device) if here else torch.device("cpu")
        on_cpu = here and device.type == "cpu"
        network = build(same_network[0])
        for cfg in same_network:
            if not type(network).__module__.startswith("labs.models."):
                tried = str((cfg.device, cfg.model, cfg.dataset, task := task_of(cfg)))
                if tried not in notes:
                    notes[tried] = try_network(cfg, network, task, device, here=here)
            optimizers.check(cfg.optimizer, network, decay_all=cfg.trainer.decay_norm_and_bias)
            judged = str((cfg.device, cfg.loss, cfg.metrics, cfg.dataset, task_of(cfg) if losses.is_own(cfg.loss) else ""))
            if judged not in notes:
                try_loss_and_metrics(cfg, device)
                notes[judged] = None
            check_engine(cfg, network, device, here=here)
            trains = str((on_cpu, cfg.optimizer, cfg.scheduler, cfg.trainer, moves := moves_of(cfg)))
            if trains not in notes:
                notes[trains] = try_optimizer(cfg, moves, on_cpu=on_cpu)
    for note in dict.fromkeys(filter(None, notes.values())):
        log.warning(note)


def try_network(cfg: DictConfig, network: nn.Module, task: custom.Task, device: torch.device, *, here: bool) -> str | None:
    """Try the network on every batch size that occurs: on `meta` if it can run there, and with values for a few images.

    Args:
        cfg: of the job.
        network: as `build` returns it.
        task: what it must do.
        device: where the job runs; the CPU if that is on another machine.
        here: whether it runs on this machine. What fails elsewhere may need a GPU that is there.

    Returns:
        A warning; None if nothing looks odd.

    Raises:
        UserError: if it cannot be trained.
    """
    path = str(cfg.model._target_)
    with_numbers = task
    if all(parameter.is_meta for parameter in network.parameters()):
        with suppress(UserError):  # it may need values
            custom.check(path, network, task)
            with_numbers = replace(task, training=(), evaluation=())
    if not here:
        if with_numbers is not task:
            return None
        with_numbers = replace(task, training=(), evaluation=())
    places = dict.fromkeys([device] if with_numbers is task else [torch.device("cpu"), device])
    failed: UserError | None = None
    for place in places:
        try:
            return custom.check(path, build_model(cfg, seed=0).to(place), with_numbers)
        except UserError as error:
            failed = error
    assert failed is not None
    if here or not re.search("cuda|nvidia|triton", str(failed), re.IGNORECASE):
        raise failed
    return None


def try_loss_and_metrics(cfg: DictConfig, device: torch.device) -> None:
    """Try the job's loss, if it is not the usual one, and its metrics on random numbers.

    Raises:
        UserError: if they cannot be used.
    """
    if losses.is_own(cfg.loss):
        task = task_of(cfg)
        losses.check(losses.build(cfg.loss), task.classes, (*task.training, *task.evaluation), device)
    if cfg.metrics:
        metrics.check(cfg.metrics, datasets.num_classes(cfg.dataset))


def task_of(cfg: DictConfig) -> custom.Task:
    """What the job requires of its network: the image shape, the classes, and every batch size that occurs."""
    shape, classes = datasets.image_shape(cfg.dataset), datasets.num_classes(cfg.dataset)
    (count, tested), trained = datasets.num_images(cfg.dataset), training_images(cfg.dataset)
    held_out, length = count - trained, length_of(trained, cfg.trainer)
    bounds = batch_bounds(trained, cfg.trainer.batch_size)[: length.steps_of(1) if length.epochs else 1]
    training = {stop - start for start, stop in bounds}
    size = cfg.trainer.eval_batch_size
    evaluation = {min(size, part - start) for part in (held_out, tested) for start in {0, (part - 1) // size * size}}
    bf16 = cfg.trainer.precision == "bf16"
    return custom.Task(shape, classes, tuple(sorted(training)[::-1]), tuple(sorted(evaluation)[::-1]), bf16)


def check_engine(cfg: DictConfig, network: nn.Module, device: torch.device, *, here: bool) -> None:
    """Refuse a requested engine that does not support the network.

    Raises:
        UserError: one line that says why.
    """
    engine = cfg.trainer.engine
    compiled = compiled_code.library() if here and engine == "fused" and device.type == "cpu" else None
    loss = losses.build(cfg.loss)
    reason = reason_against(engine, network, device, bf16=cfg.trainer.precision == "bf16", loss=loss)
    if reason or isinstance(compiled, str):
        raise UserError(not_here(engine, reason or str(compiled)))


def moves_of(cfg: DictConfig) -> int:
    """How often the job's schedule moves; by epoch, that is known without the dataset."""
    interval, epochs = schedules.interval(cfg), cfg.trainer.epochs
    return int(epochs) if interval == "epoch" and epochs is not None else planned(cfg).moves(interval)


def try_optimizer(cfg: DictConfig, moves: int, *, on_cpu: bool) -> str | None:
    """Take an optimizer step, and step its schedule as often as the job will.

    Args:
        cfg: of the job.
        moves: how often that is.
        on_cpu: whether it runs there too.

    Returns:
        A warning about the schedule; None if nothing looks odd.

    Raises:
        UserError: if either fails.
    """
    optimizer = optimizers.try_step(cfg.optimizer, on_cpu=on_cpu, decay_all=cfg.trainer.decay_norm_and_bias)
    return schedules.rehearse(cfg, optimizer, schedules.build(cfg, optimizer, moves), moves)


def parameters(job: Job) -> int:
    """Trainable parameters of the job's network."""
    return sum(p.numel() for p in build(job.cell.cfg).parameters() if p.requires_grad)


def build(cfg: DictConfig) -> nn.Module:
    """The configuration's network without memory, or on the CPU if its `__init__` reads values, which `meta` lacks.

    Raises:
        UserError: if it cannot be built there either.
    """
    try:
        with torch.device("meta"):
            return build_model(cfg, seed=0)
    except Exception:
        return build_model(cfg, seed=0)


def probe(job: Job) -> float:
    """Seconds the job takes without early stopping, from a few steps on random images."""
    cfg = job.cell.cfg
    device = choose_device(cfg.device)
    models = [build_model(cfg, seed) for seed in job.seeds]
    set_threads(cfg.trainer.num_threads, models[0])
    keep_freed_memory()
    bf16, threads = cfg.trainer.precision == "bf16", cfg.trainer.num_threads
    at_once = DEFAULT_THREADS if threads == "auto" else threads
    loss = losses.build(cfg.loss)
    replicas = Replicas(
        models, job.seeds, device=device, bf16=bf16, engine=cfg.trainer.engine, threads=at_once, loss=loss
    )  # fmt: skip
    on_gpu = device.type == "cuda"
    parameters = [replicas.parameters_of(i, flat=True) for i in range(len(replicas))]
    optimizers = [torch.optim.Adam(vector, fused=True, capturable=on_gpu) for vector in parameters]
    updates = [update_of(optimizer) if replicas.engine == "fused" else optimizer.step for optimizer in optimizers]
    replicas.begin_epoch(1)
    training = datasets.split(cfg.dataset, device).training
    images = torch.randn(len(replicas), cfg.trainer.batch_size, *datasets.image_shape(cfg.dataset), device=device)
    labels = torch.randint(len(training.classes), images.shape[:2], device=device)

    def work() -> None:
        replicas.step(images, labels)
        for update in updates:
            update()

    graph = None
    if on_gpu and cfg.trainer.cuda_graphs:
        for _ in range(EAGER_FIRST):
            work()
        graph = recorded(work, device) if replicas.capturable else None

    def step() -> float:
        started = time.perf_counter()
        work() if graph is None else graph.replay()
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    step()  # the first one allocates
    times = [step()]
    while sum(times) < PROBE_SECONDS and len(times) < 20:
        times.append(step())
    return length_of(len(training), cfg.trainer).steps * min(times)
