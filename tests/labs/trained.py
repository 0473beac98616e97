"""Small networks, and what the training loop leaves behind after training them on noise."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from labs.data.batches import EvaluationBatches, Normalizer, TrainingBatches
from labs.data.images import Images
from labs.loggers.console import EpochProgress
from labs.loggers.logger import RunInfo
from labs.loggers.run_log import RunLog
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas
from labs.seeding import stream
from labs.training import checkpoint
from labs.training.length import length_of
from labs.training.loop import fit, measure
from labs.training.state import Run

Make = Callable[[int], nn.Module]


def noise(count: int, seed: int = 0) -> Images:
    """Labels a network can learn from images: the brightest of four quadrants, 6x6 pixels, one channel."""
    pixels = torch.randint(0, 256, (count, 1, 6, 6), generator=stream(seed, "test"), dtype=torch.int64)
    quadrants = torch.stack([pixels[..., :3, :3], pixels[..., :3, 3:], pixels[..., 3:, :3], pixels[..., 3:, 3:]])
    return Images(pixels.to(torch.uint8), quadrants.sum((2, 3, 4)).argmax(0), list("abcd"))


def mlp(seed: int, residual: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    return MLP((1, 6, 6), 4, widths=[12, 8, 8, 8], residual=residual)


def plain_mlp(seed: int) -> nn.Module:
    return mlp(seed, residual=False)


def cnn(seed: int, residual: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    return CNN((1, 6, 6), 4, filters=[3, 4], hidden=8, dropout=0.3, residual=residual)


def plain_cnn(seed: int) -> nn.Module:
    return cnn(seed, residual=False)


def plateau(optimizer: Optimizer) -> LRScheduler:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)


def settings(**changes: Any) -> DictConfig:
    base = {
        "epochs": 3,
        "steps": None,
        "batch_size": 16,
        "steps_per_epoch": None,
        "patience": None,
        "test_weights": "best",
        "save_every": None,
        "diagnostics": "epoch",
        "diagnostics_every": 1,
    }
    return OmegaConf.create(base | changes)


NO_LOGGERS = OmegaConf.create({"tensorboard": False})
NOBODY = RunInfo(
    cell="",
    label="",
    hash="",
    seed=0,
    study=None,
    place="",
    config={},
    depth=0,
    residual=None,
    params=0,
    mult_adds=0,
    summary="",
)


class Trained:
    """What a call of `fit` on noise leaves behind."""

    def __init__(
        self, folder: Path, make: Make = mlp, seeds: tuple[int, ...] = (0,), *, optimizer: Any = torch.optim.Adam,
        scheduler: Any = None, lr: float = 0.01, dtype: torch.dtype = torch.float32, poison: int | None = None,
        each_step: bool = False, **changes: Any,
    ) -> None:  # fmt: skip
        self.training_images, self.validation_images = noise(90), noise(40, seed=1)
        normalize = Normalizer(self.training_images, enabled=True)
        if dtype == torch.float64:
            convert = normalize
            normalize = lambda images: convert(images).double()  # type: ignore[assignment]  # noqa: E731
        self.training = TrainingBatches(self.training_images, normalize, (6, 6), crop_padding=1, flip=True, augment=True)
        self.validation = EvaluationBatches(self.validation_images, normalize, (6, 6), batch_size=17)
        self.models = [make(seed).to(dtype) for seed in seeds]
        if poison is not None:
            with torch.no_grad():
                next(self.models[poison].parameters()).fill_(math.nan)
        self.replicas = Replicas(self.models, list(seeds))
        self.runs = []
        for i, seed in enumerate(seeds):
            directory = folder / f"seed={seed}"
            opt = optimizer(self.replicas.parameters_of(i, flat=True), lr=lr)
            sched = scheduler(opt) if scheduler else torch.optim.lr_scheduler.ConstantLR(opt, 1.0)
            run_log = RunLog(directory, NO_LOGGERS, NOBODY)
            self.runs.append(Run(seed, directory, run_log, opt, opt.step, sched, moves_each_step=each_step))
        trainer = settings(**changes)
        with ExitStack() as logs:
            for run in self.runs:
                logs.enter_context(run.log)
            if trainer.epochs == 0:
                measure(self.replicas, self.runs, self.training, self.validation, trainer)
            else:
                quiet = EpochProgress(length_of(90, trainer).epochs, 6, 1, visible=False)
                fit(self.replicas, self.runs, self.training, self.validation, trainer, quiet)

    def last(self, i: int = 0) -> dict[str, Tensor]:
        """The weights after the last epoch."""
        weights: dict[str, Tensor] = checkpoint.load(self.runs[i].directory / "checkpoints" / "last.pt")["model"]
        return weights

    def rows(self, i: int = 0) -> list[dict[str, Any]]:
        lines = (self.runs[i].directory / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in OmegaConf.create(line).items() if k != "seconds"} for line in lines]  # type: ignore[misc]
