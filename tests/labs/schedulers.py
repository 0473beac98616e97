"""Schedulers of torch with the arguments that they need, and some of one's own."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from breaking_off import SHORT
from omegaconf import DictConfig, OmegaConf
from torch.optim import lr_scheduler

from labs import schedules

Compose = Callable[..., DictConfig]

TORCH = "torch.optim.lr_scheduler"

ABSTRACT = (lr_scheduler.LRScheduler, lr_scheduler._LRScheduler)

OFFERED = sorted(
    name for name, kind in vars(lr_scheduler).items()
    if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler) and kind not in ABSTRACT
)  # fmt: skip


def halved(epoch: int) -> float:
    return 0.5**epoch


NESTED = [{"_target_": f"{TORCH}.LinearLR", "total_iters": 1}, {"_target_": f"{TORCH}.ExponentialLR", "gamma": 0.9}]

HALVED = {"lr_lambda": {"_target_": f"{__name__}.halved", "_partial_": True}}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "ChainedScheduler": {"schedulers": NESTED},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 2, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.5},
    "LambdaLR": HALVED,
    "MultiStepLR": {"milestones": [1, 2]},
    "MultiplicativeLR": HALVED,
    "OneCycleLR": {"max_lr": "${optimizer.lr}", "total_steps": "${trainer.epochs}"},
    "SequentialLR": {"schedulers": NESTED, "milestones": [1]},
    "StepLR": {"step_size": 1},
}  # fmt: skip


def scheduled(compose_config: Compose, name: str, /, *overrides: str, **arguments: Any) -> DictConfig:
    cfg = compose_config("scheduler=any/target", f"scheduler._target_={TORCH}.{name}", *SHORT, *overrides)
    cfg.scheduler = OmegaConf.create({"_target_": f"{TORCH}.{name}", **arguments})
    return cfg


def rates(cfg: DictConfig, moves: int | None = None) -> list[float]:
    moves = moves or cfg.trainer.epochs
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.optimizer.lr)
    scheduler = schedules.build(cfg, optimizer, moves)
    found = []
    for _ in range(moves):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


class Own:
    """A schedule that is no subclass of torch's, and takes its optimizer under another name."""

    def __init__(self, opt: torch.optim.Optimizer, by: float) -> None:
        self.opt, self.by = opt, by

    def step(self) -> None:
        self.opt.param_groups[0]["lr"] *= self.by

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Every(Own):
    """Halves the rate after every `interval` epochs."""

    def __init__(self, opt: torch.optim.Optimizer, interval: int) -> None:
        super().__init__(opt, 0.5)
        self.interval, self.moved = interval, 0

    def step(self) -> None:
        self.moved += 1
        if self.moved % self.interval == 0:
            super().step()
