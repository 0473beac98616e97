"""The planned length of training: `trainer.epochs` epochs, or `trainer.steps` optimizer steps, whose last epoch may be shorter.

Early stopping is in `loop.py`.
"""

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from labs.data import datasets
from labs.data.batches import batch_bounds
from labs.data.images import validation_size


@dataclass(frozen=True)
class Length:
    """`epochs` epochs of `steps_per_epoch` optimizer steps, except that the last one has `last` steps."""

    epochs: int
    steps_per_epoch: int
    last: int

    def steps_of(self, epoch: int) -> int:
        """Number of optimizer steps in an epoch; epochs count from 1."""
        return self.last if epoch == self.epochs else self.steps_per_epoch

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return (self.epochs - 1) * self.steps_per_epoch + self.last

    def moves(self, interval: str) -> int:
        """How often the schedule is stepped if it is after every `interval`, "epoch" or "step"."""
        return self.steps if interval == "step" else self.epochs


def length_of(count: int, trainer: DictConfig) -> Length:
    """The length of training on `count` images."""
    batches = len(batch_bounds(count, trainer.batch_size))
    per_epoch = batches if trainer.steps_per_epoch is None else min(batches, trainer.steps_per_epoch)
    if trainer.steps is None:
        return Length(trainer.epochs, per_epoch, per_epoch)
    epochs = math.ceil(trainer.steps / per_epoch)
    return Length(epochs, per_epoch, trainer.steps - (epochs - 1) * per_epoch)


def planned(cfg: DictConfig) -> Length:
    """The length of training, without reading any image."""
    return length_of(training_images(cfg.dataset), cfg.trainer)


def training_images(dataset: DictConfig) -> int:
    """Number of training images, without those held out for validation."""
    count, _ = datasets.num_images(dataset)
    return count - min(max(validation_size(count, dataset.val_size), 1), count - 1)  # others are refused with the data
