"""Everything that can go wrong before the first job, tried before the first job: data, shapes, and how long it will take."""

import logging
import re
import time

import torch
from omegaconf import DictConfig
from torch import nn

from labs import datasets, networks, optimizers, schedules
from labs.data import split_validation
from labs.errors import UserError, one_line
from labs.loop import steps_per_epoch
from labs.plan import Job
from labs.replicas import build as compiled_code
from labs.replicas.replicas import Replicas, not_here, reason_against
from labs.replicas.updates import update_of
from labs.run import build_model, choose_device, keep_freed_memory, set_threads

log = logging.getLogger(__name__)
PROBE_SECONDS = 0.3


def check_data(configs: list[DictConfig]) -> None:
    """Download and verify each data set once, and split it.

    Raises:
        UserError: the first thing found that a job would stumble over.
    """
    for dataset in {str(cfg.dataset): cfg.dataset for cfg in configs}.values():
        datasets.prepare(dataset)
        lines, warnings = datasets.account(dataset)
        for line in lines + warnings:
            print(one_line(line), flush=True)
        split_validation(datasets.load(dataset, train=True), dataset.val_size, dataset.split_seed)


def check_networks(configs: list[DictConfig], *, here: bool = True) -> None:
    """Look for each device, build each network, and try what trains it on a single weight, once for all jobs that share it.

    Args:
        configs: of the jobs.
        here: whether they run on this machine; the devices of another are not known.

    Raises:
        UserError: the first thing found that a job would stumble over.
    """
    sharing: dict[str, list[DictConfig]] = {}
    for cfg in configs:
        sharing.setdefault(str((cfg.device, cfg.model, cfg.dataset)), []).append(cfg)
    notes: dict[str, str | None] = {}
    for same_network in sharing.values():
        device = choose_device(same_network[0].device) if here else torch.device("cpu")
        on_cpu = here and device.type == "cpu"
        network = check_network(same_network[0], device, on_cpu=on_cpu)
        for cfg in same_network:
            optimizers.check(cfg.optimizer, network)
            check_engine(cfg, network, device, here=here)
            trains = str((on_cpu, cfg.optimizer, cfg.scheduler, cfg.trainer))
            if trains not in notes:
                notes[trains] = try_optimizer(cfg, on_cpu=on_cpu)
    for note in dict.fromkeys(filter(None, notes.values())):
        log.warning(note)


def check_network(cfg: DictConfig, device: torch.device, *, on_cpu: bool) -> nn.Module:
    """Build a network, and try the forward pass of one of the user's own: without memory, or on the device where that fails.

    Args:
        cfg: of the job.
        device: where it runs, or the CPU if that is another machine's.
        on_cpu: whether it runs on the CPU here. What fails there may need a GPU that is elsewhere.

    Raises:
        UserError: if it cannot be trained.
    """
    network = build(cfg)
    if type(network).__module__.startswith("labs.models."):
        return network
    task = (datasets.image_shape(cfg.dataset), datasets.num_classes(cfg.dataset))
    try:
        networks.check(cfg.model._target_, network, *task)
    except UserError:
        network = build_model(cfg, seed=0)[0].to(device)
        try:
            networks.check(cfg.model._target_, network, *task)
        except UserError as error:
            if on_cpu or device.type != "cpu" or not re.search("cuda|nvidia|triton", str(error), re.IGNORECASE):
                raise
    return network


def check_engine(cfg: DictConfig, network: nn.Module, device: torch.device, *, here: bool) -> None:
    """Refuse an engine that was asked for and does not cover the network.

    Raises:
        UserError: one line that says why.
    """
    engine, compiled = cfg.trainer.engine, compiled_code.library() if here and cfg.trainer.engine == "fused" else None
    reason = reason_against(engine, network, device, bf16=cfg.trainer.precision == "bf16")
    if reason or isinstance(compiled, str):
        raise UserError(not_here(engine, reason or str(compiled)))


def try_optimizer(cfg: DictConfig, *, on_cpu: bool) -> str | None:
    """Take a step with the optimizer, and move its schedule through the epochs.

    Args:
        cfg: of the job.
        on_cpu: whether it runs there too.

    Returns:
        What of the schedule its user may not have meant; None if nothing looks odd.

    Raises:
        UserError: if one of them cannot do that.
    """
    optimizer = optimizers.try_step(cfg.optimizer, on_cpu=on_cpu)
    return schedules.rehearse(cfg, optimizer, schedules.build(cfg, optimizer))


def parameters(job: Job) -> int:
    """Trainable parameters of the job's network."""
    return sum(p.numel() for p in build(job.cfg).parameters() if p.requires_grad)


def build(cfg: DictConfig) -> nn.Module:
    """The configuration's network without memory, or on the CPU where its `__init__` reads values, which `meta` has none of.

    Raises:
        UserError: the network's own; what else it raises on the CPU is raised as it is.
    """
    try:
        with torch.device("meta"):
            return build_model(cfg, seed=0)[0]
    except UserError:
        raise
    except Exception:
        return build_model(cfg, seed=0)[0]


def probe(job: Job) -> float:
    """Seconds the job takes if no early stop ends it, from a few steps on random images."""
    cfg = job.cfg
    device = choose_device(cfg.device)
    models, shapes = zip(*(build_model(cfg, seed) for seed in job.seeds), strict=True)
    set_threads(cfg.trainer.num_threads, models[0])
    keep_freed_memory()
    replicas = Replicas(list(models), job.seeds, device=device, bf16=cfg.trainer.precision == "bf16", engine=cfg.trainer.engine)
    optimizers = [torch.optim.Adam(replicas.parameters_of(i, flat=True), fused=True) for i in range(len(replicas))]
    updates = [update_of(optimizer) if replicas.engine == "fused" else optimizer.step for optimizer in optimizers]
    replicas.begin_epoch(1)
    everything = datasets.load(cfg.dataset, train=True)
    training, _ = split_validation(everything, cfg.dataset.val_size, cfg.dataset.split_seed)
    steps = steps_per_epoch(len(training), cfg.trainer)
    images = torch.randn(len(replicas), cfg.trainer.batch_size, *shapes[0], device=device)
    labels = torch.randint(len(everything.classes), images.shape[:2], device=device)

    def step() -> float:
        started = time.perf_counter()
        replicas.step(images, labels)
        for update in updates:
            update()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    step()  # the first one allocates
    times = [step()]
    while sum(times) < PROBE_SECONDS and len(times) < 20:
        times.append(step())
    return cfg.trainer.epochs * steps * min(times)
