"""Each measured quantity against a slow twin made with autograd alone."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics.norms import LayerNorms, sampled_steps
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas


def mlp(residual: bool) -> nn.Module:
    return MLP((1, 4, 4), 3, widths=[6, 5, 5, 5], residual=residual, shortcut="projection")


def cnn(residual: bool) -> nn.Module:
    return CNN((1, 4, 4), 3, filters=[2, 3], hidden=4, dropout=0.0, residual=residual, shortcut="projection")


MLP_LAYERS = ["stem.linear", "blocks.0.first.linear", "blocks.0.second.linear", "last.linear", "head"]
CNN_LAYERS = ["stem.linear", "stages.0.0.first.linear", "stages.0.0.second.linear", "hidden.linear", "head"]


def norm(tensor: Tensor) -> float:
    return float(tensor.detach().double().pow(2).sum().sqrt())


@pytest.mark.parametrize(("make", "names"), [(mlp, MLP_LAYERS), (cnn, CNN_LAYERS)])
@pytest.mark.parametrize("residual", [False, True])
def test_quantities_equal_their_autograd_twins(make: Callable[[bool], nn.Module], names: list[str], residual: bool) -> None:
    torch.manual_seed(0)
    models = [make(residual).double(), make(residual).double()]
    twins = copy.deepcopy(models)
    replicas = Replicas(models, [0, 1])
    assert replicas.layers == names  # no shortcut among them, in order of the forward pass
    optimizers = [torch.optim.Adam(replicas.parameters_of(i, flat=True), lr=0.1) for i in range(2)]
    twin_optimizers = [torch.optim.Adam(twin.parameters(), lr=0.1) for twin in twins]
    norms = LayerNorms(replicas)
    replicas.begin_epoch(1)
    expected: list[list[dict[str, list[float]]]] = [[], []]
    mean_norms: list[list[float]] = [[], []]
    for _ in range(3):
        x, y = torch.randn(2, 8, 1, 4, 4, dtype=torch.float64), torch.randint(3, (2, 8))
        replicas.backward(F.cross_entropy(replicas(x).flatten(0, 1), y.flatten(), reduction="sum") / 8)
        norms.before_step()
        for optimizer in optimizers:
            optimizer.step()
        norms.after_step()
        for i, (twin, optimizer) in enumerate(zip(twins, twin_optimizers, strict=True)):
            gradients = torch.autograd.grad(F.cross_entropy(twin(x[i]), y[i]), list(twin.parameters()))
            by_name = dict(zip([name for name, _ in twin.named_parameters()], gradients, strict=True))
            mean_norms[i].append(sum(map(norm, gradients)) / len(gradients))
            weights = [dict(twin.named_parameters())[f"{name}.weight"] for name in names]
            before = [weight.detach().clone() for weight in weights]
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            expected[i].append({
                "grad_norm": [norm(by_name[f"{name}.weight"]) for name in names],
                "weight_norm": [norm(weight) for weight in before],
                "update_ratio": [norm(a.detach() - b) / norm(b) for a, b in zip(weights, before, strict=True)],
            })  # fmt: skip

    for i, measured in enumerate(norms.epoch()):
        assert measured.keys() == {"grad_norm", "weight_norm", "update_ratio"}
        for quantity, values in measured.items():
            twin = torch.tensor([record[quantity] for record in expected[i]], dtype=torch.float64).mean(0).tolist()
            assert values == pytest.approx(twin, rel=1e-9)
    assert norms.mean_grad_norm() == pytest.approx([sum(m) / 3 for m in mean_norms], rel=1e-9)
    first = norms.first()[1]
    assert first["grad_norm"] == pytest.approx(expected[1][0]["grad_norm"], rel=1e-9)
    assert first["weight_norm"] == pytest.approx(expected[1][0]["weight_norm"], rel=1e-9)
    assert first["update_ratio"] is None


def test_a_parameter_without_a_gradient_counts_as_zero() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    replicas = Replicas([model], [0])
    assert replicas.unsuitable["stacked"] == "unused, which is unused or shared"
    replicas.begin_epoch(1)
    replicas.backward(replicas(torch.ones(1, 1, 1, 2, 2)).sum())
    norms = LayerNorms(replicas)
    norms.before_step()
    assert norms.mean_grad_norm() == pytest.approx([(8**0.5 + 2**0.5) / 3])  # of ones in the weight and in the bias


def test_a_network_without_layers_has_a_gradient_all_the_same() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((1,), 2.0))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) * self.scale

    replicas = Replicas([Scale(), Scale()], [0, 1])
    replicas.begin_epoch(1)
    norms = LayerNorms(replicas)
    replicas.backward(replicas(torch.ones(2, 3, 1, 1, 1)).sum())
    norms.before_step()
    norms.after_step()
    assert norms.mean_grad_norm() == [3.0, 3.0]
    assert norms.epoch() == [{"grad_norm": [], "weight_norm": [], "update_ratio": []}] * 2


@pytest.mark.parametrize(
    ("mode", "every", "steps", "expected"),
    [
        ("off", 1, 430, []),
        ("epoch", 1, 430, [0, 54, 108, 162, 216, 270, 324, 378]),
        ("epoch", 1, 20, [0, 10]),
        ("epoch", 1, 5, [0]),
        ("every_n", 7, 20, [0, 7, 14]),
    ],
)
def test_sampled_steps(mode: str, every: int, steps: int, expected: list[int]) -> None:
    assert list(sampled_steps(mode, every, steps)) == expected
