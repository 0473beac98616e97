"""One contender of the side-by-side benchmark, in a process of its own: `python -m benchmarks.contenders '{"name": …}'`.

project    this repository, by the function that `train.py` calls
plain      a PyTorch recipe as people write it: a DataLoader with workers, a torchvision transform a sample, `.item()` a step
lightning  the same network, data and optimizer in a LightningModule, with logging, checkpoints and progress bar off

All train the network with the initial weights that this project gives a seed, on the batches that it gives that seed.
Prints one JSON object: `epochs`, the wall seconds of each; or, asked for `first_step`, how far apart the first steps are.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

import terminal
from labs import cells, config, config_checks
from labs.cells import Cell
from labs.data import datasets
from labs.data.batches import Normalizer, TrainingBatches
from labs.data.images import split_validation, stratified_split
from labs.loggers.console import EpochProgress
from labs.models.build import build_model
from labs.replicas.replicas import Replicas
from labs.seeding import stream
from labs.training import machine, run
from labs.training.length import length_of


def composed(overrides: list[str]) -> DictConfig:
    """The checked configuration of these overrides."""
    config.register()
    cells.register()
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    config_checks.check(cfg)
    return cfg


# ── this project ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def project(cfg: DictConfig) -> list[float]:
    """Seconds of each epoch, everything included: measuring, logging and saving, too."""
    ends = []

    class Clock(EpochProgress):
        def step(self, epoch: int, step: int) -> None:
            if step == 0:
                ends.append(time.perf_counter())

    run.EpochProgress = Clock  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        run.train(Cell.of(cfg, Path(folder)), cells.seeds(cfg), show_progress=False)
    # From the first step of an epoch to the first of the next, so that the end of an epoch counts. The last one has no next.
    return [after - before for before, after in pairwise(ends)]


# ── the data of the others ───────────────────────────────────────────────────────────────────────────────────────────────


class Order(Sampler[int]):
    """The images of an epoch in this project's order for a seed."""

    def __init__(self, count: int, limit: int, seed: int) -> None:
        self.count, self.limit, self.seed, self.epoch = count, limit, seed, 1

    def __len__(self) -> int:
        return min(self.count, self.limit)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=stream(self.seed, "order", self.epoch))
        self.epoch += 1
        return iter(order[: self.limit].tolist())


def split_indices(cfg: DictConfig) -> tuple[Tensor, Tensor]:
    """Training and validation indices, the same as this project's."""
    labels = datasets.load(cfg.dataset, train=True).labels
    return stratified_split(labels, int(cfg.dataset.val_size), cfg.dataset.split_seed)


def loaders(cfg: DictConfig, workers: int, *, persistent: bool = False) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation loaders over torchvision's dataset, with transforms per sample."""
    from torchvision import datasets as sets
    from torchvision import transforms

    kind = {"mnist": sets.MNIST, "cifar10": sets.CIFAR10}[cfg.dataset.name]
    training, validation = split_indices(cfg)
    images = datasets.load(cfg.dataset, train=True).part(training).images.double() / 255
    plain = [transforms.ToTensor(), transforms.Normalize(images.mean((0, 2, 3)).tolist(), correct_std(images))]
    augmented = list(plain)
    if cfg.dataset.augment == "standard":
        size, padding = images.shape[-1], cfg.dataset.crop_padding
        augmented = [transforms.RandomCrop(size, padding), transforms.RandomHorizontalFlip(), *plain]
    sets_of = [kind(cfg.dataset.data_dir, train=True, transform=transforms.Compose(t)) for t in (augmented, plain)]
    parts: list[Dataset[Any]] = [Subset(s, i.tolist()) for s, i in zip(sets_of, (training, validation), strict=True)]
    steps = length_of(len(training), cfg.trainer).steps_per_epoch
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent}
    order = Order(len(training), steps * cfg.trainer.batch_size, cfg.seed)
    return (
        DataLoader(parts[0], cfg.trainer.batch_size, sampler=order, **options),
        DataLoader(parts[1], cfg.trainer.eval_batch_size, **options),
    )


def correct_std(images: Tensor) -> list[float]:
    """Standard deviation of each channel over all pixels."""
    return [float(images[:, c].std(correction=0)) for c in range(images.shape[1])]


# ── a plain recipe ───────────────────────────────────────────────────────────────────────────────────────────────────────


def plain(cfg: DictConfig, workers: int, *, persistent: bool) -> list[float]:
    """Seconds of each epoch of the loop that most tutorials teach."""
    training, validation = loaders(cfg, workers, persistent=persistent)
    device = machine.choose_device(cfg.device)
    model = build_model(cfg, cfg.seed).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optimizer.lr, weight_decay=cfg.optimizer.weight_decay)
    seconds = []
    for _ in range(cfg.trainer.epochs):
        started = time.perf_counter()
        model.train()
        running, correct, seen = 0.0, 0, 0
        for images, labels in training:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum().item())
            seen += len(labels)
        model.eval()
        with torch.no_grad():
            for images, labels in validation:
                images, labels = images.to(device), labels.to(device)
                logits = model(images)
                running += F.cross_entropy(logits, labels).item() * len(labels)
                correct += int((logits.argmax(1) == labels).sum().item())
        seconds.append(time.perf_counter() - started)
    return seconds


# ── Lightning ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lightning(cfg: DictConfig, workers: int, *, persistent: bool) -> list[float]:
    """Seconds of each epoch of a Lightning Trainer that logs nothing and saves nothing."""
    import warnings

    import lightning as L

    warnings.filterwarnings("ignore", module="lightning")  # advice on the number of workers
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    network = build_model(cfg, cfg.seed)
    starts: list[float] = []

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, labels = batch
            loss = F.cross_entropy(self.network(images), labels)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
            images, labels = batch
            logits = self.network(images)
            self.log("val_loss", F.cross_entropy(logits, labels))
            self.log("val_acc", (logits.argmax(1) == labels).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=cfg.optimizer.lr, weight_decay=cfg.optimizer.weight_decay)

        def on_train_epoch_start(self) -> None:
            starts.append(time.perf_counter())

        def on_train_end(self) -> None:
            starts.append(time.perf_counter())

    accelerator = machine.choose_device(cfg.device).type
    trainer = L.Trainer(
        max_epochs=cfg.trainer.epochs, accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Module(), *loaders(cfg, workers, persistent=persistent))
    return [after - before for before, after in pairwise(starts)]


# ── are they doing the same? ─────────────────────────────────────────────────────────────────────────────────────────────


def first_step(cfg: DictConfig) -> dict[str, float]:
    """How far the first step of the plain recipe is from this project's.

    Images: the largest difference of a normalised pixel; labels must be equal. Loss and gradient, from the same images and in
    double precision, where no near tie of a ReLU or a max-pool is decided by rounding: relative differences. The gradients in
    single precision, by the engines stacked and fused: how far from that. Lightning's contender has the recipe's network,
    loaders and loss.
    """
    images, labels = next(iter(loaders(cfg, 0)[0]))
    training, _ = split_validation(datasets.load(cfg.dataset, train=True), cfg.dataset.val_size, cfg.dataset.split_seed)
    batches = TrainingBatches(
        training, Normalizer(training, enabled=True), datasets.image_shape(cfg.dataset)[1:], crop_padding=0, flip=False,
        augment=False,
    )  # fmt: skip
    batch, batch_labels = next(batches.epoch([cfg.seed], 1, cfg.trainer.batch_size))
    assert torch.equal(batch_labels[0], labels), "the batches hold different images"

    model = build_model(cfg, cfg.seed).double()
    loss = F.cross_entropy(model(batch[0].double()), labels)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    exact = torch.cat([values.flatten() for values in stepped(cfg, batch.double(), batch_labels, torch.float64)[1]])
    found = {
        name: torch.cat([values.flatten() for values in stepped(cfg, batch, batch_labels, torch.float32, engine)[1]])
        for name, engine in (("rounded", "stacked"), ("fused", "auto"))
    }
    our_loss = stepped(cfg, batch.double(), batch_labels, torch.float64)[0]
    return {
        "images": (batch[0] - images).abs().max().item(),
        "loss": abs(our_loss - loss.item()) / loss.item(),
        "gradient": ((exact - theirs).norm() / theirs.norm()).item(),
        **{name: ((gradient - theirs).norm() / theirs.norm()).item() for name, gradient in found.items()},
    }


def stepped(
    cfg: DictConfig, batch: Tensor, labels: Tensor, dtype: torch.dtype, engine: str = "auto"
) -> tuple[float, list[Tensor]]:
    """Mean loss and gradients of this project's first step."""
    replicas = Replicas([build_model(cfg, cfg.seed).to(dtype)], [cfg.seed], engine=engine)
    replicas.begin_epoch(1)
    losses, _ = replicas.step(batch, labels)
    return losses.item() / labels.shape[1], list(replicas.views(replicas.gradients).values())


def main() -> None:
    """Run the contender that the JSON on the command line describes, and print its times."""
    order = json.loads(sys.argv[1])
    cfg = composed(order["overrides"])
    datasets.prepare(cfg.dataset)
    torch.set_num_threads(order["threads"])
    machine.DEFAULT_THREADS = order["threads"]
    if order["name"] == "first_step":
        result: dict[str, Any] = first_step(cfg)
    elif order["name"] == "project":
        result = {"epochs": project(cfg)}
    else:
        contender = {"plain": plain, "lightning": lightning}[order["name"]]
        result = {"epochs": contender(cfg, order["workers"], persistent=order["persistent"])}
    print(json.dumps(result))


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
