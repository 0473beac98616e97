"""What is measured of whole networks between two epochs, as `diagnostics=` says: which quantities, on which images, how often.

Each replica's weights are copied into a plain network, one after another, so that nothing of training is touched.
"""

import logging
import math
from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from labs.data.batches import Normalizer, center_crop
from labs.data.images import Images
from labs.diagnostics import probes, signals
from labs.diagnostics.activations import features
from labs.diagnostics.probes import Sample
from labs.replicas.replicas import Replicas
from labs.seeding import stream

log = logging.getLogger(__name__)


class Measurements:
    """Signals and probes of all replicas after chosen epochs.

    Args:
        settings: the `diagnostics` node of the configuration.
        model: a network of the architecture, on the device of the replicas; its weights are overwritten.
        layers: the names of its layers, in the order of the records.
        batch: the training images of the signals.
        training, held_out: the images of the probes.
        classes: how many there are.
        batch_size: of the probes' forward passes.
    """

    def __init__(
        self, settings: DictConfig, model: nn.Module, layers: Sequence[str], *,
        batch: Sample, training: Sample, held_out: Sample, classes: int, batch_size: int,
    ) -> None:  # fmt: skip
        self._settings, self._model, self._layers = settings, model, list(layers)
        self._batch, self._training, self._held_out = batch, training, held_out
        self._classes, self._batch_size = classes, batch_size
        self._measured = list(features(model, layers, batch.images[:2]))
        if left := [name for name in layers if name not in self._measured]:
            log.info("signals and probes: not of %s, which is not called with a row for each image", ", ".join(left))

    def after(self, epoch: int, replicas: Replicas, finished: Sequence[bool]) -> list[dict[str, list[float]]]:
        """Each replica's lists by quantity, with a number per layer; empty if nothing is due.

        Args:
            epoch: the one just finished; 0 for the initial weights.
            replicas: their networks.
            finished: which of them end with this epoch, after which everything is measured.
        """
        rows = []
        for i, is_last in enumerate(finished):
            names = [name for name in ("signals", "probes")
                     if self._settings[name] and (is_last or is_due(epoch, self._settings[f"{name}_every"]))]  # fmt: skip
            row: dict[str, list[float]] = {}
            if names and self._measured:
                self._model.load_state_dict(replicas.state_of(i))
                for name in names:
                    row |= self._signals() if name == "signals" else self._probes()
            rows.append({name: self._placed(values) for name, values in row.items()})
        return rows

    def _signals(self) -> dict[str, list[float]]:
        return signals.measure(self._model, self._measured, *self._batch)

    def _probes(self) -> dict[str, list[float]]:
        return probes.measure(
            self._model, self._measured, self._training, self._held_out, classes=self._classes, batch_size=self._batch_size
        )

    def _placed(self, values: list[float]) -> list[float]:
        """The numbers of the layers that are measured, in a list of all layers."""
        known = dict(zip(self._measured, values, strict=True))
        return [known.get(name, math.nan) for name in self._layers]


def is_due(epoch: int, every: int | str) -> bool:
    """Whether to measure after this epoch: 0, 1, 2, 5, 10, 20, 50, … with "auto", else 0 and every n-th."""
    if every != "auto":
        return epoch % int(every) == 0
    while epoch >= 10 and epoch % 10 == 0:
        epoch //= 10
    return epoch in (0, 1, 2, 5)


def sample(images: Images, count: int, normalize: Normalizer, size: tuple[int, int]) -> Sample:
    """The same `count` images of a data set in every run, or all of fewer: drawn once, not augmented, and normalised."""
    order = torch.randperm(len(images), generator=stream(0, "diagnostics"))[:count]
    part = images.part(order.to(images.labels.device))
    pixels: Tensor = normalize(center_crop(part.images, size))
    return Sample(pixels, part.labels)


def most_numbers(settings: DictConfig, epochs: int, layers: int) -> int:
    """How many numbers a run of so many epochs and layers records at most."""
    count = 0
    for name, quantities in (("signals", len(signals.QUANTITIES)), ("probes", 1)):
        due = sum(epoch == epochs or is_due(epoch, settings[f"{name}_every"]) for epoch in range(epochs + 1))
        count += settings[name] * due * quantities
    return count * layers
