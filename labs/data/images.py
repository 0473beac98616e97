"""Images in memory, and their split into a training and a validation part."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labs.errors import UserError


@dataclass(frozen=True)
class Images:
    """The images of a dataset, or of a part of it, in memory.

    Attributes:
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,), from 0 to len(classes) - 1.
        classes: the names of the classes.
    """

    images: Tensor
    labels: Tensor
    classes: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> int:
        """CRC-32 of images and labels, in this order: the same for the same dataset, on any machine."""
        return zlib.crc32(self.labels.cpu().numpy().data, zlib.crc32(self.images.cpu().contiguous().numpy().data))

    def part(self, indices: Tensor) -> "Images":
        """The images at these indices."""
        return Images(self.images[indices], self.labels[indices], self.classes)

    def to(self, device: torch.device) -> "Images":
        """The same images on another device."""
        return Images(self.images.to(device), self.labels.to(device), self.classes)


def stratified_split(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out `size` samples, each class in proportion (to within one sample; largest remainders first).

    Args:
        labels: integer labels, shape (N,).
        size: how many to hold out, 0 < size < N.
        seed: decides which.

    Returns:
        The indices of the rest and of the held-out samples, each in ascending order.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels.numpy(), return_counts=True)
    exact = size * counts / len(labels)
    take = np.floor(exact).astype(int)
    for k in np.argsort(take - exact, kind="stable")[: size - take.sum()]:
        take[k] += 1
    chosen = [rng.permutation(np.flatnonzero(labels.numpy() == c))[:n] for c, n in zip(classes, take, strict=True)]
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.concatenate(chosen)] = True
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def split_validation(everything: Images, val_size: int | float, seed: int) -> tuple[Images, Images]:
    """Split a dataset's training images into the training and the validation part.

    Args:
        val_size: number of validation images, or their fraction if below 1.
        seed: `dataset.split_seed`.

    Raises:
        UserError: if a class would be left without a training image, or if there would be fewer validation images than
            classes. (A rare class may still have no validation image.)
    """
    size = validation_size(len(everything), val_size)
    low, high = len(everything.classes), len(everything) - 2
    if not low <= size <= high:
        raise UserError(
            f"dataset.val_size={val_size}: {size} of the {len(everything)} images; must be from {low}, "
            f"as many as there are classes, to {high}, which leaves two to train on"
        )
    rest, held_out = stratified_split(everything.labels, size, seed)
    if absent := set(range(low)) - set(everything.labels[rest].tolist()):
        names = ", ".join(everything.classes[label] for label in sorted(absent))
        raise UserError(f"dataset.val_size={val_size}: leaves no image to train on of the classes {names}")
    return everything.part(rest), everything.part(held_out)


def validation_size(count: int, val_size: int | float) -> int:
    """How many of `count` images `dataset.val_size` holds out."""
    return round(val_size * count) if val_size < 1 else int(val_size)
