"""Measurements of whole networks between epochs, as set by `diagnostics=`: which quantities, on which images, how often.

Each replica's weights are copied into a separate network, one replica after another, so that training is not affected.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from labs.data.batches import Normalizer, center_crop
from labs.data.images import Images
from labs.diagnostics import signals
from labs.diagnostics.activations import features
from labs.diagnostics.probes import Sample
from labs.diagnostics.probes import measure as measure_probes
from labs.diagnostics.signals import measure as measure_signals
from labs.errors import contained, one_line, reason
from labs.losses import USUAL, Loss
from labs.replicas.replicas import Replicas
from labs.seeding import stream

log = logging.getLogger(__name__)


class Measurements:
    """Signals and probes of all replicas after chosen epochs.

    Args:
        settings: the `diagnostics` node of the configuration.
        model: a network of the same architecture and on the same device as the replicas; its weights are overwritten.
        layers: the names of its layers, in the order of the records.
        batch: training images for the signals.
        training, held_out: images that the probes are fitted to and tested on.
        classes: number of classes.
        batch_size: of the probes' forward passes.
        loss: what training lowers, the gradient of which is measured.
    """

    def __init__(
        self, settings: DictConfig, model: nn.Module, layers: Sequence[str], *,
        batch: Sample, training: Sample, held_out: Sample, classes: int, batch_size: int, loss: Loss = USUAL,
    ) -> None:  # fmt: skip
        self._settings, self._model, self._layers = settings, model, list(layers)
        self._batch, self._training, self._held_out = batch, training, held_out
        self._classes, self._batch_size, self._loss = classes, batch_size, loss
        self._measured: list[str] = []
        with self._no_error_ends_the_run():
            self._measured = list(features(model, layers, batch.images[:2]))
            if left := [name for name in layers if name not in self._measured]:
                log.info("signals and probes: not of %s, which is not called with a row for each image", ", ".join(left))

    def after(self, epoch: int, replicas: Replicas, finished: Sequence[bool]) -> list[dict[str, list[float]]]:
        """Measure the replicas after an epoch.

        Args:
            epoch: the one just finished; 0 for the initial weights.
            replicas: the networks.
            finished: which replicas end with this epoch; everything is measured for them.

        Returns:
            For each replica, a list with one number per layer for each quantity; an empty dict if nothing is due.
        """
        rows: list[dict[str, list[float]]] = []
        for i, is_last in enumerate(finished):
            due = {name: self._settings[name] and (is_last or is_due(epoch, self._settings[f"{name}_every"]))
                   for name in ("signals", "probes")}  # fmt: skip
            row: dict[str, list[float]] = {}
            if any(due.values()) and self._measured:
                with self._no_error_ends_the_run():
                    row = self._measure(replicas.state_of(i), **due)
            rows.append({name: self._placed(values) for name, values in row.items()})
        return rows

    def _measure(self, weights: dict[str, Tensor], *, signals: bool, probes: bool) -> dict[str, list[float]]:
        """The quantities of the network with these weights, for the layers that are measured."""
        model, layers = self._model, self._measured
        row: dict[str, list[float]] = {}
        model.load_state_dict(weights)
        if signals:
            row |= measure_signals(model, layers, *self._batch, loss=self._loss)
        if probes:
            samples = (self._training, self._held_out)
            row |= measure_probes(model, layers, *samples, classes=self._classes, batch_size=self._batch_size)
        return row

    @contextmanager
    def _no_error_ends_the_run(self) -> Iterator[None]:
        """Stop measuring if a user's network fails here though it trains."""
        try:
            with contained():
                yield
        except Exception as error:
            log.warning("signals and probes: not measured from here on (%s)", one_line(reason(error)))
            self._measured = []

    def _placed(self, values: list[float]) -> list[float]:
        """Extend numbers of the measured layers to all layers, with NaN for the others."""
        known = dict(zip(self._measured, values, strict=True))
        return [known.get(name, math.nan) for name in self._layers]


def is_due(epoch: int, every: int | str) -> bool:
    """Whether to measure after this epoch: 0, 1, 2, 5, 10, 20, 50, … with "auto", else every `every`-th from 0 on."""
    if every != "auto":
        return epoch % int(every) == 0
    while epoch >= 10 and epoch % 10 == 0:
        epoch //= 10
    return epoch in (0, 1, 2, 5)


def sample(images: Images, count: int, normalize: Normalizer, size: tuple[int, int]) -> Sample:
    """Draw `count` images of a dataset, or all if it has fewer: the same in every run, normalised and not augmented."""
    order = torch.randperm(len(images), generator=stream(0, "diagnostics"))[:count]
    part = images.part(order.to(images.labels.device))
    pixels: Tensor = normalize(center_crop(part.images, size))
    return Sample(pixels, part.labels)


def most_numbers(settings: DictConfig, epochs: int, layers: int) -> int:
    """The most numbers that a run of so many epochs and layers records."""
    count = 0
    for name, quantities in (("signals", len(signals.QUANTITIES)), ("probes", 1)):
        due = sum(epoch == epochs or is_due(epoch, settings[f"{name}_every"]) for epoch in range(epochs + 1))
        count += settings[name] * due * quantities
    return count * layers
