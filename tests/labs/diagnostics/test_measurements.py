"""When and of what is measured, and that a replica's numbers are those of its own network."""

import logging
import math

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from trained import mlp, noise, plain_cnn

from labs.data.batches import Normalizer
from labs.diagnostics import probes, signals
from labs.diagnostics.measurements import Measurements, is_due, most_numbers, sample
from labs.replicas.replicas import Replicas

SIZE = (6, 6)


def settings(**changes: object) -> DictConfig:
    base = {"signals": True, "signals_every": "auto", "probes": True, "probes_every": "auto", "probe_images": 30}
    return OmegaConf.create(base | changes)


def measurements(model: nn.Module, layers: list[str], **changes: object) -> Measurements:
    training, held_out = noise(90), noise(40, seed=1)
    normalize = Normalizer(training, enabled=True)
    return Measurements(
        settings(**changes), model, layers, batch=sample(training, 16, normalize, SIZE),
        training=sample(training, 30, normalize, SIZE), held_out=sample(held_out, 30, normalize, SIZE), classes=4,
        batch_size=16,
    )  # fmt: skip


def test_epochs_that_are_due() -> None:
    assert [epoch for epoch in range(1001) if is_due(epoch, "auto")] == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert [epoch for epoch in range(12) if is_due(epoch, 4)] == [0, 4, 8]
    assert all(is_due(epoch, 1) for epoch in range(5))


def test_as_many_numbers_as_are_recorded_at_most() -> None:
    assert most_numbers(settings(), epochs=7, layers=3) == 3 * 6 * len({0, 1, 2, 5, 7})
    assert most_numbers(settings(signals=False, probes_every=3), epochs=7, layers=3) == 3 * len({0, 3, 6, 7})
    assert most_numbers(settings(signals=False, probes=False), epochs=7, layers=3) == 0


@pytest.mark.parametrize("make", [mlp, plain_cnn])
def test_each_replica_has_the_numbers_of_its_own_network(make) -> None:  # type: ignore[no-untyped-def]
    replicas = Replicas([make(0), make(1)], [0, 1])
    before = replicas.weights.clone()
    measured = measurements(make(5), replicas.layers)
    rows = measured.after(0, replicas, [False, False])
    assert torch.equal(replicas.weights, before)
    for i in (0, 1):
        alone = measurements(make(7), replicas.layers)
        expected = signals.measure(make(i), replicas.layers, *alone._batch)
        expected |= probes.measure(make(i), replicas.layers, alone._training, alone._held_out, classes=4, batch_size=16)
        assert rows[i].keys() == expected.keys()
        assert all(rows[i][name] == pytest.approx(values, nan_ok=True) for name, values in expected.items())
    assert rows[0] != rows[1]


def test_each_quantity_has_its_own_epochs_and_all_are_measured_at_the_end() -> None:
    replicas = Replicas([mlp(0), mlp(1)], [0, 1])
    measured = measurements(mlp(0), replicas.layers, signals_every=2, probes_every=3)
    quantities = [{"probe_accuracy" in row, "effective_rank" in row} for row in measured.after(6, replicas, [False, False])]
    assert quantities == [{True}, {True}]
    assert [set(row) for row in measured.after(3, replicas, [False, True])] == [
        {"probe_accuracy"}, {"probe_accuracy", *signals.QUANTITIES},
    ]  # fmt: skip
    assert measured.after(1, replicas, [False, False]) == [{}, {}]
    only = measurements(mlp(0), replicas.layers, signals=False)
    assert [set(row) for row in only.after(4, replicas, [True, False])] == [{"probe_accuracy"}, set()]


class Tokens(nn.Module):
    """Has a layer that reads a row for each line of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Linear(6, 4), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.each(x.reshape(-1, 6)).reshape(len(x), -1))


def test_a_layer_that_reads_no_row_for_each_image_is_left_out_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    replicas = Replicas([Tokens()], [0], engine="looped")
    [row] = measurements(Tokens(), replicas.layers).after(0, replicas, [False])
    assert all(math.isnan(values[0]) and len(values) == 2 for values in row.values())
    assert row["activation_cosine"][1] == row["activation_cosine"][1]
    assert [record.getMessage() for record in caplog.records] == [
        "signals and probes: not of each, which is not called with a row for each image"
    ]


class Exact(nn.Module):
    """Takes batches of 16 images, and of 2."""

    def __init__(self, fails: int) -> None:
        super().__init__()
        self.head, self.fails = nn.Linear(36, 4), fails

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == self.fails:
            raise ValueError(f"no batch\nof {len(x)}")
        return self.head(x.flatten(1))


@pytest.mark.parametrize(("fails", "at_once"), [(2, True), (14, False)])
def test_a_network_that_fails_while_it_is_measured_is_trained_all_the_same(
    caplog: pytest.LogCaptureFixture, fails: int, at_once: bool
) -> None:
    replicas = Replicas([Exact(0), Exact(0)], [0, 1], engine="looped")
    measured = measurements(Exact(fails), replicas.layers)
    assert bool(caplog.records) == at_once
    assert measured.after(0, replicas, [False, False]) == [{}, {}]
    assert measured.after(1, replicas, [True, True]) == [{}, {}]
    assert [record.getMessage() for record in caplog.records] == [
        f"signals and probes: not measured from here on (no batch of {fails})"
    ]


def test_images_are_the_same_in_every_run_and_of_all_classes() -> None:
    images = noise(90)
    normalize = Normalizer(images, enabled=True)
    first, again = sample(images, 40, normalize, SIZE), sample(images, 40, normalize, SIZE)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert len(sample(images, 1000, normalize, SIZE).labels) == 90
    in_order = type(images)(images.images[images.labels.argsort()], images.labels.sort().values, images.classes)
    assert set(sample(in_order, 40, normalize, SIZE).labels.tolist()) == {0, 1, 2, 3}
