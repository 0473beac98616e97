"""Linear probes against scikit-learn, and against what must come out."""

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from trained import cnn, mlp, noise, plain_mlp

from labs.data.batches import Normalizer
from labs.diagnostics import probes
from labs.diagnostics.activations import as_in_training, watching
from labs.diagnostics.probes import Sample
from labs.replicas.replicas import Replicas

Make = Callable[[int], nn.Module]


def samples() -> tuple[Sample, Sample]:
    training, held_out = noise(90), noise(40, seed=1)
    normalize = Normalizer(training, enabled=True)
    return Sample(normalize(training.images), training.labels), Sample(normalize(held_out.images), held_out.labels)


@pytest.mark.parametrize("columns", [5, 36, 90, 200], ids=lambda columns: f"{columns} features")
def test_the_regression_is_that_of_scikit_learn(columns: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(60, columns, dtype=torch.float64) * 3 + 1, torch.randn(60, 4, dtype=torch.float64)
    for alpha in (1e-3, 1.0, 100.0):
        weight, intercept = probes.ridge(x, y, alpha)
        theirs = Ridge(alpha=alpha, solver="svd").fit(x.numpy(), y.numpy())
        assert weight.T.flatten().tolist() == pytest.approx(theirs.coef_.ravel().tolist(), rel=1e-6, abs=1e-9)
        assert intercept.tolist() == pytest.approx(theirs.intercept_.tolist(), rel=1e-6, abs=1e-9)


def sklearn_accuracy(known: Tensor, labels: Tensor, new: Tensor, new_labels: Tensor) -> float:
    x = known.double().numpy()
    centred = x - x.mean(0)
    alpha = 0.01 * (centred**2).sum() / min(x.shape)
    predicted = Ridge(alpha=alpha).fit(x, torch.eye(4, dtype=torch.float64)[labels].numpy()).predict(new.double().numpy())
    return float((predicted.argmax(1) == new_labels.numpy()).mean()) * 100


@pytest.mark.parametrize("make", [mlp, plain_mlp, cnn])
def test_each_layer_has_the_accuracy_of_a_classifier_on_what_it_reads(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    training, held_out = samples()
    layers = Replicas([make(0)], [0]).layers
    model = make(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    measured = probes.measure(model, layers, training, held_out, classes=4, batch_size=45)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert list(measured) == ["probe_accuracy"]
    with as_in_training(model), torch.no_grad():
        seen = []
        for images in (training.images[:45], training.images[45:], held_out.images):
            with watching(model, layers) as read:
                model(images)
            seen.append({name: x.flatten(1) for name, x in read.inputs.items()})
    expected = [
        sklearn_accuracy(torch.cat([seen[0][name], seen[1][name]]), training.labels, seen[2][name], held_out.labels)
        for name in layers
    ]
    assert measured["probe_accuracy"] == pytest.approx(expected)
    monkeypatch.setattr(probes, "MOST_NUMBERS", 1)  # a layer at a time
    assert probes.measure(model, layers, training, held_out, classes=4, batch_size=45) == measured


def test_layer_0_is_a_probe_of_the_pixels() -> None:
    training, held_out = samples()
    layers = Replicas([mlp(0)], [0]).layers
    pixels = sklearn_accuracy(training.images.flatten(1), training.labels, held_out.images.flatten(1), held_out.labels)
    for seed in (0, 1):  # whatever the network
        measured = probes.measure(mlp(seed), layers, training, held_out, classes=4, batch_size=16)
        assert measured["probe_accuracy"][0] == pytest.approx(pixels)
    assert pixels > 60


def test_scale_does_not_matter_and_nothing_to_see_is_the_most_frequent_class() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(50, 6), torch.arange(50) % 3
    new, new_labels = torch.randn(30, 6), torch.arange(30) % 3
    reference = probes.accuracy(x, labels, new, new_labels, 3)
    assert probes.accuracy(x * 1e6, labels, new * 1e6, new_labels, 3) == reference
    assert probes.accuracy(x * 1e-6, labels, new * 1e-6, new_labels, 3) == reference
    often = torch.tensor([1] * 30 + [0] * 20)
    same = torch.ones(50, 6)
    assert probes.accuracy(same, often, torch.ones(30, 6), new_labels, 3) == pytest.approx(100 / 3)
    assert math.isnan(probes.accuracy(x * math.nan, labels, new, new_labels, 3))
