"""Each measured quantity against a slow twin made with autograd alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics import GradientFlow, sampled_steps
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.replicas import Replicas


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
    models = [make(residual), make(residual)]
    replicas = Replicas(models, [0, 1])
    assert [name for name, _ in replicas.layers_of(0)] == names  # no shortcut among them, in order of the forward pass
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.1) for m in models]
    flow = GradientFlow(replicas)
    expected: list[list[dict[str, list[float]]]] = [[], []]
    mean_norms: list[list[float]] = [[], []]
    for _ in range(3):
        replicas.clear_gradients()
        for i, model in enumerate(models):
            x, y = torch.randn(8, 1, 4, 4), torch.randint(3, (8,))
            loss = F.cross_entropy(model(x), y)
            gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            by_name = dict(zip([name for name, _ in model.named_parameters()], gradients, strict=True))
            mean_norms[i].append(sum(map(norm, gradients)) / len(gradients))
            weights = [dict(model.named_parameters())[f"{name}.weight"] for name in names]
            expected[i].append({
                "grad_norm": [norm(by_name[f"{name}.weight"]) for name in names],
                "weight_norm": [norm(weight) for weight in weights],
                "before": [weight.detach().clone() for weight in weights],  # type: ignore[misc]
            })  # fmt: skip
            loss.backward()
        flow.before_step()
        for optimizer in optimizers:
            optimizer.step()
        flow.after_step()
        for i, model in enumerate(models):
            after = [dict(model.named_parameters())[f"{name}.weight"] for name in names]
            record = expected[i][-1]
            before: list[Tensor] = record.pop("before")  # type: ignore[assignment]
            record["update_ratio"] = [norm(a.detach() - b) / norm(b) for a, b in zip(after, before, strict=True)]

    for i, measured in enumerate(flow.epoch()):
        assert measured.keys() == {"grad_norm", "weight_norm", "update_ratio"}
        for quantity, values in measured.items():
            twin = torch.tensor([record[quantity] for record in expected[i]]).mean(0).tolist()
            assert values == pytest.approx(twin, rel=1e-4)
    assert flow.mean_grad_norm() == pytest.approx([sum(m) / 3 for m in mean_norms], rel=1e-4)
    first_gradients, first_weights = flow.first()
    assert first_gradients[1] == pytest.approx(expected[1][0]["grad_norm"], rel=1e-4)
    assert first_weights[1] == pytest.approx(expected[1][0]["weight_norm"], rel=1e-4)


def test_a_parameter_without_a_gradient_counts_as_zero() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    replicas = Replicas([model], [0])
    model(torch.ones(1, 1, 2, 2)).sum().backward()
    flow = GradientFlow(replicas)
    flow.before_step()
    weight, bias = model[1].weight.grad, model[1].bias.grad
    assert weight is not None
    assert bias is not None
    assert flow.mean_grad_norm() == pytest.approx([(norm(weight) + norm(bias)) / 3])


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
