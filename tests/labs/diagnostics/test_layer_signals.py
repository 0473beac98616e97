"""Signals against twins made of double loops, and against published limits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trained import cnn, mlp, plain_cnn, plain_mlp

from labs.diagnostics import signals
from labs.models.mlp import MLP
from labs.models.resnet import ResNet
from labs.replicas.replicas import Replicas

Make = Callable[[int], nn.Module]


def resnet(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return ResNet((1, 6, 6), 4, depth=8, filters=[3, 4, 5])


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def pair_mean(rows: Tensor, labels: Tensor | None = None) -> float:
    pairs = [
        cosine(rows[i], rows[j])
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j and (labels is None or labels[i] == labels[j]) and rows[i].any() and rows[j].any()
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def rank(rows: Tensor) -> float:
    squares = np.linalg.svd(rows.flatten(1).double().numpy(), compute_uv=False) ** 2
    shares = [value / squares.sum() for value in squares if value > 0]
    return math.exp(-sum(share * math.log(share) for share in shares))


def dead(rows: Tensor) -> float:
    units = [rows[:, unit] for unit in range(rows.shape[1])]
    return 100 * sum(not unit.any() for unit in units) / len(units)


def twin(model: nn.Module, layers: list[str], images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """By hooks of its own, an image's gradient at a time, from the very network in train mode (without dropout)."""
    read: dict[str, Tensor] = {}
    returned: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name in layers:
        layer = model.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, x, name=name: read.update({name: x[0].detach()}))  # type: ignore[misc]
        layer.register_forward_hook(lambda m, x, y, name=name: returned.update({name: y}))  # type: ignore[misc]
    model.train()
    loss = F.cross_entropy(model(images), labels)
    gradients = dict(zip(layers, torch.autograd.grad(loss, [returned[name] for name in layers]), strict=True))
    return {
        "activation_cosine": [pair_mean(read[name]) for name in layers],
        "activation_cosine_same_class": [pair_mean(read[name], labels) for name in layers],
        "gradient_cosine": [pair_mean(gradients[name]) for name in layers],
        "effective_rank": [rank(read[name]) for name in layers],
        "dead_units": [dead(read[name]) for name in layers],
    }


@pytest.mark.parametrize("make", [mlp, plain_mlp, cnn, plain_cnn, resnet])
def test_signals_equal_their_double_loops_and_leave_the_network_alone(make: Make) -> None:
    model = make(0)
    layers = Replicas([make(0)], [0]).layers
    torch.manual_seed(1)
    images, labels = torch.randn(7, 1, 6, 6), torch.tensor([0, 1, 2, 3, 0, 0, 1])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    measured = signals.measure(model, layers, images, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert tuple(measured) == signals.QUANTITIES
    for quantity, values in twin(make(0), layers, images, labels).items():
        assert measured[quantity] == pytest.approx(values, rel=1e-4, abs=1e-6), quantity
    assert min(measured["effective_rank"]) >= 1


def test_the_head_of_logits_alone_has_known_gradients() -> None:
    """Two images of different classes and the same logits: gradients (p - 1, p) and (p, p - 1)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model[1].bias)  # type: ignore[arg-type]
    images = torch.eye(4)[:2].reshape(2, 1, 2, 2)
    measured = signals.measure(model, ["1"], images, torch.tensor([0, 1]))
    assert measured["gradient_cosine"] == [pytest.approx(-1.0)]
    assert measured["activation_cosine"] == [0.0]
    assert measured["effective_rank"] == [pytest.approx(2.0)]
    assert measured["dead_units"] == [50.0]
    assert math.isnan(measured["activation_cosine_same_class"][0])  # no two of a class


def test_images_without_an_activation_are_in_no_pair_and_what_is_not_finite_is_told() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert signals.mean_cosine(signals.gram(rows)) == pytest.approx(math.sqrt(0.5))
    nothing = signals.gram(torch.zeros(3, 2))
    assert math.isnan(signals.mean_cosine(nothing))
    assert math.isnan(signals.effective_rank(nothing))
    broken = signals.gram(torch.tensor([[math.nan, 0.0], [1.0, 0.0]]))
    assert math.isnan(signals.mean_cosine(broken))
    assert math.isnan(signals.effective_rank(broken))
    assert signals.effective_rank(signals.gram(torch.ones(4, 3))) == pytest.approx(1.0)
    assert signals.effective_rank(signals.gram(torch.eye(5))) == pytest.approx(5.0)


def test_layers_without_a_gradient_have_none() -> None:
    model = plain_mlp(0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("head" in name)
    layers = Replicas([plain_mlp(0)], [0]).layers
    values = signals.measure(model, layers, torch.randn(6, 1, 6, 6), torch.arange(6) % 4)["gradient_cosine"]
    assert [math.isnan(value) for value in values] == [True, True, True, True, False]


@pytest.mark.parametrize(("batch", "activation", "gradient"), [(64, 0.3104, -1 / 63), (16, 0.2857, -1 / 15)])
def test_wide_plain_networks_have_the_published_limits(batch: int, activation: float, gradient: float) -> None:
    """J1(-1/(B-1)) and -1/(B-1): Balduzzi et al. 2017, Daneshmand et al. 2021, by the kernels of Yang et al. 2019."""
    rho = -1 / (batch - 1)
    j1 = (math.sqrt(1 - rho**2) + (math.pi - math.acos(rho)) * rho) / math.pi
    assert j1 == pytest.approx(activation, abs=1e-4)
    torch.manual_seed(0)
    model = MLP((1, 8, 8), 10, depth=30, width=1000)
    layers = Replicas([MLP((1, 8, 8), 10, depth=30, width=1)], [0]).layers
    measured = signals.measure(model, layers, torch.randn(batch, 1, 8, 8), torch.arange(batch) % 10)
    assert np.mean(measured["activation_cosine"][10:31]) == pytest.approx(activation, abs=0.004)
    assert np.mean(measured["gradient_cosine"][5:20]) == pytest.approx(gradient, abs=0.002)
