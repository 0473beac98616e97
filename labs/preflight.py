"""Everything that can go wrong before the first job, tried before the first job: data, shapes, and how long it will take."""

import time

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from labs import datasets
from labs.cells import config_hash
from labs.data import split_validation
from labs.errors import UserError
from labs.loop import replica_losses, steps_per_epoch
from labs.plan import Job
from labs.replicas import Replicas
from labs.run import build_model, choose_device, keep_freed_memory, set_threads

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
            print(line, flush=True)
        split_validation(datasets.load(dataset, train=True), dataset.val_size, dataset.split_seed)


def check_networks(configs: list[DictConfig], *, here: bool = True) -> None:
    """Look for each device, build each network, and try what trains it on a single weight.

    Args:
        configs: of the jobs.
        here: whether they run on this machine; the devices of another are not known.

    Raises:
        UserError: the first thing found that a job would stumble over.
    """
    for cfg in {config_hash(cfg): cfg for cfg in configs}.values():
        on_cpu = here and choose_device(cfg.device).type == "cpu"
        build(cfg)
        try_optimizer(cfg, on_cpu=on_cpu)


def try_optimizer(cfg: DictConfig, *, on_cpu: bool) -> None:
    """Build what trains the network on a single weight, and take a step with a gradient of zero, on the CPU.

    Args:
        cfg: of the job.
        on_cpu: whether it runs there too. An optimizer for GPUs may refuse, and only a step that asks for more is wrong then.

    Raises:
        UserError: if the optimizer cannot take the step.
    """
    weight = nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.zeros(1, 1)
    optimizer = instantiate(cfg.optimizer, [weight], _convert_="all")
    instantiate(cfg.scheduler, optimizer, _convert_="all")
    try:
        optimizer.step()
    except Exception as error:
        if on_cpu or isinstance(error, TypeError):  # such as "missing 1 required positional argument: 'closure'"
            reason = " ".join(str(error).split())
            raise UserError(
                f"optimizer._target_={cfg.optimizer._target_}: cannot take a step ({reason}); "
                "choose one that needs the gradients and nothing else"
            ) from error


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
    replicas = Replicas(list(models), job.seeds, device=device, bf16=cfg.trainer.precision == "bf16")
    optimizers = [torch.optim.Adam(replicas.parameters_of(i, flat=True), fused=True) for i in range(len(replicas))]
    replicas.begin_epoch(1)
    everything = datasets.load(cfg.dataset, train=True)
    training, _ = split_validation(everything, cfg.dataset.val_size, cfg.dataset.split_seed)
    steps = steps_per_epoch(len(training), cfg.trainer)
    images = torch.randn(len(replicas), cfg.trainer.batch_size, *shapes[0], device=device)
    labels = torch.randint(len(everything.classes), images.shape[:2], device=device)

    def step() -> float:
        started = time.perf_counter()
        replicas.backward(replica_losses(replicas(images), labels).mean(1).sum())
        for optimizer in optimizers:
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    step()  # the first one allocates
    times = [step()]
    while sum(times) < PROBE_SECONDS and len(times) < 20:
        times.append(step())
    return cfg.trainer.epochs * steps * min(times)
