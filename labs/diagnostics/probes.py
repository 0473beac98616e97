"""Linear probes: how well a linear classifier predicts the class from each layer (Alain and Bengio 2016, arXiv:1610.01644).

The classifier is a ridge regression of the one-hot labels on the layer's input, in closed form. It is fitted to training images
and tested on images held out.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labs.data.batches import batch_bounds
from labs.diagnostics.activations import as_in_training, features, watching

QUANTITY = "probe_accuracy"  # percent, one number per layer; layer 0 reads the pixels
STRENGTH = 0.01  # of the penalty, relative to the mean squared singular value of the centred activations
MOST_NUMBERS = 2**26  # of activations in memory: 256 MB in float32


class Sample(NamedTuple):
    """Images (N, C, h, w) as the network sees them, and their labels (N,)."""

    images: Tensor
    labels: Tensor


def measure(
    model: nn.Module, layers: Sequence[str], training: Sample, held_out: Sample, *, classes: int, batch_size: int
) -> dict[str, list[float]]:
    """Fit and test a probe for each layer. The network and its running statistics are left as they were.

    Args:
        model: the network.
        layers: names of linear or convolutional layers whose input has one row per image.
        training: images that the classifiers are fitted to.
        held_out: images that they are tested on.
        classes: number of classes.
        batch_size: of the forward passes, which use the batch's statistics, as in training.

    Returns:
        `probe_accuracy`: accuracy in percent for each layer, NaN where activations are not finite.
    """
    sizes = features(model, layers, training.images[:2])
    accuracies: dict[str, float] = {}
    for names in _fitting(sizes, MOST_NUMBERS // (len(training.labels) + len(held_out.labels))):
        known, new = (_read(model, names, sample.images, batch_size) for sample in (training, held_out))
        for name in names:
            accuracies[name] = accuracy(known[name], training.labels, new[name], held_out.labels, classes)
    return {QUANTITY: [accuracies[name] for name in layers]}


def accuracy(known: Tensor, labels: Tensor, new: Tensor, new_labels: Tensor, classes: int) -> float:
    """Accuracy in percent on `new`, (M, F), of a classifier fitted to `known`, (N, F)."""
    if not (known.isfinite().all() and new.isfinite().all()):
        return math.nan
    known, new = known.double(), new.double()
    weight, intercept = ridge(known, torch.eye(classes, dtype=torch.float64, device=known.device)[labels], penalty(known))
    return float(((new @ weight + intercept).argmax(1) == new_labels).double().mean()) * 100


def penalty(x: Tensor) -> float:
    """The ridge penalty for rows (N, F). It scales with their variance, so that predictions do not depend on their scale."""
    scatter = float(((x - x.mean(0)) ** 2).sum())
    return max(STRENGTH * scatter / min(x.shape), torch.finfo(x.dtype).tiny)


def ridge(x: Tensor, y: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The weight (F, K) and intercept (K,) that minimise |x w + b - y|^2 + alpha |w|^2, for x (N, F) and y (N, K)."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    if x.shape[1] <= x.shape[0]:
        weight = torch.linalg.solve(x.T @ x + alpha * torch.eye(x.shape[1], dtype=x.dtype, device=x.device), x.T @ y)
    else:  # the same by a smaller system
        weight = x.T @ torch.linalg.solve(x @ x.T + alpha * torch.eye(x.shape[0], dtype=x.dtype, device=x.device), y)
    return weight, y_mean - x_mean @ weight


@torch.no_grad()
def _read(model: nn.Module, layers: Sequence[str], images: Tensor, batch_size: int) -> dict[str, Tensor]:
    """The inputs of these layers for all images, (N, features) each."""
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    with as_in_training(model):
        for start, stop in batch_bounds(len(images), batch_size):
            with watching(model, layers) as seen:
                model(images[start:stop])
            for name in layers:
                parts[name].append(seen.inputs[name].flatten(1))
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _fitting(sizes: dict[str, int], most: int) -> Iterator[list[str]]:
    """Group the layers so that no group has more than `most` features, except for a single layer that has more."""
    names: list[str] = []
    for name, size in sizes.items():
        if names and sum(sizes[other] for other in names) + size > most:
            yield names
            names = []
        names.append(name)
    if names:
        yield names
