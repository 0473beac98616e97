"""Gradients through single paths: all of them are the whole gradient, and short ones carry most of it."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics import paths
from labs.diagnostics.activations import as_in_training
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
    names = paths.skipped(model)
    assert 3 <= len(names) <= 6
    sets = itertools.chain(*(itertools.combinations(names, k) for k in range(len(names) + 1)))
    with as_in_training(model):
        every = sum(paths.gradient(model, images, labels, chosen) for chosen in sets)
        images.requires_grad_()
        whole = torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]
    torch.testing.assert_close(every, whole, rtol=1e-9, atol=1e-12 * float(whole.abs().max()))


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
    assert [length.drawn for length in found] == [1, 6, 10, 10, 10, 6, 1]


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


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (MLP((1, 8, 8), 10, depth=7, block="pre"), "no block has a skip, so there is one path only"),
        (MLP((1, 8, 8), 10, depth=7, residual=True), "an activation follows each sum"),
        (CNN((1, 8, 8), 10, filters=[4, 4], residual=True), "an activation follows each sum"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "no block has a skip"),
    ],
    ids=["plain", "post", "cnn", "own"],
)
def test_a_network_without_paths_says_why(model: nn.Module, line: str) -> None:
    images, labels = batch((1, 8, 8))
    with pytest.raises(ValueError, match=line):
        paths.measure(model, images.float(), labels)
