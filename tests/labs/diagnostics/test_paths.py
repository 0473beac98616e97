"""Gradients through single paths: all of them are the whole gradient."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics import paths
from labs.diagnostics.activations import as_in_training
from labs.models.blocks import PreBlock
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.models.resnet import ResNet


def batch(shape: tuple[int, int, int], count: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(10, (count,), generator=generator)


def mlp(depth: int = 12, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return MLP((1, 8, 8), 10, depth=depth, residual=True, **{"block": "pre", **settings}).double()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        mlp(norm="none", activation="tanh"), mlp(), mlp(branch_scale="depth"), mlp(shortcut="projection", depth=8),
        ResNet((3, 8, 8), 10, depth=14, residual=True, block="pre", filters=[4, 8, 8]).double(),
    ],
    ids=["no norm", "norm", "scaled", "projection", "convolutions"],
)  # fmt: skip
def test_all_paths_are_the_whole_gradient(model: nn.Module) -> None:
    images, labels = batch((3, 8, 8) if isinstance(model, ResNet) else (1, 8, 8))
    images.requires_grad_()
    n = len(paths.skipped(model))
    assert 3 <= n <= 6
    every = torch.cat([paths.draws(n, k, seed=0) for k in range(n + 1)])
    assert len(every) == len(every.unique(dim=0)) == 2**n
    with as_in_training(model):
        found = paths.gradients(*paths.passed(model, images, labels), images, every)
        whole = torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]
    torch.testing.assert_close(found.sum(0), whole, rtol=1e-9, atol=1e-12 * float(whole.abs().max()))


@pytest.mark.parametrize("branches", [(), (1,), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_a_path_is_the_gradient_of_a_network_whose_other_ways_are_constants(branches: tuple[int, ...]) -> None:
    model, (images, labels) = mlp(depth=14, branch_scale=0.7), batch((1, 8, 8))
    assert len(paths.skipped(model)) == 5
    for place, name in enumerate(paths.skipped(model)):

        def one_way(block: Any, inputs: tuple[Any, ...], output: Tensor, through: bool = place in branches) -> Tensor:
            skip = block.shortcut(inputs[0])
            branch = output - skip
            return branch + skip.detach() if through else branch.detach() + skip

        model.get_submodule(name).register_forward_hook(one_way)
    with as_in_training(model):
        images.requires_grad_()
        expected = torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]
    for module in model.modules():
        module._forward_hooks.clear()
    chosen = torch.tensor([[place in branches for place in range(5)]])
    with as_in_training(model):
        (found,) = paths.gradients(*paths.passed(model, images, labels), images, chosen)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


def test_of_linear_blocks_the_lengths_are_binomial() -> None:
    """Where every branch is c times the identity, a path through k of n branches carries c^k, and all paths (1 + c)^n."""
    model = mlp(depth=13, width=8, norm="none")
    names = paths.skipped(model)
    for name in names:
        block = model.get_submodule(name)
        block.activation = nn.Identity()
        for linear, size in ((block.first, 1.0), (block.second, 0.5)):
            linear.weight.data = size * torch.eye(8, dtype=torch.float64)
            linear.bias.data.zero_()
    images, labels = batch((1, 8, 8))
    found = paths.measure(model, images, labels)
    assert [(length.branches, length.paths) for length in found] == [(k, math.comb(6, k)) for k in range(7)]
    assert [length.norm / found[0].norm for length in found] == pytest.approx([0.5**k for k in range(7)])
    assert [length.drawn for length in found] == [1, 6, 15, 20, 15, 6, 1]
    few = paths.measure(model, images, labels, count=10)
    assert [length.drawn for length in few] == [1, 6, 10, 10, 10, 6, 1]
    assert [length.norm for length in few] == pytest.approx([length.norm for length in found])


def test_many_paths_are_followed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (images, labels) = mlp(), batch((1, 8, 8))
    at_once = paths.measure(model, images, labels)
    monkeypatch.setattr(paths, "LARGEST", 3 * 16 * 32)
    parts = paths.measure(model, images, labels)
    assert [length.norm for length in parts] == pytest.approx([length.norm for length in at_once], rel=1e-12)


def test_nothing_of_the_network_changes_and_the_same_seed_draws_the_same_paths() -> None:
    model, (images, labels) = mlp(depth=31), batch((1, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = paths.measure(model, images, labels)
    assert found == paths.measure(model, images, labels) != paths.measure(model, images, labels, seed=1)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    norms = [length.norm for length in found]
    assert len(norms) == 15
    assert all(math.isfinite(norm) for norm in norms)


class Twice(nn.Module):
    """Its second block reads what the first one read, beside what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = [block for block in mlp(width=8).modules() if isinstance(block, PreBlock)][-2:]
        self.linear, self.head = nn.Linear(64, 8).double(), nn.Linear(8, 10).double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.flatten(1))
        return self.head(self.second(x + self.first(x)))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (MLP((1, 8, 8), 10, depth=7, block="pre"), "no block has a skip, so there is one path only"),
        (MLP((1, 8, 8), 10, depth=7, residual=True), "an activation follows each sum"),
        (CNN((1, 8, 8), 10, filters=[4, 4], residual=True), "an activation follows each sum"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "no block has a skip"),
        (Twice(), "its blocks do not follow one another"),
    ],
    ids=["plain", "post", "cnn", "own", "around a block"],
)
def test_a_network_without_paths_says_why(model: nn.Module, line: str) -> None:
    images, labels = batch((1, 8, 8))
    with pytest.raises(ValueError, match=line):
        paths.measure(model, images.to(next(model.parameters()).dtype), labels)
